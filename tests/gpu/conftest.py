"""The servers of the integration tests serve these too."""

from tests.integration.conftest import connection, shared_nats

__all__ = ["connection", "shared_nats"]
