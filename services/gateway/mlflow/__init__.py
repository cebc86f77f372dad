"""MLflow's REST interface over Milepost: a stock MLflow client's run is a runtime with an `external` launcher.

    MLFLOW_TRACKING_URI=http://127.0.0.1:8470/mlflow python train.py

`api` speaks MLflow's dialect, `recorder` writes what a client reports into EVENTS and TELEMETRY as an attempt does,
`catalog` keeps the names of experiments, `filters` reads MLflow's search language.
"""
