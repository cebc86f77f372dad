"""Runs that a program of one's own begins, without a driver of ours.

In: `milepost.init(...)`, or a command for `milepost run`. Out: the same events, batches and snapshots that a driven run has.

- `external`: `init`, `finish`, and what a script's run consists of; `module_api` has the functions `milepost.log` and others.
- `host`: what runs the trial of a script.
- `beginning`, `resume`, `verdict`: is the run there already, may this process go on with it, what was decided meanwhile.
- `configured`: the configuration that follows from what the script says.
- `group`, `silent_rank`: several processes that train together, of which one records.
- `signals`, `last_word`: how the end of the process becomes the end of the run.
- `command`, `command_name`, `tee`: any command as a run, and what it prints.
- `syncing`: sends what scripts have left on this machine.
"""
