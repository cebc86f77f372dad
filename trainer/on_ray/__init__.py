"""A worker group on Ray Train.

- `ray_group`: as the driver sees it; start here. `ray_host`: the process that drives Ray; `announcer` speaks for it.
- `lean_trainer`, `rendezvous`, `callbacks`: Ray Train with fewer helper processes, and what its controller does as events.
"""
