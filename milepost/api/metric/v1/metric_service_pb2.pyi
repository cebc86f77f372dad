from milepost.api.event.v1 import recorded_event_pb2 as _recorded_event_pb2
from milepost.api.telemetry.v1 import telemetry_pb2 as _telemetry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Axis(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AXIS_UNSPECIFIED: _ClassVar[Axis]
    AXIS_STEP: _ClassVar[Axis]
    AXIS_RELATIVE_TIME: _ClassVar[Axis]
    AXIS_WALL_TIME: _ClassVar[Axis]
AXIS_UNSPECIFIED: Axis
AXIS_STEP: Axis
AXIS_RELATIVE_TIME: Axis
AXIS_WALL_TIME: Axis

class SeriesSummary(_message.Message):
    __slots__ = ("key", "point_count", "first_step", "last_step", "last", "min", "max", "min_step", "max_step", "nan_count", "positive_infinity_count", "negative_infinity_count", "first_non_finite_step", "best", "best_step", "parent", "last_time_ms")
    KEY_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MIN_STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_STEP_FIELD_NUMBER: _ClassVar[int]
    NAN_COUNT_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_INFINITY_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_INFINITY_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_NON_FINITE_STEP_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    BEST_STEP_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    key: str
    point_count: int
    first_step: int
    last_step: int
    last: float
    min: float
    max: float
    min_step: int
    max_step: int
    nan_count: int
    positive_infinity_count: int
    negative_infinity_count: int
    first_non_finite_step: int
    best: float
    best_step: int
    parent: str
    last_time_ms: int
    def __init__(self, key: _Optional[str] = ..., point_count: _Optional[int] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., last: _Optional[float] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., min_step: _Optional[int] = ..., max_step: _Optional[int] = ..., nan_count: _Optional[int] = ..., positive_infinity_count: _Optional[int] = ..., negative_infinity_count: _Optional[int] = ..., first_non_finite_step: _Optional[int] = ..., best: _Optional[float] = ..., best_step: _Optional[int] = ..., parent: _Optional[str] = ..., last_time_ms: _Optional[int] = ...) -> None: ...

class ListSeriesRequest(_message.Message):
    __slots__ = ("parent", "as_of", "parents", "page_size", "page_token", "keys")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    as_of: _recorded_event_pb2.AsOf
    parents: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    page_token: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, parent: _Optional[str] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., parents: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ...) -> None: ...

class ListSeriesResponse(_message.Message):
    __slots__ = ("series", "telemetry_sequence", "next_page_token")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    series: _containers.RepeatedCompositeFieldContainer[SeriesSummary]
    telemetry_sequence: int
    next_page_token: str
    def __init__(self, series: _Optional[_Iterable[_Union[SeriesSummary, _Mapping]]] = ..., telemetry_sequence: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class QuerySeriesRequest(_message.Message):
    __slots__ = ("parents", "keys", "first_step", "last_step", "bucket_count", "include_superseded", "as_of", "axis", "min_telemetry_sequence", "ancestry")
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    BUCKET_COUNT_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    MIN_TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ANCESTRY_FIELD_NUMBER: _ClassVar[int]
    parents: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedScalarFieldContainer[str]
    first_step: int
    last_step: int
    bucket_count: int
    include_superseded: bool
    as_of: _recorded_event_pb2.AsOf
    axis: Axis
    min_telemetry_sequence: int
    ancestry: bool
    def __init__(self, parents: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[str]] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., bucket_count: _Optional[int] = ..., include_superseded: bool = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., axis: _Optional[_Union[Axis, str]] = ..., min_telemetry_sequence: _Optional[int] = ..., ancestry: bool = ...) -> None: ...

