from milepost.api.config.v1 import rule_pb2 as _rule_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Launcher(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAUNCHER_UNSPECIFIED: _ClassVar[Launcher]
    LAUNCHER_LOCAL: _ClassVar[Launcher]
    LAUNCHER_RAY: _ClassVar[Launcher]
    LAUNCHER_EXTERNAL: _ClassVar[Launcher]
    LAUNCHER_SLURM: _ClassVar[Launcher]

class SearchKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEARCH_KIND_UNSPECIFIED: _ClassVar[SearchKind]
    SEARCH_KIND_GRID: _ClassVar[SearchKind]
    SEARCH_KIND_RANDOM: _ClassVar[SearchKind]
    SEARCH_KIND_TPE: _ClassVar[SearchKind]
    SEARCH_KIND_GP: _ClassVar[SearchKind]
    SEARCH_KIND_CMAES: _ClassVar[SearchKind]
    SEARCH_KIND_QMC: _ClassVar[SearchKind]
    SEARCH_KIND_NSGA2: _ClassVar[SearchKind]

class PrunerKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRUNER_KIND_UNSPECIFIED: _ClassVar[PrunerKind]
    PRUNER_KIND_ASHA: _ClassVar[PrunerKind]
    PRUNER_KIND_MEDIAN: _ClassVar[PrunerKind]
    PRUNER_KIND_THRESHOLD: _ClassVar[PrunerKind]
    PRUNER_KIND_PATIENCE: _ClassVar[PrunerKind]
    PRUNER_KIND_HYPERBAND: _ClassVar[PrunerKind]
    PRUNER_KIND_PBT: _ClassVar[PrunerKind]

class ObjectiveValue(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OBJECTIVE_VALUE_UNSPECIFIED: _ClassVar[ObjectiveValue]
    OBJECTIVE_VALUE_BEST: _ClassVar[ObjectiveValue]
    OBJECTIVE_VALUE_LAST: _ClassVar[ObjectiveValue]

class SearchConcurrency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEARCH_CONCURRENCY_UNSPECIFIED: _ClassVar[SearchConcurrency]
    SEARCH_CONCURRENCY_FIXED: _ClassVar[SearchConcurrency]
    SEARCH_CONCURRENCY_AUTO: _ClassVar[SearchConcurrency]

class OnTrialFailure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_TRIAL_FAILURE_UNSPECIFIED: _ClassVar[OnTrialFailure]
    ON_TRIAL_FAILURE_CONTINUE: _ClassVar[OnTrialFailure]
    ON_TRIAL_FAILURE_STOP: _ClassVar[OnTrialFailure]

class MetricMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_MODE_UNSPECIFIED: _ClassVar[MetricMode]
    METRIC_MODE_MIN: _ClassVar[MetricMode]
    METRIC_MODE_MAX: _ClassVar[MetricMode]

class ConstraintValue(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSTRAINT_VALUE_UNSPECIFIED: _ClassVar[ConstraintValue]
    CONSTRAINT_VALUE_LAST: _ClassVar[ConstraintValue]
    CONSTRAINT_VALUE_WORST: _ClassVar[ConstraintValue]
LAUNCHER_UNSPECIFIED: Launcher
LAUNCHER_LOCAL: Launcher
LAUNCHER_RAY: Launcher
LAUNCHER_EXTERNAL: Launcher
LAUNCHER_SLURM: Launcher
SEARCH_KIND_UNSPECIFIED: SearchKind
SEARCH_KIND_GRID: SearchKind
SEARCH_KIND_RANDOM: SearchKind
SEARCH_KIND_TPE: SearchKind
SEARCH_KIND_GP: SearchKind
SEARCH_KIND_CMAES: SearchKind
SEARCH_KIND_QMC: SearchKind
SEARCH_KIND_NSGA2: SearchKind
PRUNER_KIND_UNSPECIFIED: PrunerKind
PRUNER_KIND_ASHA: PrunerKind
PRUNER_KIND_MEDIAN: PrunerKind
PRUNER_KIND_THRESHOLD: PrunerKind
PRUNER_KIND_PATIENCE: PrunerKind
PRUNER_KIND_HYPERBAND: PrunerKind
PRUNER_KIND_PBT: PrunerKind
OBJECTIVE_VALUE_UNSPECIFIED: ObjectiveValue
OBJECTIVE_VALUE_BEST: ObjectiveValue
OBJECTIVE_VALUE_LAST: ObjectiveValue
SEARCH_CONCURRENCY_UNSPECIFIED: SearchConcurrency
SEARCH_CONCURRENCY_FIXED: SearchConcurrency
SEARCH_CONCURRENCY_AUTO: SearchConcurrency
ON_TRIAL_FAILURE_UNSPECIFIED: OnTrialFailure
ON_TRIAL_FAILURE_CONTINUE: OnTrialFailure
ON_TRIAL_FAILURE_STOP: OnTrialFailure
METRIC_MODE_UNSPECIFIED: MetricMode
METRIC_MODE_MIN: MetricMode
METRIC_MODE_MAX: MetricMode
CONSTRAINT_VALUE_UNSPECIFIED: ConstraintValue
CONSTRAINT_VALUE_LAST: ConstraintValue
CONSTRAINT_VALUE_WORST: ConstraintValue

class RuntimeConfiguration(_message.Message):
    __slots__ = ("name", "entrypoint", "code", "initialize_from", "parameters", "search", "launcher", "resources", "priority", "snapshots", "retries", "limits", "environment", "labels", "working_directory", "not_secret", "rules", "slurm")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: EnvironmentValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[EnvironmentValue, _Mapping]] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    INITIALIZE_FROM_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    LAUNCHER_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    NOT_SECRET_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    SLURM_FIELD_NUMBER: _ClassVar[int]
    name: str
    entrypoint: str
    code: Code
    initialize_from: str
    parameters: _containers.ScalarMap[str, str]
    search: Search
    launcher: Launcher
    resources: Resources
    priority: int
    snapshots: SnapshotPolicy
    retries: RetryPolicy
    limits: Limits
    environment: _containers.MessageMap[str, EnvironmentValue]
    labels: _containers.ScalarMap[str, str]
    working_directory: str
    not_secret: _containers.RepeatedScalarFieldContainer[str]
    rules: _containers.RepeatedCompositeFieldContainer[RunRule]
    slurm: SlurmOptions
    def __init__(self, name: _Optional[str] = ..., entrypoint: _Optional[str] = ..., code: _Optional[_Union[Code, _Mapping]] = ..., initialize_from: _Optional[str] = ..., parameters: _Optional[_Mapping[str, str]] = ..., search: _Optional[_Union[Search, _Mapping]] = ..., launcher: _Optional[_Union[Launcher, str]] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., priority: _Optional[int] = ..., snapshots: _Optional[_Union[SnapshotPolicy, _Mapping]] = ..., retries: _Optional[_Union[RetryPolicy, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., environment: _Optional[_Mapping[str, EnvironmentValue]] = ..., labels: _Optional[_Mapping[str, str]] = ..., working_directory: _Optional[str] = ..., not_secret: _Optional[_Iterable[str]] = ..., rules: _Optional[_Iterable[_Union[RunRule, _Mapping]]] = ..., slurm: _Optional[_Union[SlurmOptions, _Mapping]] = ...) -> None: ...

class SlurmOptions(_message.Message):
    __slots__ = ("partition", "account", "qos", "constraint", "gres", "reservation", "time_limit_minutes", "notice_seconds")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINT_FIELD_NUMBER: _ClassVar[int]
    GRES_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_MINUTES_FIELD_NUMBER: _ClassVar[int]
    NOTICE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    partition: str
    account: str
    qos: str
    constraint: str
    gres: str
    reservation: str
    time_limit_minutes: int
    notice_seconds: int
    def __init__(self, partition: _Optional[str] = ..., account: _Optional[str] = ..., qos: _Optional[str] = ..., constraint: _Optional[str] = ..., gres: _Optional[str] = ..., reservation: _Optional[str] = ..., time_limit_minutes: _Optional[int] = ..., notice_seconds: _Optional[int] = ...) -> None: ...

class RunRule(_message.Message):
    __slots__ = ("id", "rule")
    ID_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    id: str
    rule: _rule_pb2.Rule
    def __init__(self, id: _Optional[str] = ..., rule: _Optional[_Union[_rule_pb2.Rule, _Mapping]] = ...) -> None: ...

class Code(_message.Message):
    __slots__ = ("uri", "digest")
    URI_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    uri: str
    digest: str
    def __init__(self, uri: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class Search(_message.Message):
    __slots__ = ("kind", "space", "seed", "max_trials", "max_concurrent_trials", "on_trial_failure", "objective", "points", "stop_when", "pruner", "objectives", "constraints", "population_size", "warm_start", "concurrency")
    class SpaceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: SearchDimension
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[SearchDimension, _Mapping]] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MAX_TRIALS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENT_TRIALS_FIELD_NUMBER: _ClassVar[int]
    ON_TRIAL_FAILURE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    STOP_WHEN_FIELD_NUMBER: _ClassVar[int]
    PRUNER_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVES_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    POPULATION_SIZE_FIELD_NUMBER: _ClassVar[int]
    WARM_START_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    kind: SearchKind
    space: _containers.MessageMap[str, SearchDimension]
    seed: int
    max_trials: int
    max_concurrent_trials: int
    on_trial_failure: OnTrialFailure
    objective: SearchObjective
    points: _containers.RepeatedCompositeFieldContainer[SearchPoint]
    stop_when: SearchEnd
    pruner: SearchPruner
    objectives: _containers.RepeatedCompositeFieldContainer[SearchObjective]
    constraints: _containers.RepeatedCompositeFieldContainer[SearchConstraint]
    population_size: int
    warm_start: _containers.RepeatedScalarFieldContainer[str]
    concurrency: SearchConcurrency
    def __init__(self, kind: _Optional[_Union[SearchKind, str]] = ..., space: _Optional[_Mapping[str, SearchDimension]] = ..., seed: _Optional[int] = ..., max_trials: _Optional[int] = ..., max_concurrent_trials: _Optional[int] = ..., on_trial_failure: _Optional[_Union[OnTrialFailure, str]] = ..., objective: _Optional[_Union[SearchObjective, _Mapping]] = ..., points: _Optional[_Iterable[_Union[SearchPoint, _Mapping]]] = ..., stop_when: _Optional[_Union[SearchEnd, _Mapping]] = ..., pruner: _Optional[_Union[SearchPruner, _Mapping]] = ..., objectives: _Optional[_Iterable[_Union[SearchObjective, _Mapping]]] = ..., constraints: _Optional[_Iterable[_Union[SearchConstraint, _Mapping]]] = ..., population_size: _Optional[int] = ..., warm_start: _Optional[_Iterable[str]] = ..., concurrency: _Optional[_Union[SearchConcurrency, str]] = ...) -> None: ...

class SearchConstraint(_message.Message):
    __slots__ = ("metric", "at_most", "at_least", "value")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    at_most: float
    at_least: float
    value: ConstraintValue
    def __init__(self, metric: _Optional[str] = ..., at_most: _Optional[float] = ..., at_least: _Optional[float] = ..., value: _Optional[_Union[ConstraintValue, str]] = ...) -> None: ...

class SearchPruner(_message.Message):
    __slots__ = ("kind", "first_step", "reduction_factor", "startup_trials", "bound", "patience", "max_step", "population_size", "quantile", "perturbation_factors", "resample_probability", "keep_parameters")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    REDUCTION_FACTOR_FIELD_NUMBER: _ClassVar[int]
    STARTUP_TRIALS_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    MAX_STEP_FIELD_NUMBER: _ClassVar[int]
    POPULATION_SIZE_FIELD_NUMBER: _ClassVar[int]
    QUANTILE_FIELD_NUMBER: _ClassVar[int]
    PERTURBATION_FACTORS_FIELD_NUMBER: _ClassVar[int]
    RESAMPLE_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    KEEP_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    kind: PrunerKind
    first_step: int
    reduction_factor: int
    startup_trials: int
    bound: float
    patience: int
    max_step: int
    population_size: int
    quantile: float
    perturbation_factors: _containers.RepeatedScalarFieldContainer[float]
    resample_probability: float
    keep_parameters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[_Union[PrunerKind, str]] = ..., first_step: _Optional[int] = ..., reduction_factor: _Optional[int] = ..., startup_trials: _Optional[int] = ..., bound: _Optional[float] = ..., patience: _Optional[int] = ..., max_step: _Optional[int] = ..., population_size: _Optional[int] = ..., quantile: _Optional[float] = ..., perturbation_factors: _Optional[_Iterable[float]] = ..., resample_probability: _Optional[float] = ..., keep_parameters: _Optional[_Iterable[str]] = ...) -> None: ...

class SearchObjective(_message.Message):
    __slots__ = ("metric", "mode", "value")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    mode: MetricMode
    value: ObjectiveValue
    def __init__(self, metric: _Optional[str] = ..., mode: _Optional[_Union[MetricMode, str]] = ..., value: _Optional[_Union[ObjectiveValue, str]] = ...) -> None: ...

class SearchPoint(_message.Message):
    __slots__ = ("parameters",)
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    parameters: _containers.ScalarMap[str, str]
    def __init__(self, parameters: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SearchEnd(_message.Message):
    __slots__ = ("target", "no_gain_in_trials", "hours")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    NO_GAIN_IN_TRIALS_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    target: float
    no_gain_in_trials: int
    hours: float
    def __init__(self, target: _Optional[float] = ..., no_gain_in_trials: _Optional[int] = ..., hours: _Optional[float] = ...) -> None: ...

class SearchDimension(_message.Message):
    __slots__ = ("values", "minimum", "maximum", "log_scale", "integer", "when")
    class WhenEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: SearchCondition
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[SearchCondition, _Mapping]] = ...) -> None: ...
    VALUES_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    LOG_SCALE_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    minimum: float
    maximum: float
    log_scale: bool
    integer: bool
    when: _containers.MessageMap[str, SearchCondition]
    def __init__(self, values: _Optional[_Iterable[str]] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., log_scale: bool = ..., integer: bool = ..., when: _Optional[_Mapping[str, SearchCondition]] = ...) -> None: ...

class SearchCondition(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("workers", "cpus_per_worker", "gpus_per_worker", "memory_gigabytes_per_worker")
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    CPUS_PER_WORKER_FIELD_NUMBER: _ClassVar[int]
    GPUS_PER_WORKER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_GIGABYTES_PER_WORKER_FIELD_NUMBER: _ClassVar[int]
    workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    memory_gigabytes_per_worker: float
    def __init__(self, workers: _Optional[int] = ..., cpus_per_worker: _Optional[float] = ..., gpus_per_worker: _Optional[float] = ..., memory_gigabytes_per_worker: _Optional[float] = ...) -> None: ...

class SnapshotPolicy(_message.Message):
    __slots__ = ("every_steps", "every_epochs", "every_minutes", "keep_last", "keep_best", "storage")
    EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    EVERY_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    EVERY_MINUTES_FIELD_NUMBER: _ClassVar[int]
    KEEP_LAST_FIELD_NUMBER: _ClassVar[int]
    KEEP_BEST_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    every_steps: int
    every_epochs: int
    every_minutes: float
    keep_last: int
    keep_best: KeepBest
    storage: str
    def __init__(self, every_steps: _Optional[int] = ..., every_epochs: _Optional[int] = ..., every_minutes: _Optional[float] = ..., keep_last: _Optional[int] = ..., keep_best: _Optional[_Union[KeepBest, _Mapping]] = ..., storage: _Optional[str] = ...) -> None: ...

class KeepBest(_message.Message):
    __slots__ = ("metric", "mode")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    mode: MetricMode
    def __init__(self, metric: _Optional[str] = ..., mode: _Optional[_Union[MetricMode, str]] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("max_retries", "backoff_seconds")
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_SECONDS_FIELD_NUMBER: _ClassVar[int]
    max_retries: int
    backoff_seconds: float
    def __init__(self, max_retries: _Optional[int] = ..., backoff_seconds: _Optional[float] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_duration_seconds", "heartbeat_grace_seconds", "stop_deadline_seconds", "log_megabytes", "sample_megabytes", "stall_seconds")
    MAX_DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_GRACE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STOP_DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LOG_MEGABYTES_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_MEGABYTES_FIELD_NUMBER: _ClassVar[int]
    STALL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    max_duration_seconds: float
    heartbeat_grace_seconds: float
    stop_deadline_seconds: float
    log_megabytes: int
    sample_megabytes: int
    stall_seconds: float
    def __init__(self, max_duration_seconds: _Optional[float] = ..., heartbeat_grace_seconds: _Optional[float] = ..., stop_deadline_seconds: _Optional[float] = ..., log_megabytes: _Optional[int] = ..., sample_megabytes: _Optional[int] = ..., stall_seconds: _Optional[float] = ...) -> None: ...

class EnvironmentValue(_message.Message):
    __slots__ = ("value", "secret")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    value: str
    secret: str
    def __init__(self, value: _Optional[str] = ..., secret: _Optional[str] = ...) -> None: ...
