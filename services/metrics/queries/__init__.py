"""What can be asked of points and lines.

- `series`, `buckets`, `best`: curves, thinned so that a spike stays visible. `names`: of resources. `exports`, `rows`: all.
- `cut_ends`: what of curves has to be read point by point, kept.
- `log_queries`: lines by word, level and place.
- `completeness`, `determinism`: is all there, and did steps that ran twice give the same.
"""
