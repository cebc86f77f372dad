"""Rules over what happened: a pure fold of events, points and lines, the same however they are cut and whoever folds them.

In come messages in the order of the log's server; out come occurrences, each with an id that follows from what happened.

- `inputs` is what it takes in; `states` what it keeps, all of which a checkpoint has.
- `watching` is one rule over one series: onset, hold, firing, end. `occurrences` writes down what happened.
- `compiling` makes rules ready, `own` those that a run brings with it; `fold` applies messages to runs, by
  `points` and `happenings`.
"""
