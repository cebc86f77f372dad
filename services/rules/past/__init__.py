"""Rules tried on the past: in come a rule and which runs, out goes what it would have found in each.

- `trying` plays stored runs through the fold of live ones, and counts.
- `stored` asks the other services which runs there are and what they logged; `rows` makes messages of rows again.
"""
