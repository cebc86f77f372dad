"""What the code of a trial says of its run besides values.

In: `trial.plan`, `trial.declare`, `trial.alert`. Out: events, told once.

- `plan`: how long training will take. `declared`: parameters and labels that are known late. `alerts`: what somebody should
  know of. `card`: the trial in a notebook. `samples`: rows beside values.
"""
