"""Benchmarks of points on their way, through all services, as they come."""
