"""Telling somebody of a firing: once at least, with one id, whatever crashes in between.

In come facts of the log, in its order; out go requests to destinations that the operator has listed, and the facts
`NotificationDelivered` and `NotificationFailed`.

- `outbox` is what is still to be told: a fold, so that a restart goes on where the log stands.
- `dispatcher` tells it: one task for each destination, tried again for a day.
- `destinations` reads the operator's file; `messages` writes what is said; `transports` carries it.
"""