class SeriesData(_message.Message):
    __slots__ = ("parent", "key", "attempt", "superseded", "raw", "bucket_width", "first_steps", "last_steps", "mins", "maxs", "means", "lasts", "counts", "nan_counts", "positive_infinity_counts", "negative_infinity_counts", "last_times_ms", "attempts", "positions", "origin_time_ms", "branch_step")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    BUCKET_WIDTH_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEPS_FIELD_NUMBER: _ClassVar[int]
    LAST_STEPS_FIELD_NUMBER: _ClassVar[int]
    MINS_FIELD_NUMBER: _ClassVar[int]
    MAXS_FIELD_NUMBER: _ClassVar[int]
    MEANS_FIELD_NUMBER: _ClassVar[int]
    LASTS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    NAN_COUNTS_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_INFINITY_COUNTS_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_INFINITY_COUNTS_FIELD_NUMBER: _ClassVar[int]
    LAST_TIMES_MS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    BRANCH_STEP_FIELD_NUMBER: _ClassVar[int]
    parent: str
    key: str
    attempt: int
    superseded: bool
    raw: bool
    bucket_width: int
    first_steps: _containers.RepeatedScalarFieldContainer[int]
    last_steps: _containers.RepeatedScalarFieldContainer[int]
    mins: _containers.RepeatedScalarFieldContainer[float]
    maxs: _containers.RepeatedScalarFieldContainer[float]
    means: _containers.RepeatedScalarFieldContainer[float]
    lasts: _containers.RepeatedScalarFieldContainer[float]
    counts: _containers.RepeatedScalarFieldContainer[int]
    nan_counts: _containers.RepeatedScalarFieldContainer[int]
    positive_infinity_counts: _containers.RepeatedScalarFieldContainer[int]
    negative_infinity_counts: _containers.RepeatedScalarFieldContainer[int]
    last_times_ms: _containers.RepeatedScalarFieldContainer[int]
    attempts: _containers.RepeatedScalarFieldContainer[int]
    positions: _containers.RepeatedScalarFieldContainer[float]
    origin_time_ms: int
    branch_step: int
    def __init__(self, parent: _Optional[str] = ..., key: _Optional[str] = ..., attempt: _Optional[int] = ..., superseded: bool = ..., raw: bool = ..., bucket_width: _Optional[int] = ..., first_steps: _Optional[_Iterable[int]] = ..., last_steps: _Optional[_Iterable[int]] = ..., mins: _Optional[_Iterable[float]] = ..., maxs: _Optional[_Iterable[float]] = ..., means: _Optional[_Iterable[float]] = ..., lasts: _Optional[_Iterable[float]] = ..., counts: _Optional[_Iterable[int]] = ..., nan_counts: _Optional[_Iterable[int]] = ..., positive_infinity_counts: _Optional[_Iterable[int]] = ..., negative_infinity_counts: _Optional[_Iterable[int]] = ..., last_times_ms: _Optional[_Iterable[int]] = ..., attempts: _Optional[_Iterable[int]] = ..., positions: _Optional[_Iterable[float]] = ..., origin_time_ms: _Optional[int] = ..., branch_step: _Optional[int] = ...) -> None: ...

class QuerySeriesResponse(_message.Message):
    __slots__ = ("series", "telemetry_sequence", "events_sequence")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    series: _containers.RepeatedCompositeFieldContainer[SeriesData]
    telemetry_sequence: int
    events_sequence: int
    def __init__(self, series: _Optional[_Iterable[_Union[SeriesData, _Mapping]]] = ..., telemetry_sequence: _Optional[int] = ..., events_sequence: _Optional[int] = ...) -> None: ...

class StreamSeriesRequest(_message.Message):
    __slots__ = ("parents", "keys", "after_telemetry_sequence")
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    AFTER_TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    parents: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedScalarFieldContainer[str]
    after_telemetry_sequence: int
    def __init__(self, parents: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[str]] = ..., after_telemetry_sequence: _Optional[int] = ...) -> None: ...

