"""What keeps user code to itself: limits of its process, and no secret of its environment in what it says."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
# Set for a driver that must not outlive the process with this id, which started it.
JOB_PROCESS_VARIABLE = "MILEPOST_JOB_PROCESS"
# When memory runs out, training goes before the services that keep its record.
OOM_SCORE = 500
# Shorter values would be found everywhere.
MIN_SECRET = 6
_TEXT_FIELDS = ("detail", "reason", "message")

Redact = Callable[[str], str]


def confine() -> None:
    """Limit this process and all it will start: no core dumps, no more rights than now, first to go without memory."""
    # A core dump would hold the secrets of the environment.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    # Programs with the set-user-id bit give nothing to user code.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def die_with_job(parent: str) -> None:
    """Have the kernel kill this process when the job that started it is gone. Empty: there is none."""
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the job is gone")


def redactor(configuration: RuntimeConfiguration, environment: Mapping[str, str]) -> Redact:
    """Return what replaces the values of secrets in a text by their names."""
    values = {
        environment[name]: f"[secret {entry.secret}]"
        for name, entry in configuration.environment.items()
        if entry.WhichOneof("kind") == "secret" and len(environment.get(name, "")) >= MIN_SECRET
    }
    # As it stands in JSON: parameters are JSON scalars.
    values |= {json.dumps(value)[1:-1]: shown for value, shown in values.items()}
    # A value may be part of another one.
    ordered = sorted(values.items(), key=lambda pair: -len(pair[0]))

    def redact(text: str) -> str:
        for value, shown in ordered:
            if value in text:
                text = text.replace(value, shown)
        return text

    return redact


def redact_payload(payload: Message, redact: Redact) -> None:
    """Take the values of secrets out of the words of a fact, and out of what it declares."""
    for name in _TEXT_FIELDS:
        field = payload.DESCRIPTOR.fields_by_name.get(name)
        if field is not None and field.type == field.TYPE_STRING:
            setattr(payload, name, redact(getattr(payload, name)))
    for field, value in payload.ListFields():
        entry = field.message_type
        if (
            entry is not None
            and entry.GetOptions().map_entry
            and entry.fields_by_name["value"].type == field.TYPE_STRING
        ):
            for key, text in list(value.items()):
                value[key] = redact(text)
