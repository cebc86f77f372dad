"""The rule service: rules as facts, evaluated over what runs log, and what they found as facts.

In come commands on rules, events and points of the two streams; out go the chains `events.platform.rules` and
`events.<runtime>.rules`.

- `application` puts the parts together; `service` is what can be asked; what a rule may say is in `milepost/rules/`.
- `evaluator` reads the streams, `decoding` makes messages of them, `playing` plays them in their order through the fold in
  `evaluation/`, whose parts for single series are in `detectors/`; `checkpointing` writes it down.
- `past/` tries rules on stored runs; `curves` reads the baseline of a rule.
- `ledger` is the one way by which this service appends, and what it knows of rules and firings: folds of their chains.
- `actions/` and `deliveries/` do what follows a firing, and try it again, each in its own `lanes`.
- `notifications` is what can be asked of those. `selection` tells which runs a rule watches.
"""
