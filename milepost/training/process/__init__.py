"""The process in which user code runs, where a driver has started it.

In: the folder of an attempt and a socket to the driver. Out: reports and instructions over that socket, and an exit status.

- `worker`: the program; start here. `rank` is the same inside a worker of Ray Train. `host`: what runs its trial.
- `link`, `frames`: the socket to the driver. `streams`, `console`: what a rank prints, on its way there.
- `rendezvous`, `local_mode`, `ray_worker`: what Ray Train and PyTorch find set up.
- `memory`: the limit. `environment`: what the run was made with.
- `process_end`, `process_identity`: how a process ends, and whether one still runs.
"""
