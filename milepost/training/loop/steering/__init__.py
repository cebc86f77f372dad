"""Values that may be changed while training runs.

In: what the loop declares, what earlier attempts changed, and instructions to change. Out: values, and facts about them.

- `steering`: when a value becomes another one; start here. `steerable`: one value, as the loop holds it.
"""
