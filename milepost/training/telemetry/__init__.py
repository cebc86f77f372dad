"""Values on their way out of the loop.

In: rows from `loop.trial`. Out: batches with their headers for `spooling`, beats and reports for the driver.

- `buffer`: the few microseconds in the caller; start here. `rows`: where else they may go.
- `batches`: rows as columns and messages, `means` over ranks.
- `background`: the one thread beside the loop. `pace`, `progress`: how fast it goes, said now and then.
- `alerts`: what is wrong with values. `system_metrics`: what the process uses of its machine.
- `marker`: the last step, in memory that outlives a `kill -9`.
"""
