"""RPCs that change something.

In: requests. Out: events through `decisions`, answers from the read model.

- `service`: RuntimeService, with stops and labels; start here. `base`: what each command needs. `starts`, `resumes`,
  `trial_commands`, `deletions`: the other RPCs. `launch_service`: LaunchService, for jobs and scripts.
- `preflight`, `entrypoints`: what can be known to be wrong before a runtime is accepted.
- `branching`, `roll_backs`: what those two are asked to begin at.
- `request_ids`: a repeated request gets the same answer. `ownership`: who may write to a run.
- `previews`: what a stop would lose. `catching_up`: commands wait for a replica that is behind.
"""
