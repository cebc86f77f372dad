"""RPCs that change something.

In: requests. Out: events through `decisions`, answers from the read model.

- `service`: RuntimeService; start here. `launch_service`: LaunchService, for jobs and scripts.
- `preflight`, `entrypoints`: what can be known to be wrong before a runtime is accepted.
- `requests`: a repeated request gets the same answer. `ownership`: who may write to a run.
- `previews`: what a stop would lose. `catching_up`: commands wait for a replica that is behind.
"""
