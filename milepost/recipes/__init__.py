"""Training recipes: complete entrypoints that run as they are and are meant to be copied.

- `language_model`: trains a small one from nothing; `language_model_tuning` goes on with the weights of such a run.
- `fine_tuning/`: a causal model from a folder, by a low-rank adapter. `examples/`: what it learns from, as batches.
- `reinforcement`: such a model by rewards, with TRL.
"""
