"""What may happen, decided by pure functions: no clock, no random, no I/O.

In: facts of the log, and commands. Out: states, and the facts that a command brings about. Each aggregate has the same parts:
states and `initial`, `evolve` with its table, commands, `decide` with its table. `decider` has what they share.

- `trial/`, `runtime/`: the aggregates of a run. `steering` is part of the state of a trial, `search` of that of a runtime.
- `pruning`: which trials of a search are not worth to go on. `population`: who takes their places, with whose weights.
- `stalls`: what a training that stands still waits for, from what its ranks recorded.
- `rules`, `firings`: which rules there are, and what they found in a runtime.
- `sentences/`: what each fact says to people. `times`: when something happened, whatever the clock of its writer says.
"""
