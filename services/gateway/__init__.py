"""The front: HTTP for pages and programs, live streams, the page itself. It keeps nothing.

In: requests of browsers and HTTP clients. Out: calls of the other services, and their answers as JSON.

- `application`: builds all of it, starts and ends it; `__main__` reads its settings.
- `app`: what answers a request; `routes`: the table of addresses and RPCs, of which `openapi`, `bounds` and
  `rule_bounds` tell clients.
- `middleware`, `authentication`, `connections`: who may come in, and how far; `problems`: what a refusal says.
- `live/`: streams of server-sent events.
- `mlflow`: the seam to the MLflow service; `static_files`, `compression`: the page's files.
"""
