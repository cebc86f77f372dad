"""What a Slurm does to its jobs, and what becomes of a runtime service that is killed meanwhile."""
