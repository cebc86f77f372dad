"""Every field of a configuration: what it may say, and what it is when it is absent."""

from __future__ import annotations

from milepost.configuration.plain import LATER_LIMITS, MAX_CONCURRENT_TRIALS, MAX_TRIALS, Plain
from milepost.configuration.specs import (
    CONTROL,
    PARAMETER,
    PRINTABLE,
    REQUIRED,
    Choice,
    Dimension,
    Entries,
    Field,
    Listed,
    Names,
    Number,
    Scalar,
    Section,
    SeriesKey,
    Text,
    Variable,
)
from milepost.configuration.watching import RunRules
from milepost.configuration.words import (
    CONCURRENCIES,
    CONSTRAINT_VALUES,
    KINDS,
    OBJECTIVE_VALUES,
    PRUNERS,
    RANGES_ONLY,
    SAMPLERS,
)
from milepost.numbers import MAX_NUMBER

MAX_NAME = 200
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_MODULE = rf"{_NAME}(?:\.{_NAME})*"
# A relative path without `..`; `:` ends it.
_PART = rf"(?!\.\.?/)[^/:\\{CONTROL}]+"
_FILE = rf"(?:{_PART}/)*[^/:\\{CONTROL}]+\.py"
_RESOURCE = r"runtimes/[a-z0-9][a-z0-9_-]{0,62}/trials/[1-9][0-9]{0,8}/snapshots/[a-z0-9][a-z0-9_-]{0,62}"
_ABSOLUTE = rf"(?!.*(?:^|/)\.\.(?:/|$))/{PRINTABLE}"
_STORAGE = (
    rf"(?!.*(?:^|/)\.\.(?:/|$))(?:/{PRINTABLE}|file:///{PRINTABLE}|"
    rf"(?:s3|gs|gcs|abfs|abfss|hdfs|viewfs)://(?![^/]*:[^/@]*@)[^{CONTROL}]{PRINTABLE})"
)
_SLURM_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"
_SLURM_NAMES = rf"{_SLURM_NAME}(?:,{_SLURM_NAME})*"
_SLURM_GRES = rf"{_SLURM_NAME}(?::{_SLURM_NAME}){{0,2}}"
_STORAGE_WORDS = "a URI (file, s3, gs, abfs, hdfs) or an absolute path, without '..' and without credentials"


def _whole(minimum: int, maximum: int) -> Number:
    return Number(minimum, maximum, whole=True)


def _is(name: str, schema: Plain) -> Plain:
    """Say of a mapping that it has a field which is so."""
    return {"required": [name], "properties": {name: schema}}


# What holds between fields, as `resolution` and the preflight of the runtime service judge it.
# Linters ask for `items` though anything may be in it.
_WITHOUT: Plain = {"properties": {"minimum": {"not": {}}, "when": {"not": {}}}}
_LISTS = {"properties": {"space": {"additionalProperties": _WITHOUT}}}
_RANGES = {"properties": {"space": {"additionalProperties": {"type": "object"}}}}
_KINDS_OF_SEARCHES = {
    "if": _is("kind", {"enum": list(SAMPLERS)}),
    "then": {
        "anyOf": [_is("objective", {"type": "object"}), _is("objectives", {"type": "array", "items": {}, "minItems": 1})],
        "if": _is("kind", {"enum": list(RANGES_ONLY)}),
        "then": _RANGES,
    },
    "else": {
        "properties": {"objective": {"type": "null"}, "points": {"type": ["array", "null"], "items": {}, "maxItems": 0},
                       "objectives": {"type": ["array", "null"], "items": {}, "maxItems": 0},
                       "constraints": {"type": ["array", "null"], "items": {}, "maxItems": 0},
                       "warm_start": {"type": ["array", "null"], "items": {}, "maxItems": 0},
                       "stop_when": {"type": "null"}, "pruner": {"type": "null"}},
        "if": _is("kind", {"const": "random"}),
        "else": _LISTS,
    },
}  # fmt: skip
_CODE_OR_FOLDER = {
    "if": _is("code", {"type": "object"}),
    "then": {"properties": {"working_directory": {"enum": ["", None]}}},
}
# Ray looks for it where it runs.
_FILE_WITHOUT_CODE = {
    **_is("entrypoint", {"pattern": r"\.py:"}),
    "allOf": [{"properties": {"launcher": {"enum": ["local", None]}, "code": {"type": "null"}}}],
}