class PointBlock(_message.Message):
    __slots__ = ("parent", "key", "attempt", "steps", "values", "times_ms")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    TIMES_MS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    key: str
    attempt: int
    steps: _containers.RepeatedScalarFieldContainer[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    times_ms: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, parent: _Optional[str] = ..., key: _Optional[str] = ..., attempt: _Optional[int] = ..., steps: _Optional[_Iterable[int]] = ..., values: _Optional[_Iterable[float]] = ..., times_ms: _Optional[_Iterable[int]] = ...) -> None: ...

class LineageCut(_message.Message):
    __slots__ = ("parent", "attempt", "restored_step", "events_sequence")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RESTORED_STEP_FIELD_NUMBER: _ClassVar[int]
    EVENTS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    attempt: int
    restored_step: int
    events_sequence: int
    def __init__(self, parent: _Optional[str] = ..., attempt: _Optional[int] = ..., restored_step: _Optional[int] = ..., events_sequence: _Optional[int] = ...) -> None: ...

class StreamSeriesResponse(_message.Message):
    __slots__ = ("blocks", "telemetry_sequence", "cut", "caught_up")
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    blocks: _containers.RepeatedCompositeFieldContainer[PointBlock]
    telemetry_sequence: int
    cut: LineageCut
    caught_up: bool
    def __init__(self, blocks: _Optional[_Iterable[_Union[PointBlock, _Mapping]]] = ..., telemetry_sequence: _Optional[int] = ..., cut: _Optional[_Union[LineageCut, _Mapping]] = ..., caught_up: bool = ...) -> None: ...

class ListSampleSeriesRequest(_message.Message):
    __slots__ = ("parent", "as_of", "ancestry")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    ANCESTRY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    as_of: _recorded_event_pb2.AsOf
    ancestry: bool
    def __init__(self, parent: _Optional[str] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., ancestry: bool = ...) -> None: ...

class SampleSeries(_message.Message):
    __slots__ = ("key", "form", "row_count", "first_step", "last_step", "step_count", "score_names")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    SCORE_NAMES_FIELD_NUMBER: _ClassVar[int]
    key: str
    form: _telemetry_pb2.RowForm
    row_count: int
    first_step: int
    last_step: int
    step_count: int
    score_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, key: _Optional[str] = ..., form: _Optional[_Union[_telemetry_pb2.RowForm, str]] = ..., row_count: _Optional[int] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., step_count: _Optional[int] = ..., score_names: _Optional[_Iterable[str]] = ...) -> None: ...

class ListSampleSeriesResponse(_message.Message):
    __slots__ = ("series", "telemetry_sequence", "over_quota_count", "quota_bytes")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OVER_QUOTA_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    series: _containers.RepeatedCompositeFieldContainer[SampleSeries]
    telemetry_sequence: int
    over_quota_count: int
    quota_bytes: int
    def __init__(self, series: _Optional[_Iterable[_Union[SampleSeries, _Mapping]]] = ..., telemetry_sequence: _Optional[int] = ..., over_quota_count: _Optional[int] = ..., quota_bytes: _Optional[int] = ...) -> None: ...

