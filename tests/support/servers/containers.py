"""Real servers in containers, where a daemon of Docker answers and their images are on this machine.

Nothing is fetched, unless MILEPOST_PULL_IMAGES is set: a test must not wait for a network. NATS needs no image of its own:
one is built from the nats-server binary of this installation.
"""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import suppress
from functools import cache
from typing import Any

from milepost.eventlog.nats.server import nats_server_binary

CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.9"
NATS_IMAGE = "milepost-test-nats:local"


@cache
def daemon() -> tuple[Any, str]:
    """Return a client of the daemon, and why there is none."""
    try:
        import docker
    except ImportError:
        return None, "the package `docker` is not installed"
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except docker.errors.DockerException as error:
        return None, f"no daemon of Docker answers: {str(error)[:120]}"
    return client, ""


def why_not(image: str) -> str:
    """Say why an image cannot be used. Empty: it can."""
    client, reason = daemon()
    if client is None:
        return reason
    import docker

    with suppress(docker.errors.ImageNotFound):
        client.images.get(image)
        return ""
    if not os.environ.get("MILEPOST_PULL_IMAGES"):
        return f"the image {image} is not on this machine; set MILEPOST_PULL_IMAGES=1 to fetch it"
    try:
        client.images.pull(image)
    except docker.errors.APIError as error:
        return f"the image {image} cannot be fetched: {str(error)[:120]}"
    return ""


def build_nats_image() -> str:
    """Build an image that holds the nats-server binary and nothing else. Returns its name."""
    client, reason = daemon()
    assert client is not None, reason
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(nats_server_binary().resolve(), "nats-server")
        dockerfile = b'FROM scratch\nCOPY nats-server /nats-server\nENTRYPOINT ["/nats-server"]\n'
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        archive.addfile(entry, io.BytesIO(dockerfile))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=NATS_IMAGE, rm=True)
    return NATS_IMAGE
