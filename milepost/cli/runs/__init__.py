"""Commands about runs: `runtimes` with `history`, `snapshots` and `branches`, `trials`, `metrics`, `samples`, `command`
(`milepost run`), `sync`, `exchange` (import and export), `rules` and `notifications` (`milepost rule`).

`following` and `monitor` show one as it goes; `log_context` shows lines around a line.
"""
