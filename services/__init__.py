"""The services, and what they share.

`runtime`, `trials`, `metrics`, `rules`, `mlflow` and `gateway` never import each other, but for one seam (`gateway/mlflow.py`).
Below them:

    edge        what those share that speak for callers from outside: calls in their name, problems, bodies
    server      a gRPC server as all have it: access, health, reflection, telemetry
    access      who is there, and what may they do
    readmodel   what a fold of the log needs: checkpoints, moments, filters, messages set aside
    rpc         errors, limits, time and shape of calls

`settings` are read by entry points alone; `supervision` starts tasks that die again; `lease` makes one replica the leader;
`bundle_state` folds a bundle as the services would. `log_guard` checks the end of the log before anything is written to it.
`processes` are those of this machine, `pages` those of a list, `garbage` what a read model spares the collector.
"""
