"""Milepost in other people's training libraries. Each module imports its library; importing this imports none.

- `transformers`, `lightning`, `accelerate`: their callbacks, loggers and trackers. `tensorboard`: event files, both ways.
- `run`: the trial that an integration records into. `experiment`: what a Lightning module finds as its logger's.
- `names`: how others call their series. `steered`: what people may change of a framework's training.
"""
