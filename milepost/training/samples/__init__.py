"""What is logged beside values: samples, texts, tables, histograms.

In: what a loop hands over. Out: rows (`Row`) for the batches of `telemetry`.

- `buffer`: the few microseconds in the caller, and which rows are kept; start here. `thinning`: the rule that says so.
- `reading`: anything that a loop hands over as rows of bounded size, beside the loop.
"""
