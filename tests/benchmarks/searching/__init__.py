"""Searches with a sampler."""
