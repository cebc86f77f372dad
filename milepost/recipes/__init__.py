"""Training recipes: complete entrypoints that run as they are and are meant to be copied.

`language_model` trains a small one from nothing; `fine_tuning` goes on with one that is there.
"""
