"""Bodies of requests are read whole, within limits of size and time; between services they go in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
from starlette.requests import Request

from services.edge.problems import refusal

BODY_SECONDS = 30.0
# A batch of an MLflow client may have a hundred parameters of 6,000 characters and a hundred tags of 8,000.
MAX_PROGRAM_BODY_BYTES = 8 << 20
# Of a body, in one message; servers take no more than 1 MiB.
PIECE_BYTES = 512 << 10


async def read_body(request: Request, limit: int) -> bytes:
    """Read a whole body.

    Raises:
        Problem: it is larger than the limit, or does not come in time.
    """
    content = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limit:
                    text = f"the body must not be larger than {limit} bytes"
                    raise refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text, "BODY_TOO_LARGE", 413)
    except TimeoutError as error:
        text = f"the body did not come within {BODY_SECONDS:g} s"
        raise refusal(grpc.StatusCode.DEADLINE_EXCEEDED, text, "BODY_TOO_SLOW", 408) from error
    return content


def pieces_of(content: bytes) -> Iterator[bytes]:
    """Cut content into pieces that go into one message each; nothing has none."""
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]
