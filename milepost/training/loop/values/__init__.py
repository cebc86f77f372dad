"""Values that are not simply logged.

In: what a loop hands over besides the numbers of one whole step. Out: rows of steps.

- `step_values`: values of a step that has ended already, is under way, or is named; start here.
- `averages`: means over micro-batches and processes. `optimizer_watch`: what an optimizer tells by itself.
- `tokens`: tokens that are read, and MFU. `peaks`: how fast devices are at best.
"""
