"""The live stream of a page: what goes on in the services, as one stream of server-sent events.

In: topics, with the positions from which a client wants them. Out: an HTTP response that does not end.

- `subscriptions`: which RPC a topic is, and the token that names its position.
- `sharing`: one stream of a service for all who look at the same.
- `feed`: the topics of one client, joined; one that does not read is cut off.
"""
