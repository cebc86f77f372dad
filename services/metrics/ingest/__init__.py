"""From TELEMETRY into the store, each batch once.

- `writer`: start here. `senders`, `ranges`, `records`: which numbers of which sender are settled.
- `series_limit`, `quota`: what is too much. `live`: decoded batches on their way to whoever watches.
"""
