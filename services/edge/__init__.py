"""What those services share that speak for callers from outside: the gateway, and the MLflow service.

In: a request of HTTP. Out: calls to the other services in the name of who sent it, and what they refuse as a problem.

- `calls`: any RPC by its name, on behalf of the request being handled; start here. `contract`: which there are, and which
  process answers. `spread`: over as many connections as it takes.
- `problems`: one form of every refusal. `bodies`: read whole, within limits.
"""
