"""What is to be done, decided from facts alone: no clock, no chance, no I/O. `scheduling` carries it out.

- `control`: the next step for a runtime. `retry`: what follows the end of an attempt.
- `search`: the next move of a search with a sampler.
- `placement`: who gets the resources of a host; `sharing`: how searches share what is free.
- `stragglers`: which rank holds up the others. `liveness`: who is alive, seen from heartbeats.
"""
