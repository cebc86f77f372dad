"""What the read models of all services have in common.

- `checkpoints`: files that a restart begins from. `incremental`: such that cost what has changed.
- `set_aside`: messages that could not be taken in.
- `waiting`: until a read model has seen a position (`wait_for`), or all that is in the log now (`catch_up`).
- `moments`: positions and times of the past. `filters`: the filter language. `imports`: runs that came as bundles.
"""
