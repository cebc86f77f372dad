"""Every runtime as the log says it is.

In: recorded events. Out: messages of the contract.

- `views`: the fold; start here. `facts`: what each event does. `view`: what is kept of a runtime and of a trial.
- `lazy_index`: those at rest stay written until asked for. `checkpointing`: restarts;
  `pieces`: large views, encoded in parts.
- `queries`, `listing`, `events`: what can be asked, as one, as lists, as history. `causes`: what is behind
  an event. `family`: the tree of branches that a runtime is part of.
- `queue`: who waits for resources. `messages`: from views to messages.
"""
