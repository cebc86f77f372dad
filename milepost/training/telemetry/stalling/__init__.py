"""What keeps a loop from going on, seen from the thread beside it.

In: the threads of this process, and the state of its process groups. Out: `StacksRecorded`, and what a heartbeat tells.

- `watch`: sees that no step is done, and records where the loop is, also when somebody asks.
- `stacks`: the calls of all threads, and what the loop waits for by them. Start here for another kind of place.
- `waiting`: how much of its time a rank waits for the others, while all is well.
"""
