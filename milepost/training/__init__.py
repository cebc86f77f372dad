"""What runs beside user code: the trial object, the telemetry sender, snapshots, the worker process."""
