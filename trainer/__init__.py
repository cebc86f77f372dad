"""The driver of one attempt: starts its instances, appends its events, keeps its logs, types its end.

In: `attempt.json`, which says what to run. Out: events, log lines, and how it ended.

- `driver`: start here. `group`: its processes, one worker or several; `on_ray/`: those on a Ray cluster. `job`: the same as a
  job of a cluster.
- `instances`: the socket to which they report; `addresses`: where they reach each other. `coordinator`: has all ranks halt
  after the same step; `means`: one mean over them.
- `capture`: their lines. `isolation`: what keeps user code to itself. `exits`: how a process ended, typed.
- `abandoned`: what earlier attempts began to save and never committed.
"""
