"""Every trial as the log and the headers of its telemetry say it is.

In: recorded events, headers of step batches. Out: views and estimates of time.

- `views`: the fold; start here. `facts`: what each event does to a trial. `view`: what is kept of one.
- `positions`: where telemetry says that a trial is. `progress`: what is done and left of a trial.
- `eta`: how long it takes, pure. `runtime_estimates`: when all trials of a runtime are done.
"""
