"""What services show each other."""

from __future__ import annotations

from pathlib import Path

from milepost.security.tokens import ServiceToken, TokenError


def service_metadata(keys_dir: Path, service: str) -> tuple[tuple[str, str], ...]:
    """Make the metadata by which a service is known to the others.

    Raises:
        SystemExit: the token of the services cannot be read or made.
    """
    try:
        token = ServiceToken(keys_dir).text
    except TokenError as error:
        raise SystemExit(str(error)) from error
    return (("authorization", f"Bearer {token}"), ("mp-actor", f"service:{service}"))
