"""Requests made from /openapi.json, right ones and wrong ones, get what it says. More of them: `make test-faults`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from milepost.protojson import message_class_of
from services.edge.contract import SERVICES
from tests.support.servers.gateway import Answers, running_gateway

# Live streams never end, which is not what the tool expects. The guard against forged requests comes before routing.
# Bounds and configurations are judged by the services, and those here take everything.
NOT_HERE = "unsupported_method,negative_data_rejection"
ARGUMENTS = ("--exclude-path-regex", "stream$", "--exclude-checks", NOT_HERE, "--no-color")


def default_answers() -> Answers:
    """Services that answer every call with an empty message."""
    answers = Answers()
    for name, service in SERVICES.items():
        for method in service.methods:
            make = _stream if method.server_streaming else _unary
            answers.answers[f"{name}.{method.name}"] = make(message_class_of(method.output_type))
    return answers


def _unary(message_class: Any) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        return message_class()

    return answer


def _stream(message_class: Any) -> Any:
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        yield message_class()

    return answer


async def fuzz(directory: Path, *arguments: str) -> str:
    """Run schemathesis against a gateway before empty services. Returns its report if it found something."""
    async with default_answers().serving() as address:
        async with running_gateway(dict.fromkeys(("runtime", "trials", "metrics", "rules"), address)) as base:
            process = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).parent / "schemathesis"),
                "run",
                f"{base}/openapi.json",
                *ARGUMENTS,
                *arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=directory,
            )
            output, _ = await process.communicate()
    return "" if process.returncode == 0 else output.decode()


async def test_generated_requests_get_what_the_document_says(tmp_path: Path) -> None:
    report = await fuzz(tmp_path, "--phases", "fuzzing", "--max-examples", "4", "--seed", "1")
    assert not report, report[-8_000:]


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_many_generated_requests_get_what_the_document_says(tmp_path: Path) -> None:
    report = await fuzz(tmp_path, "--phases", "coverage,fuzzing", "--max-examples", "100")
    assert not report, report[-8_000:]
