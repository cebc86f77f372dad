"""MLflow's REST interface over Milepost: a stock MLflow client's run is a runtime with an `external` launcher.

    MLFLOW_TRACKING_URI=http://127.0.0.1:8470/mlflow python train.py

In: requests of HTTP below `/mlflow`, from callers that the gateway knows. Out: facts in EVENTS and points in TELEMETRY, as an
attempt writes them; calls to the other services in the caller's name; answers in MLflow's dialect.

    application   builds the parts, for a process of their own or for the gateway, which mounts them
    service       MlflowService: what a gateway passes on to that process
    api           a function for each call; start here
    unkept        artifacts, models, data sets: taken, and not kept
    writing       who may write to which run, and how one that has ended is written to again
    runs          runs as clients read them, from what the services say
    experiments   calls about experiments; `filters`: the search language, with `like`
    bodies        reading what clients send; `catalog`: experiments, and what is deleted
    recorder      open runs: their spools, and the way from there into the log
    names, errors ids and names in both languages; what is refused, in MLflow's words
"""
