"""The past: any moment of it, proof that it is whole, and copies that prove themselves.

- `service`: AuditService; start here. `verification`: the whole log, and what services answer, checked.
- `bundles`: one runtime as a file. `imported`: such files of other installations, shown.
- `service_clients`: the other services, asked.
"""