class ListSamplesRequest(_message.Message):
    __slots__ = ("parents", "keys", "first_step", "last_step", "latest", "text", "prompt_text", "completion_text", "prompt_id", "group", "tag", "scores", "oldest_first", "include_superseded", "ancestry", "page_size", "page_token", "as_of", "min_telemetry_sequence")
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TEXT_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TEXT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIRST_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    ANCESTRY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    MIN_TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    parents: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedScalarFieldContainer[str]
    first_step: int
    last_step: int
    latest: bool
    text: str
    prompt_text: str
    completion_text: str
    prompt_id: str
    group: str
    tag: str
    scores: _containers.RepeatedScalarFieldContainer[str]
    oldest_first: bool
    include_superseded: bool
    ancestry: bool
    page_size: int
    page_token: str
    as_of: _recorded_event_pb2.AsOf
    min_telemetry_sequence: int
    def __init__(self, parents: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[str]] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., latest: bool = ..., text: _Optional[str] = ..., prompt_text: _Optional[str] = ..., completion_text: _Optional[str] = ..., prompt_id: _Optional[str] = ..., group: _Optional[str] = ..., tag: _Optional[str] = ..., scores: _Optional[_Iterable[str]] = ..., oldest_first: bool = ..., include_superseded: bool = ..., ancestry: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., min_telemetry_sequence: _Optional[int] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("parent", "attempt", "superseded", "row", "prompt_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    PROMPT_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    attempt: int
    superseded: bool
    row: _telemetry_pb2.Row
    prompt_id: str
    def __init__(self, parent: _Optional[str] = ..., attempt: _Optional[int] = ..., superseded: bool = ..., row: _Optional[_Union[_telemetry_pb2.Row, _Mapping]] = ..., prompt_id: _Optional[str] = ...) -> None: ...

class ListSamplesResponse(_message.Message):
    __slots__ = ("samples", "telemetry_sequence", "next_page_token")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    telemetry_sequence: int
    next_page_token: str
    def __init__(self, samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ..., telemetry_sequence: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class QueryHistogramsRequest(_message.Message):
    __slots__ = ("parent", "key", "first_step", "last_step", "bucket_count", "bin_count", "as_of", "ancestry")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    BUCKET_COUNT_FIELD_NUMBER: _ClassVar[int]
    BIN_COUNT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    ANCESTRY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    key: str
    first_step: int
    last_step: int
    bucket_count: int
    bin_count: int
    as_of: _recorded_event_pb2.AsOf
    ancestry: bool
    def __init__(self, parent: _Optional[str] = ..., key: _Optional[str] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., bucket_count: _Optional[int] = ..., bin_count: _Optional[int] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., ancestry: bool = ...) -> None: ...

class QueryHistogramsResponse(_message.Message):
    __slots__ = ("first_steps", "last_steps", "histogram_counts", "edges", "counts", "telemetry_sequence")
    FIRST_STEPS_FIELD_NUMBER: _ClassVar[int]
    LAST_STEPS_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAM_COUNTS_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    first_steps: _containers.RepeatedScalarFieldContainer[int]
    last_steps: _containers.RepeatedScalarFieldContainer[int]
    histogram_counts: _containers.RepeatedScalarFieldContainer[int]
    edges: _containers.RepeatedScalarFieldContainer[float]
    counts: _containers.RepeatedScalarFieldContainer[float]
    telemetry_sequence: int
    def __init__(self, first_steps: _Optional[_Iterable[int]] = ..., last_steps: _Optional[_Iterable[int]] = ..., histogram_counts: _Optional[_Iterable[int]] = ..., edges: _Optional[_Iterable[float]] = ..., counts: _Optional[_Iterable[float]] = ..., telemetry_sequence: _Optional[int] = ...) -> None: ...

class ExportSeriesRequest(_message.Message):
    __slots__ = ("parents", "keys", "include_superseded", "as_of", "skip", "limit", "ancestry")
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ANCESTRY_FIELD_NUMBER: _ClassVar[int]
    parents: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedScalarFieldContainer[str]
    include_superseded: bool
    as_of: _recorded_event_pb2.AsOf
    skip: int
    limit: int
    ancestry: bool
    def __init__(self, parents: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[str]] = ..., include_superseded: bool = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., skip: _Optional[int] = ..., limit: _Optional[int] = ..., ancestry: bool = ...) -> None: ...

class ExportSeriesResponse(_message.Message):
    __slots__ = ("arrow",)
    ARROW_FIELD_NUMBER: _ClassVar[int]
    arrow: bytes
    def __init__(self, arrow: _Optional[bytes] = ...) -> None: ...

class GetCompletenessRequest(_message.Message):
    __slots__ = ("parent",)
    PARENT_FIELD_NUMBER: _ClassVar[int]
    parent: str
    def __init__(self, parent: _Optional[str] = ...) -> None: ...

class NumberRange(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class SenderCompleteness(_message.Message):
    __slots__ = ("trial", "attempt", "source", "kind", "sent_batches", "stored_batches", "sent_items", "stored_items", "duplicate_batches", "dropped_batches", "gaps", "written_batches", "ended")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SENT_BATCHES_FIELD_NUMBER: _ClassVar[int]
    STORED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    SENT_ITEMS_FIELD_NUMBER: _ClassVar[int]
    STORED_ITEMS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_BATCHES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BATCHES_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    trial: int
    attempt: int
    source: str
    kind: str
    sent_batches: int
    stored_batches: int
    sent_items: int
    stored_items: int
    duplicate_batches: int
    dropped_batches: int
    gaps: _containers.RepeatedCompositeFieldContainer[NumberRange]
    written_batches: int
    ended: bool
    def __init__(self, trial: _Optional[int] = ..., attempt: _Optional[int] = ..., source: _Optional[str] = ..., kind: _Optional[str] = ..., sent_batches: _Optional[int] = ..., stored_batches: _Optional[int] = ..., sent_items: _Optional[int] = ..., stored_items: _Optional[int] = ..., duplicate_batches: _Optional[int] = ..., dropped_batches: _Optional[int] = ..., gaps: _Optional[_Iterable[_Union[NumberRange, _Mapping]]] = ..., written_batches: _Optional[int] = ..., ended: bool = ...) -> None: ...

class GetCompletenessResponse(_message.Message):
    __slots__ = ("senders", "sent_points", "stored_points", "gap_count", "dropped_points", "message", "still_writing", "waiting_batches", "unfinished", "imported")
    SENDERS_FIELD_NUMBER: _ClassVar[int]
    SENT_POINTS_FIELD_NUMBER: _ClassVar[int]
    STORED_POINTS_FIELD_NUMBER: _ClassVar[int]
    GAP_COUNT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_POINTS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STILL_WRITING_FIELD_NUMBER: _ClassVar[int]
    WAITING_BATCHES_FIELD_NUMBER: _ClassVar[int]
    UNFINISHED_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    senders: _containers.RepeatedCompositeFieldContainer[SenderCompleteness]
    sent_points: int
    stored_points: int
    gap_count: int
    dropped_points: int
    message: str
    still_writing: bool
    waiting_batches: int
    unfinished: _containers.RepeatedCompositeFieldContainer[UnfinishedAttempt]
    imported: bool
    def __init__(self, senders: _Optional[_Iterable[_Union[SenderCompleteness, _Mapping]]] = ..., sent_points: _Optional[int] = ..., stored_points: _Optional[int] = ..., gap_count: _Optional[int] = ..., dropped_points: _Optional[int] = ..., message: _Optional[str] = ..., still_writing: bool = ..., waiting_batches: _Optional[int] = ..., unfinished: _Optional[_Iterable[_Union[UnfinishedAttempt, _Mapping]]] = ..., imported: bool = ...) -> None: ...

class UnfinishedAttempt(_message.Message):
    __slots__ = ("trial", "attempt")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    trial: int
    attempt: int
    def __init__(self, trial: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class VerifyStoredRequest(_message.Message):
    __slots__ = ("parent",)
    PARENT_FIELD_NUMBER: _ClassVar[int]
    parent: str
    def __init__(self, parent: _Optional[str] = ...) -> None: ...

class VerifyStoredResponse(_message.Message):
    __slots__ = ("compared_batches", "compared_points", "difference_count", "differences", "compared_lines", "oddities")
    COMPARED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    COMPARED_POINTS_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    COMPARED_LINES_FIELD_NUMBER: _ClassVar[int]
    ODDITIES_FIELD_NUMBER: _ClassVar[int]
    compared_batches: int
    compared_points: int
    difference_count: int
    differences: _containers.RepeatedScalarFieldContainer[str]
    compared_lines: int
    oddities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, compared_batches: _Optional[int] = ..., compared_points: _Optional[int] = ..., difference_count: _Optional[int] = ..., differences: _Optional[_Iterable[str]] = ..., compared_lines: _Optional[int] = ..., oddities: _Optional[_Iterable[str]] = ...) -> None: ...

class PurgeRuntimeRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class PurgeRuntimeResponse(_message.Message):
    __slots__ = ("point_count", "log_line_count")
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOG_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    point_count: int
    log_line_count: int
    def __init__(self, point_count: _Optional[int] = ..., log_line_count: _Optional[int] = ...) -> None: ...

class ExportTablesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExportTablesResponse(_message.Message):
    __slots__ = ("table", "arrow", "row_count", "stream_id", "telemetry_sequence")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    ARROW_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    table: str
    arrow: bytes
    row_count: int
    stream_id: int
    telemetry_sequence: int
    def __init__(self, table: _Optional[str] = ..., arrow: _Optional[bytes] = ..., row_count: _Optional[int] = ..., stream_id: _Optional[int] = ..., telemetry_sequence: _Optional[int] = ...) -> None: ...

class ExportRowsRequest(_message.Message):
    __slots__ = ("name", "table", "min_telemetry_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    MIN_TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    table: str
    min_telemetry_sequence: int
    def __init__(self, name: _Optional[str] = ..., table: _Optional[str] = ..., min_telemetry_sequence: _Optional[int] = ...) -> None: ...

class ExportRowsResponse(_message.Message):
    __slots__ = ("arrow",)
    ARROW_FIELD_NUMBER: _ClassVar[int]
    arrow: bytes
    def __init__(self, arrow: _Optional[bytes] = ...) -> None: ...

class CheckDeterminismRequest(_message.Message):
    __slots__ = ("parent", "keys")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, parent: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ...) -> None: ...

class RepeatedSeries(_message.Message):
    __slots__ = ("key", "compared_points", "different_points", "first_different_step", "before", "after")
    KEY_FIELD_NUMBER: _ClassVar[int]
    COMPARED_POINTS_FIELD_NUMBER: _ClassVar[int]
    DIFFERENT_POINTS_FIELD_NUMBER: _ClassVar[int]
    FIRST_DIFFERENT_STEP_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    key: str
    compared_points: int
    different_points: int
    first_different_step: int
    before: float
    after: float
    def __init__(self, key: _Optional[str] = ..., compared_points: _Optional[int] = ..., different_points: _Optional[int] = ..., first_different_step: _Optional[int] = ..., before: _Optional[float] = ..., after: _Optional[float] = ...) -> None: ...

class Repetition(_message.Message):
    __slots__ = ("attempt", "repeated_by", "first_step", "last_step", "series", "first_different_step")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REPEATED_BY_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    FIRST_DIFFERENT_STEP_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    repeated_by: _containers.RepeatedScalarFieldContainer[int]
    first_step: int
    last_step: int
    series: _containers.RepeatedCompositeFieldContainer[RepeatedSeries]
    first_different_step: int
    def __init__(self, attempt: _Optional[int] = ..., repeated_by: _Optional[_Iterable[int]] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., series: _Optional[_Iterable[_Union[RepeatedSeries, _Mapping]]] = ..., first_different_step: _Optional[int] = ...) -> None: ...

class CheckDeterminismResponse(_message.Message):
    __slots__ = ("repetitions", "bit_exact", "message")
    REPETITIONS_FIELD_NUMBER: _ClassVar[int]
    BIT_EXACT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    repetitions: _containers.RepeatedCompositeFieldContainer[Repetition]
    bit_exact: bool
    message: str
    def __init__(self, repetitions: _Optional[_Iterable[_Union[Repetition, _Mapping]]] = ..., bit_exact: bool = ..., message: _Optional[str] = ...) -> None: ...
