-- One row per logged value (`kind` point), and one per message of TELEMETRY that carried them. The second kind is the
-- record of what was received: it advances the offset, proves completeness and remembers which batch numbers are
-- settled. It has an empty key and its batch number in `step`, so that the record of an attempt lies together.
CREATE TABLE IF NOT EXISTS points
(
    runtime LowCardinality(String),
    trial UInt32 CODEC(Delta, ZSTD(1)),
    key LowCardinality(String),
    attempt UInt32 CODEC(Delta, ZSTD(1)),
    step Int64 CODEC(DoubleDelta, ZSTD(1)),
    time_ms Int64 CODEC(Delta, ZSTD(1)),
    value Float64 CODEC(ZSTD(1)),
    source LowCardinality(String),
    number UInt64 CODEC(Delta, ZSTD(1)),
    -- `duplicate`: its number was settled before. `tombstone`: the sender gave the points up. `rejected`: not readable.
    -- `purged`: its runtime is deleted. `offset`: belongs to no runtime, keeps the position when rows are deleted.
    kind Enum8('point' = 0, 'stored' = 1, 'duplicate' = 2, 'tombstone' = 3, 'rejected' = 4, 'purged' = 5, 'offset' = 6),
    -- Points of the message; 0 for a point itself.
    items Int64 CODEC(ZSTD(1)),
    -- Why: of a tombstone or a rejection.
    note LowCardinality(String),
    -- Creation time of the stream, and the position of the message in it: together, the offset.
    stream_id UInt64 CODEC(Delta, ZSTD(1)),
    log_seq UInt64 CODEC(Delta, ZSTD(1)),
    log_time_ms Int64 CODEC(Delta, ZSTD(1)),
    INDEX positions log_seq TYPE minmax GRANULARITY 1,
    PROJECTION offsets
    (
        SELECT stream_id, max(log_seq)
        GROUP BY stream_id
    ),
    PROJECTION buckets_128
    (
        SELECT
            runtime, trial, key, attempt, bitShiftRight(step, 7) AS bucket,
            count(), min(step), max(step),
            minIf(value, isFinite(value)), maxIf(value, isFinite(value)), sumIf(value, isFinite(value)),
            countIf(isNaN(value)), countIf(value = inf), countIf(value = -inf),
            argMax(value, step), argMax(time_ms, step),
            min(log_seq), max(log_seq), min(stream_id), max(stream_id)
        GROUP BY runtime, trial, key, attempt, bucket
    ),
    PROJECTION buckets_4096
    (
        SELECT
            runtime, trial, key, attempt, source, bitShiftRight(step, 12) AS bucket,
            count(), min(step), max(step),
            minIf(value, isFinite(value)), maxIf(value, isFinite(value)), sumIf(value, isFinite(value)),
            countIf(isNaN(value)), countIf(value = inf), countIf(value = -inf),
            argMax(value, step), argMax(time_ms, step),
            min(log_seq), max(log_seq), min(stream_id), max(stream_id),
            argMinIf(step, value, isFinite(value)), argMaxIf(step, value, isFinite(value)),
            minIf(step, NOT isFinite(value)), min(time_ms)
        GROUP BY runtime, trial, key, attempt, source, bucket
    )
)
ENGINE = MergeTree
ORDER BY (runtime, trial, key, attempt, step)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    lightweight_mutation_projection_mode = 'rebuild'
