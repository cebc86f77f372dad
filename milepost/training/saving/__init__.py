"""Snapshots of training state.

In: a state and a position from the loop. Out: a folder that is committed in two phases, or the state of one.

- `snapshot_policy`: when one is due and which may go; pure. `retention` removes those.
- `keeper`: what a trial asks of whoever keeps its snapshots. `snapshot_keeper`: writes in the loop, commits beside it.
- `snapshots`: the two phases, and reading one back.
- `savable`: what a snapshot can hold; `adopted`: checkpoints of other libraries. `rng`: random generators. `shards`:
one part for each rank.
"""
