"""The services, and what they share.

`runtime`, `trials`, `metrics`, `mlflow` and `gateway` never import each other, but for one seam (`gateway/mlflow.py`).
Below them:

    edge        what those share that speak for callers from outside: calls in their name, problems, bodies
    server      a gRPC server as all have it: access, health, reflection, telemetry
    access      who is there, and what may they do
    readmodel   what a fold of the log needs: checkpoints, moments, filters, messages set aside
    rpc         errors, limits, time and shape of calls

`settings` are read by entry points alone; `supervision` starts tasks that die again; `lease` makes one replica the leader;
`bundle_state` folds a bundle as the services would.
"""
