"""The trial as training code holds it.

In: `trial.batches`, `trial.log`, `trial.evaluation`, `trial.maybe_snapshot` and a stop that was asked for. Out: rows for
`telemetry.buffer`, events, and snapshots for `saving`.

- `trial`: every method that users call; start here. `trial_info`: what it only shows.
- `training_loop`: the parts of one loop, put together, and what whoever runs it asks of it. `host`: what the loop asks of
  whoever runs it, handed in when it is made.
- `beginning`, `progress`: from where training goes on, and where it is: step, epoch, batch, boundary.
- `epochs`, `evaluation`, `steps`: what leads through the data, what happens between two batches, and where a step ends.
- `saving`, `snapshot_requests`, `stopping`: when a snapshot is taken, and how a stop ends the loop. `stop`, `agreement`:
  a stop as the loop meets it, and how all ranks halt after one step.
- `steering`: values that people may change while the loop runs.
- `parameters`: what the loop was given. `said`: what it says of itself besides values.
- `data`: where the loop is in its data. `values`: those that are not simply logged.

A part knows those that it needs from its constructor, and none that needs it: `training_loop` stands on
`epochs`, that on `evaluation`, that on `stopping` and `values`, those on `saving` and `beginning`, all of these
on `steering`, and all of them on `progress` and `host`.
"""
