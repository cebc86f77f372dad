"""The process manager: from a request to the end of a runtime, whatever crashes in between.

In: what the read model knows, beats, ends of processes. Out: launches, events.

- `scheduler`: start here; it asks `policies.control` and does what that says.
- `placing`: hands out what is free. `causes`: because of what it does something.
- `launching`: what an attempt is told. `continuing`: how a script goes on with a run.
- `liveness`: listens to beats. `steps`: how far an attempt is.
- `recovery`: what a dead driver left. `purge`: what a deleted runtime left.
"""
