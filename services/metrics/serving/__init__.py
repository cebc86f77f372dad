"""MetricService and LogService over gRPC: they only translate.

- `service`: series; start here. `series_stream`: live. `logs`: lines. `samples`: rows beside values.
  `imported`: runs that came as bundles.
"""
