-- One row per row that was logged beside values (`kind` row), and one per message of TELEMETRY that carried any, with how
-- many there were. A message is stored here before its points are, in a block of its own: what the position of this table
-- includes is not stored again, wherever `points` stands.
CREATE TABLE IF NOT EXISTS samples
(
    runtime LowCardinality(String),
    trial UInt32 CODEC(Delta, ZSTD(1)),
    kind Enum8('row' = 0, 'message' = 1),
    key LowCardinality(String),
    step Int64 CODEC(Delta, ZSTD(1)),
    attempt UInt32 CODEC(Delta, ZSTD(1)),
    stream_id UInt64 CODEC(Delta, ZSTD(1)),
    log_seq UInt64 CODEC(Delta, ZSTD(1)),
    -- Its place within the message.
    place UInt32 CODEC(Delta, ZSTD(1)),
    log_time_ms Int64 CODEC(Delta, ZSTD(1)),
    source LowCardinality(String),
    number UInt64 CODEC(Delta, ZSTD(1)),
    time_ms Int64 CODEC(Delta, ZSTD(1)),
    form UInt8 CODEC(ZSTD(1)),
    prompt String CODEC(ZSTD(3)),
    -- Of the SHA-256 of the prompt, the first 16 hexadecimal digits; 0: it has none.
    prompt_id UInt64 CODEC(ZSTD(1)),
    completion String CODEC(ZSTD(3)),
    score_names Array(LowCardinality(String)) CODEC(ZSTD(1)),
    score_values Array(Float64) CODEC(ZSTD(1)),
    group_name String CODEC(ZSTD(1)),
    tags Array(LowCardinality(String)) CODEC(ZSTD(1)),
    content String CODEC(ZSTD(3)),
    edges Array(Float64) CODEC(ZSTD(1)),
    counts Array(Float64) CODEC(ZSTD(1)),
    media_sha256 LowCardinality(String),
    media_type LowCardinality(String),
    media_bytes Int64 CODEC(ZSTD(1)),
    -- Of a message: its rows, bytes of those that are stored, and rows left out because the quota of the runtime is used up.
    items Int64 CODEC(ZSTD(1)),
    bytes Int64 CODEC(ZSTD(1)),
    over_quota Int64 CODEC(ZSTD(1)),
    INDEX prompts prompt_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX groups group_name TYPE bloom_filter(0.01) GRANULARITY 1,
    -- Which parts of the table can hold a text at all, as in 2_logs.sql: pieces of four characters.
    INDEX prompt_pieces lower(prompt) TYPE ngrambf_v1(4, 16384, 3, 0) GRANULARITY 1,
    INDEX completion_pieces lower(completion) TYPE ngrambf_v1(4, 16384, 3, 0) GRANULARITY 1,
    PROJECTION offsets
    (
        SELECT stream_id, max(log_seq)
        GROUP BY stream_id
    )
)
ENGINE = MergeTree
ORDER BY (runtime, trial, kind, key, step, attempt, stream_id, log_seq, place)
SETTINGS
    -- Rows are some kilobytes each.
    index_granularity = 256,
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1,
    lightweight_mutation_projection_mode = 'rebuild'
