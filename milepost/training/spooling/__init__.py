"""What waits on disk until it is known to be stored.

In: batches of values and lines, events. Out: messages on NATS; files that a later process can send.

- `spool`: one SQLite file a sender; `owner`: the lock on it; `salvage`: what is left of a damaged one.
- `sender`: sends and lets go. `recovery`: sends what earlier attempts could not.
- `journal`: events of an attempt, through the same decider as the services'.
- `log_batches`, `lines`: log lines. `late`: what comes after the end of a run.
"""
