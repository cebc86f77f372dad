"""Faults while a run goes on from a snapshot of another one."""
