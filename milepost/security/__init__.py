"""`tokens`, `transport` (TLS and the token that is shown), `signing` of bundles, `redaction` of secrets, `egress` (what may be
connected to), `terminal` (texts of others, made harmless to print).
"""