_OBJECTIVE = Section(
    {
        "metric": Field(SeriesKey(), REQUIRED, "series key"),
        "mode": Field(Choice(("min", "max")), "min", "which is better"),
        "value": Field(Choice(tuple(OBJECTIVE_VALUES)), "best", "which value of the series counts"),
    }
)
PRUNER = Section(
    {
        "kind": Field(Choice(tuple(PRUNERS)), "asha", "how trials are judged at a rung"),
        "first_step": Field(
            _whole(1, MAX_NUMBER), 1, "no rung before this step; of pbt the others lie at its multiples"
        ),
        "reduction_factor": Field(
            _whole(2, 100),
            3,
            "asha, hyperband: one in so many goes on, to so many times the step",
        ),
        "max_step": Field(_whole(2, MAX_NUMBER), None, "hyperband, pbt: the steps of a whole trial"),
        "startup_trials": Field(_whole(1, MAX_TRIALS), 5, "median: so many others at the rung before any is pruned"),
        "bound": Field(Number(-1e300, 1e300), None, "threshold: worse than this is pruned"),
        "patience": Field(_whole(1, MAX_TRIALS), 5, "patience: rungs in a row without a better value"),
        "population_size": Field(
            _whole(2, 1_000), None, "pbt: trials that the sampler chooses, all others take the place of one; null: 8"
        ),
        "quantile": Field(
            Number(0, 0.5, above_minimum=True),
            None,
            "pbt: the share of those at a rung that is given up, and of those whose weights are taken; null: 0.25",
        ),
        "perturbation_factors": Field(
            Listed(Number(0, 1e6, above_minimum=True), 10),
            [],
            "pbt: a number is multiplied by one of these; empty: 0.8 and 1.2",
        ),
        "resample_probability": Field(
            Number(0, 1), None, "pbt: how often a parameter is drawn anew instead; null: 0.25"
        ),
        "keep_parameters": Field(
            Listed(Text(100), 100), [], "pbt: searched parameters that go with the weights, such as sizes of the model"
        ),
    }
)
# More of them than this have hardly a trial that another one surpasses.
MAX_OBJECTIVES = 5
MAX_CONSTRAINTS = 10

