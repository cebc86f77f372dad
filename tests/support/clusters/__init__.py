"""Clusters of others for tests: real ones, in a folder and on ports of their own."""
