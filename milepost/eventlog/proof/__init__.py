"""Proof that the log is whole. `milepost.eventlog.verify` is the program that checks all of it.

- `chain`: links, versions and the digest over all. `chain_service`: chains on request, for attempts.
- `anchor`, `witness`: where the log stood, written outside of it. `examination`: the log held against them.
- `log_guard`: writes them while a service runs, and stops decisions on a log that went back. `acceptance`: a person goes on.
"""
