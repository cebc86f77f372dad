"""Searches from a notebook: start one, follow it, read what came of it.

    from milepost import search

    found = search.start("search.yaml")
    for row in found.follow():
        print(row["trial"], row["eval/loss"])
    found.best()

In: a configuration, or the id of a runtime. Out: dictionaries, or a frame of pandas where that is installed. Nothing is
imported that the caller does not use: not gRPC before a client is needed, and pandas only by `frame`.

- `following`: a search as one object.
- `simulation`: another pruner played over trials that have run.
"""

from __future__ import annotations

from milepost.search.following import Search, attach, start

__all__ = ["Search", "attach", "start"]
