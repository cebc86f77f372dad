"""The metric service: from TELEMETRY into ClickHouse, and back as series, logs and proofs.

    application  builds the parts and starts them; tests start it too
    serving      MetricService and LogService
    upkeep       purge, verify, back up, restore
    engine       the store, the writer and the lineage together
    queries      series, buckets, logs, completeness, determinism
    ingest       the writer: each batch once, whatever crashes
    lineage      which steps count, folded from EVENTS; its checkpoints are written by `checkpointing`
    storage      ClickHouse, and everything that knows SQL

Each room knows those below it.
"""
