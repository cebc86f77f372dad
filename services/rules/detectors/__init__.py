"""What a rule looks for: pure folds over the points of one series, or over the times at which points come.

In come values in the order of their steps; out goes whether the condition holds, with the bound that it follows from. Each
detector says what it keeps and what a point costs; none keeps more than its window. `cut` forgets what came after a step,
when that stretch was abandoned.

- `verdicts` is what they share; `windows` is a trailing window with its median.
- `levels` compares with a bound, `changes` with what came before, `paces` looks at times.
- `choosing` makes the detector of a rule.
"""
