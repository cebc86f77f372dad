"""Where a loop is in its data, and how to get there again.

In: the loader of a loop. Out: its batches, after a resume from where the run was.

- `feed`: makes the iterators; start here. `stream_shuffles`: what the order of a shuffled stream comes from.
- `tracked`: loaders that count, in place of the loop's own. `sharding`: the part of each batch that is one rank's.
"""
