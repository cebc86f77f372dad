"""A call, whatever it asks: `handlers` around each method, `errors` as statuses, `limits` per caller, `wellformed` requests,
`threads` for work that blocks, `telemetry` of all of it.
"""
