"""A stack on this machine: `stack` (`up`, `demo`), `doctor`, `backup`.

- `supervisor`, `leash`: its processes, which end with it. `datadir`: one owner. `ports`. `own_broker`: a server of the
log where none runs. `checks`, `log_checks`: does it serve.
"""