CONFIGURATION = Section(
    {
        "name": Field(Text(MAX_NAME), "", "free text"),
        "entrypoint": Field(
            Text(
                500,
                rf"(?:{_MODULE}|{_FILE}):{_MODULE}",
                "package.module:function or file.py:function, the path relative and without '..'",
            ),
            "",
            "what to run: package.module:function or file.py:function",
        ),
        "code": Field(
            Section(
                {
                    "uri": Field(
                        Text(2_000, _STORAGE, _STORAGE_WORDS),
                        REQUIRED,
                        "where the archive is",
                    ),
                    "digest": Field(
                        Text(71, r"sha256:[0-9a-f]{64}", "sha256: and 64 hex digits"),
                        REQUIRED,
                        "SHA-256 of the archive",
                    ),
                }
            ),
            None,
            "archive of a folder of code; null: the entrypoint is importable where it runs",
        ),
        "working_directory": Field(
            Text(4_096, _ABSOLUTE, "an absolute path without '..'"),
            "",
            "folder in which file entrypoints and relative paths are found",
        ),
        "initialize_from": Field(
            Text(300, _RESOURCE, "runtimes/{runtime}/trials/{trial}/snapshots/{snapshot}"),
            "",
            "snapshot of another run whose weights to start from",
        ),
        "parameters": Field(
            Entries(PARAMETER, "a name of letters, digits, _ . -", Scalar()), {}, "scalars, handed to the entrypoint"
        ),
        "search": Field(
            Section(
                {
                    "kind": Field(
                        Choice(tuple(KINDS)),
                        "grid",
                        "grid: every combination; random: draws; the others choose by an objective",
                    ),
                    "space": Field(
                        Entries(PARAMETER, "a name of letters, digits, _ . -", Dimension(), 100, 1),
                        REQUIRED,
                        "values per parameter",
                    ),
                    "seed": Field(_whole(-(2**63), 2**63 - 1), 0, "seed of what is drawn"),
                    "max_trials": Field(_whole(1, MAX_TRIALS), 10, "no more trials than this"),
                    "concurrency": Field(
                        Choice(tuple(CONCURRENCIES)),
                        "fixed",
                        "fixed: what fits when its turn comes; auto: more when others leave, fewer when others wait",
                    ),
                    "max_concurrent_trials": Field(
                        _whole(1, MAX_CONCURRENT_TRIALS),
                        None,
                        "trials at a time, at most; null: 1, with concurrency: auto 1,000",
                    ),
                    "on_trial_failure": Field(
                        Choice(("continue", "stop")), "continue", "what a failed trial does to the others"
                    ),
                    "objective": Field(
                        _OBJECTIVE,
                        None,
                        "what a sampler looks for; it needs one, and nothing else has any",
                    ),
                    "objectives": Field(
                        Listed(_OBJECTIVE, MAX_OBJECTIVES),
                        [],
                        "several of them instead: the best trials are those that no other surpasses",
                    ),
                    "constraints": Field(
                        Listed(
                            Section(
                                {
                                    "metric": Field(SeriesKey(), REQUIRED, "series key"),
                                    "at_most": Field(Number(-1e300, 1e300), None, "its value must not be larger"),
                                    "at_least": Field(Number(-1e300, 1e300), None, "its value must not be smaller"),
                                    "value": Field(
                                        Choice(tuple(CONSTRAINT_VALUES)), "last", "which value of the series counts"
                                    ),
                                }
                            ),
                            MAX_CONSTRAINTS,
                        ),
                        [],
                        "bounds on metrics, each `at_most` or `at_least`: a trial that breaks one is never the best",
                    ),
                    "population_size": Field(
                        _whole(2, 1_000), None, "nsga2: trials in a generation, drawn at random in the first; null: 50"
                    ),
                    "warm_start": Field(
                        Listed(Text(29, r"rt-[0-9a-v]{26}", "the id of a runtime: rt- and 26 of 0-9, a-v"), 10),
                        [],
                        "runtimes that have ended, whose completed trials a sampler is told first",
                    ),
                    "points": Field(
                        Listed(Entries(PARAMETER, "a name of letters, digits, _ . -", Scalar(), 100, 1), MAX_TRIALS),
                        [],
                        "points that a sampler's search tries first; what one does not name the sampler chooses",
                    ),
                    "pruner": Field(
                        PRUNER,
                        None,
                        "ends trials early that a sampler chose, by the objective at their evaluations; null: none",
                    ),
                    "stop_when": Field(
                        Section(
                            {
                                "target": Field(Number(-1e300, 1e300), None, "a trial's value is at least as good"),
                                "no_gain_in_trials": Field(
                                    _whole(1, MAX_TRIALS), None, "so many trials in a row were not better"
                                ),
                                "hours": Field(
                                    Number(0, 1e5, above_minimum=True),
                                    None,
                                    "so long after its first trial began; pauses count",
                                ),
                            }
                        ),
                        None,
                        "what ends a sampler's search before `max_trials`: any of these",
                    ),
                },
                _KINDS_OF_SEARCHES,
            ),
            None,
            "several trials over a space of parameters; null: one trial",
        ),
        "launcher": Field(Choice(("local", "ray", "slurm", "external")), "local", "how worker processes are started"),
        "resources": Field(
            Section(
                {
                    "workers": Field(_whole(0, 4_096), 0, "worker processes; 0: one process without a worker group"),
                    "cpus_per_worker": Field(Number(0, 1_024, above_minimum=True), 1.0, "CPUs of each"),
                    "gpus_per_worker": Field(Number(0, 64), 0.0, "GPUs of each"),
                    "memory_gigabytes_per_worker": Field(
                        Number(0, 100_000, above_minimum=True),
                        None,
                        "memory of each, 10^9 bytes, reserved and not exceeded; null: neither",
                    ),
                }
            ),
            {},
            "what one trial needs",
        ),
        "slurm": Field(
            Section(
                {
                    "partition": Field(
                        Text(200, _SLURM_NAMES, "names joined by commas"), "", "its partitions, joined by commas"
                    ),
                    "account": Field(Text(100, _SLURM_NAME, "a name"), "", "whom its time is charged to"),
                    "qos": Field(Text(100, _SLURM_NAME, "a name"), "", "quality of service"),
                    "constraint": Field(
                        Text(
                            300,
                            r"[A-Za-z0-9_(\[][A-Za-z0-9_.,:&|*()\[\]\-]*",
                            "features joined by & | , with counts and brackets",
                        ),
                        "",
                        "features of nodes, such as a100&nvlink",
                    ),
                    "gres": Field(
                        Text(200, rf"{_SLURM_GRES}(?:,{_SLURM_GRES})*", "name[:type][:count], joined by commas"),
                        "",
                        "generic resources; gpu:type:count here stands for gpus_per_worker",
                    ),
                    "reservation": Field(Text(100, _SLURM_NAME, "a name"), "", "the reservation it runs in"),
                    "time_limit_minutes": Field(
                        _whole(1, 525_600), None, "time limit of each job; null: that of the partition"
                    ),
                    "notice_seconds": Field(
                        _whole(10, 65_535), 120, "so long before the limit a snapshot is taken, and the job ends"
                    ),
                }
            ),
            {},
            "what sbatch is asked for, with [launcher: slurm](slurm.md); empty: as Slurm is set up",
        ),
        "priority": Field(_whole(-1_000, 1_000), 0, "higher goes first"),
        "snapshots": Field(
            Section(
                {
                    "every_steps": Field(_whole(1, MAX_NUMBER), None, "steps between snapshots"),
                    "every_epochs": Field(_whole(1, MAX_NUMBER), None, "epochs between snapshots"),
                    "every_minutes": Field(Number(0, 1e6, above_minimum=True), None, "minutes between snapshots"),
                    "keep_last": Field(_whole(1, 10_000), 3, "the newest snapshots that are kept"),
                    "keep_best": Field(
                        Section(
                            {
                                "metric": Field(SeriesKey(), REQUIRED, "series key"),
                                "mode": Field(Choice(("min", "max")), "min", "which is better"),
                            }
                        ),
                        None,
                        "also keep the best by this metric; null: none",
                    ),
                    "storage": Field(
                        Text(2_000, _STORAGE, _STORAGE_WORDS),
                        "",
                        "where snapshots go; empty: the data directory",
                    ),
                }
            ),
            {},
            "when snapshots are taken and kept",
        ),
        "retries": Field(
            Section(
                {
                    "max_retries": Field(_whole(0, 100), 2, "launches after a crash"),
                    "backoff_seconds": Field(Number(0, 600), 5.0, "wait before the first retry, doubled at each"),
                }
            ),
            {},
            "what follows a crash",
        ),
        "limits": Field(
            Section(
                {
                    "max_duration_seconds": Field(
                        Number(0, 1e9, above_minimum=True),
                        None,
                        "running time since the start or the last resume; null: none",
                    ),
                    "heartbeat_grace_seconds": Field(
                        Number(1, 86_400), 30.0, "silence after which an instance counts as lost"
                    ),
                    "stop_deadline_seconds": Field(
                        Number(0, 86_400, above_minimum=True), 300.0, "time a graceful stop may take"
                    ),
                    "stall_seconds": Field(
                        Number(1, 86_400),
                        LATER_LIMITS["stall_seconds"],
                        "no step for so long, and for ten times the usual, is no progress",
                    ),
                    "log_megabytes": Field(_whole(1, 1_000_000), 512, "quota of stored log text, 10^6 bytes"),
                    "sample_megabytes": Field(
                        _whole(1, 1_000_000),
                        LATER_LIMITS["sample_megabytes"],
                        "quota of stored samples and other rows, 10^6 bytes",
                    ),
                }
            ),
            {},
            "limits of the run",
        ),
        "environment": Field(
            Entries(_NAME, "a name of letters, digits and _", Variable()),
            {},
            "environment variables of the worker processes",
        ),
        "not_secret": Field(
            Names(1_000, 250),
            [],
            "names of parameters, variables and labels that look like secrets and are none",
        ),
        "labels": Field(
            Entries(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}", "1 to 63 letters, digits, _ . / -", Text(256), 64),
            {},
            "free text by key, to find runtimes by",
        ),
        "rules": Field(
            RunRules(), [], "[rules](rules.md) that watch this run alone: those of a file, each with an id, no selector"
        ),
    },
    {
        "if": _is("launcher", {"const": "external"}),
        "then": {"properties": {"search": {"type": "null"}}, **_CODE_OR_FOLDER},
        "else": {
            "required": ["entrypoint"],
            "properties": {"entrypoint": {"type": "string", "minLength": 1}},
            **_CODE_OR_FOLDER,
            "allOf": [{"if": _FILE_WITHOUT_CODE, "then": _is("working_directory", {"type": "string", "minLength": 1})}],
        },
    },
)


def schema() -> Plain:
    """Describe the plain form as JSON Schema, for forms and editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of a runtime",
        **CONFIGURATION.schema(),
    }
