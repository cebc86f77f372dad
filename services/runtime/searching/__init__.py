"""Searches with a sampler: which trial comes next, and what a trial came to.

In: histories of searches from the log, values from the metric service. Out: `TrialSuggested`, `ObjectiveReported`,
`SearchEnded`.

- `controller`: start here; for each search it does what `policies.search` says, again and again.
- `values`: the values of a trial, once everything that was sent is stored.
- `earlier`: what trials of other runtimes came to, for a search that begins with that.
- `judging`: what comes of it that a trial has reached a rung. `population`: of a population, who takes the place.
- `importances`: what follows from which parameter, for whoever looks at a search. `parameters`: how it is computed.
- `sampler`: the process that chooses, as this service speaks to it. `process`: its other end.
- `study`: a sampler of Optuna, made again from a history by asking and telling in the same order.
"""
