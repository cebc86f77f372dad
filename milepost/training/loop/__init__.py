"""The trial as training code holds it.

In: `trial.batches`, `trial.log`, `trial.evaluation`, `trial.maybe_snapshot` and a stop that was asked for. Out: rows for
`telemetry.buffer`, events, and snapshots for `saving`.

- `trial`: every method that users call; start here. `host`: what it asks of whoever runs it, handed in when it is made.
- `beginning`, `progress`: from where training goes on, and where it is: step, epoch, batch, boundary.
- `epochs`, `evaluation`: what leads through the data, and what happens between two batches.
- `saving`, `stopping`: when a snapshot is taken, and how a stop ends the loop. `stop`, `agreement`: a stop as the loop meets
  it, and how all ranks halt after one step.
- `plan`, `parameters`, `declared`: what the loop was given, and what it says of itself. `card`: a trial in a notebook.
- `data`: where the loop is in its data. `values`: those that are not simply logged.

A part knows those that it needs from its constructor, and none that needs it: `trial` stands on `epochs`, that on
`evaluation`, that on `stopping` and `values`, those on `saving` and `beginning`, and all of them on `progress` and `host`.
"""
