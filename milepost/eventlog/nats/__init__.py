"""NATS, and the only room that speaks to it beside the sender of telemetry.

- `jetstream`, `keyvalue`: the log and the buckets; start here. `streams`: their settings. `ordered`: reading without a gap.
- `connection`, `wire`, `messages`, `nats_client`: one connection, and what comes over it.
- `server`, `credentials`: the nats-server of an installation, and who may do what on it.
- `codes`: errors by number. `occasions`: how often something is said of one speaker.
"""
