-- One row per log line (`kind` line), and one per message of TELEMETRY that carried them; see 1_points.sql. The latter
-- has in `step` the highest number that its sender had written then.
CREATE TABLE IF NOT EXISTS logs
(
    runtime LowCardinality(String),
    trial UInt32 CODEC(Delta, ZSTD(1)),
    kind Enum8('line' = 0, 'stored' = 1, 'duplicate' = 2, 'tombstone' = 3, 'rejected' = 4, 'purged' = 5, 'offset' = 6),
    -- The position of a line is stream, message and number within the message.
    stream_id UInt64 CODEC(Delta, ZSTD(1)),
    log_seq UInt64 CODEC(Delta, ZSTD(1)),
    line UInt32 CODEC(Delta, ZSTD(1)),
    log_time_ms Int64 CODEC(Delta, ZSTD(1)),
    attempt UInt32 CODEC(Delta, ZSTD(1)),
    source LowCardinality(String),
    number UInt64 CODEC(Delta, ZSTD(1)),
    time_ms Int64 CODEC(Delta, ZSTD(1)),
    level UInt8 CODEC(ZSTD(1)),
    rank UInt32 CODEC(ZSTD(1)),
    stream UInt8 CODEC(ZSTD(1)),
    step Int64 CODEC(Delta, ZSTD(1)),
    logger LowCardinality(String),
    -- What is searched: without ANSI sequences, a progress bar folded to its last state.
    text String CODEC(ZSTD(3)),
    -- What is displayed, where that differs from `text`.
    display String CODEC(ZSTD(3)),
    -- Of a message: lines in it, bytes of text stored, lines left out because the quota of the runtime is used up.
    items Int64 CODEC(ZSTD(1)),
    bytes Int64 CODEC(ZSTD(1)),
    over_quota Int64 CODEC(ZSTD(1)),
    note LowCardinality(String),
    -- Which parts of the table can hold a text at all: pieces of three and of five characters, case of ASCII letters
    -- ignored. Short words are told by the former; where lines have many digits, every three of them are everywhere.
    INDEX pieces lower(text) TYPE ngrambf_v1(3, 4096, 2, 0) GRANULARITY 1,
    INDEX long_pieces lower(text) TYPE ngrambf_v1(5, 16384, 4, 0) GRANULARITY 1,
    PROJECTION offsets
    (
        SELECT stream_id, max(log_seq)
        GROUP BY stream_id
    )
)
ENGINE = MergeTree
ORDER BY (runtime, trial, kind, stream_id, log_seq, line)
SETTINGS
    -- A word that is anywhere at all costs the reading of as many lines.
    index_granularity = 2048,
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    lightweight_mutation_projection_mode = 'rebuild'
