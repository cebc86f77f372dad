"""Values on their way out of the loop.

In: rows from `loop.steps`. Out: batches with their headers for `spooling`, beats and reports for the driver.

- `buffer`: the few microseconds in the caller; start here. `rows`: where else they may go.
- `batches`: rows as columns and messages, `means` over ranks.
- `background`: the one thread beside the loop; `addresses` and `channel`: where it sends to.
- `pace`, `progress`: how fast it goes, said now and then. `said_once`: what the script is told.
- `alerts`: what is wrong with values. `system_metrics`: what the process uses of its machine.
- `stalling/`: where the loop is when it stands still.
- `marker`: the last step, in memory that outlives a `kill -9`.
"""
