"""Training recipes: complete entrypoints that run as they are and are meant to be copied."""
