"""Runs that a program of one's own begins, without a driver of ours.

In: `milepost.init(...)`, or a command for `milepost run`. Out: the same events, batches and snapshots that a driven run has.

- `external`: `init` and `finish`; start here. `module_api` has the functions `milepost.log` and others.
- `opening`, `external_run`: under which id and in which folder a run is opened, and the run until its end.
- `attempt`: its folder, its events, and how its end is recorded.
- `host`: what runs the trial of a script.
- `beginning`, `resume`: is the run there already, and may this process go on with it.
- `configured`: the configuration that follows from what the script says.
- `group`, `silent_rank`: several processes that train together, of which one records.
- `signals`: those that end the process end the run.
- `command`, `command_name`, `tee`: any command as a run, and what it prints.
- `syncing`: sends what scripts have left on this machine.
"""
