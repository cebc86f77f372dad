"""What can be asked of points and lines.

- `series`, `buckets`, `best`: curves, thinned so that a spike stays visible. `names`: of resources. `exports`, `rows`: all.
- `kept_parts`: what branches have of their ancestors, and ends that have to be read point by point, kept.
- `samples`, `histograms`: rows beside values.
- `log_queries`: lines by word, level and place.
- `completeness`, `determinism`: is all there, and did steps that ran twice give the same.
"""
