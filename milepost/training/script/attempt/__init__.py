"""One attempt of a script, as the log and the data directory have it.

In: what the process says and how it ends. Out: its events in the log, or in the spool until a server answers.

- `place`: its folder, and who it is to the broker. `registration`: makes its runtime known to the runtime service.
- `channel`: appends its events; start here. `verdict`: what others decided about it meanwhile.
- `outcome`: what an exit status means for the run. `last_word`: says it for a process that cannot any more.
"""
