"""Who is there, and what may they do.

In: a call and its token. Out: a caller, or a refusal; a line in the access log.

- `guard`: the interceptor that every call passes; start here. `authentication`: who. `authorization`: the table of what.
- `access_service`: AccessService. `access_log`: who asked what. `channels`: how services call each other.
- `exposure`: what is open to others must ask for tokens.
"""
