"""Prove that the log is whole, and that what the services answer is what the log says."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from milepost import files
from milepost.api.audit.v1 import audit_service_pb2 as api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.errors import Unavailable
from milepost.eventlog import SUBJECTS, EventLog
from milepost.eventlog.proof.chain import as_ranges, ranges_in_words, ranges_of_each
from milepost.eventlog.telemetry import Telemetry
from milepost.protojson import to_json
from services.runtime.audit.service_clients import ServiceClients
from services.runtime.readmodel.checkpointing import CODEC
from services.runtime.readmodel.events import FOLDED_AT_ONCE
from services.runtime.readmodel.messages import runtime_message
from services.runtime.readmodel.view import RuntimeView, TrialView
from services.runtime.readmodel.views import Views

# Differences that are named; the rest is counted.
MAX_FINDINGS = 200
# What depends on the moment of the question, not on the log; elapsed time only while it passes.
VOLATILE = frozenset({"elapsed", "estimate", "throughput", "hints", "events_sequence", "telemetry_sequence"})
# Tries to see both sides of a comparison at the same position while the log grows.
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the checks read from."""

    nats_url: str
    anchors: Path
    credentials: Path | None
    event_log: EventLog
    # Identity of the event log: its creation time.
    stream_created: int
    telemetry: Telemetry
    views: Views
    clients: ServiceClients
    data_dir: Path
    # Bundles of the data directory that are not shown, and why, by the id of their runtime.
    refused_imports: Mapping[str, str] = field(default_factory=dict)


async def verify(sources: Sources, runtime_id: str, include_read_models: bool) -> AsyncIterator[api.VerifyLogResponse]:
    """Check the log in a process of its own, then the read models. Gives progress, and the verdict last.

    Raises:
        Unavailable: the log or a service does not answer.
    """
    verdict = api.VerifyLogResponse()
    async for verdict in _verify_log(sources, runtime_id):
        if not verdict.finished:
            yield verdict
    verdict.findings.extend(_ignored(sources.views, runtime_id))
    verdict.findings.extend(await _damaged(sources, runtime_id))
    if include_read_models:
        findings = [*await compare_models(sources, runtime_id), *await _compare_stored(sources.clients, runtime_id)]
        verdict.findings.extend(findings)
        wrong = [finding for finding in findings if not finding.tolerated]
        verdict.valid = verdict.valid and not wrong
        verdict.message += "; read models and ClickHouse equal" if not wrong else f"; {wrong[0].message}"
    yield verdict


async def _damaged(sources: Sources, runtime_id: str) -> list[api.Finding]:
    """Name the files of the data directory that are damaged: the log does not depend on them."""
    aside = await asyncio.to_thread(files.damaged_below, sources.data_dir)
    said = [f"{path} was set aside: it was damaged" for path in aside]
    said += [f"an import is not shown: {why}" for why in sources.refused_imports.values()]
    about = [text for text in said if not runtime_id or f"/{runtime_id}" in text]
    return [api.Finding(kind="damaged_file", message=text, tolerated=True) for text in about[:MAX_FINDINGS]]


def _ignored(views: Views, runtime_id: str) -> list[api.Finding]:
    """Name the events that had no right to be where they are, and what this service could not take in."""
    found = [
        api.Finding(kind="set_aside", message=text, tolerated=True) for text in views.set_aside.sentences(runtime_id)
    ]
    view = views.runtimes.get(runtime_id) if runtime_id else None
    chains = [(view.head.chain, view.ignored)] if view is not None else []
    chains += [(one.head.chain, one.ignored) for one in view.trials.values()] if view is not None else []
    # Of all runtimes without where: most of them are at rest, and need not be opened for it.
    most = ranges_of_each(len(chains))
    for subject, ignored in chains if runtime_id else [("", sorted(views.ignored))]:
        if ignored and len(found) < MAX_FINDINGS:
            words = f"events that had no right to be there changed nothing: {ranges_in_words(as_ranges(ignored), most)}"
            found.append(
                api.Finding(kind="ignored", sequence=ignored[0], subject=subject, message=words, tolerated=True)
            )
    return found


async def compare_models(sources: Sources, runtime_id: str) -> list[api.Finding]:
    """Compare the read models of runtimes and trials with what the log says."""
    return [
        *await compare_runtimes(sources.event_log, sources.views, runtime_id),
        *await _compare_trials(sources, runtime_id),
    ]


async def _verify_log(sources: Sources, runtime_id: str) -> AsyncIterator[api.VerifyLogResponse]:
    command = [sys.executable, "-P", "-m", "milepost.eventlog.verify"]
    if sources.anchors.exists():
        command += ["--anchors", str(sources.anchors)]
    if sources.credentials is not None:
        command += ["--credentials", str(sources.credentials)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 24,
        # The address may hold a password, which a command line would show.
        env={**os.environ, "MILEPOST_NATS_URL": sources.nats_url},
    )
    assert process.stdout is not None and process.stderr is not None
    finished = False
    try:
        async for line in process.stdout:
            verdict = _as_message(json.loads(line), runtime_id)
            finished = verdict.finished
            yield verdict
        if not finished:
            said = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
            raise Unavailable(said[-1] if said else "the check of the log ended early", reason="LOG_NOT_VERIFIED")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _as_message(said: dict[str, Any], runtime_id: str) -> api.VerifyLogResponse:
    """What the check printed, reduced to one runtime where only that is asked for."""
    findings = [
        finding
        for finding in said["findings"]
        if not runtime_id or not finding["subject"] or finding["subject"].split(".")[1:2] == [runtime_id]
    ]
    return api.VerifyLogResponse(
        checked_events=said["checked"],
        total_events=said["last_sequence"],
        finished=said["finished"],
        valid=said["finished"] and all(finding["accepted"] or finding["tolerated"] for finding in findings),
        # What is wrong first: of the rest there may be more than is listed.
        findings=[
            api.Finding(**{name: f[name] for name in ("kind", "sequence", "subject", "message", "tolerated")})
            for f in sorted(findings, key=lambda finding: finding["tolerated"])[:MAX_FINDINGS]
        ],
        message=said["message"],
        digest=said["digest"],
    )


async def compare_runtimes(event_log: EventLog, views: Views, runtime_id: str) -> list[api.Finding]:
    """Fold the log anew and compare each runtime with the one that is answered from."""
    rebuilt = Views()
    differing: set[str] = set()
    for _ in range(ROUNDS):
        # The views are ahead of nothing: what they have folded is in the log.
        until = views.sequence
        async for message in event_log.read(rebuilt.sequence, until, (SUBJECTS,)):
            rebuilt.apply(message)
            if message.sequence % FOLDED_AT_ONCE == 0:
                await asyncio.sleep(0)
        rebuilt.sequence = max(rebuilt.sequence, until)
        # No other task runs between here and the end of the comparison.
        if views.sequence != until:
            continue
        names = [runtime_id] if runtime_id else sorted(views.runtimes.keys() | rebuilt.runtimes.keys())
        differing = {name for name in names if _answer(views, name) != _answer(rebuilt, name)}
        break
    return [
        api.Finding(
            kind="read_model",
            subject=f"events.{name}.runtime",
            message=_first_difference(f"runtimes/{name}", _answer(rebuilt, name), _answer(views, name)),
        )
        for name in sorted(differing)[:MAX_FINDINGS]
    ]


def _answer(views: Views, name: str) -> dict[str, Any]:
    view = views.runtimes.get(name)
    if view is None:
        return {}
    answer = to_json(runtime_message(view, with_text=True))
    answer["kept"] = _kept(view, "trials") | {
        f"trials[{number}].{name}": text
        for number, one in sorted(view.trials.items())
        for name, text in _kept(one).items()
    }
    return answer


def _kept(view: RuntimeView | TrialView, *apart: str) -> dict[str, str]:
    """Everything a view holds, by field, as it goes into a checkpoint: also what no answer shows."""
    return {
        field.name: CODEC.encode(getattr(view, field.name)).decode()
        for field in fields(view)
        if field.name not in apart
    }


async def _compare_trials(sources: Sources, runtime_id: str) -> list[api.Finding]:
    names = [runtime_id] if runtime_id else sorted(sources.views.runtimes)
    findings: list[api.Finding] = []
    for name in names:
        for _ in range(ROUNDS):
            live, moment, odd = await sources.clients.trials_and_oddities(name)
            again, _ = await sources.clients.trials(name, moment, from_log=True)
            difference = _trials_difference(name, live, again)
            if difference is None:
                break
        if difference is not None and len(findings) < MAX_FINDINGS:
            findings.append(api.Finding(kind="read_model", subject=f"events.{name}.trial.*", message=difference))
        findings += [api.Finding(kind="set_aside", message=text, tolerated=True) for text in odd]
    return findings


def _trials_difference(name: str, live: list[trial_api.Trial], again: list[trial_api.Trial]) -> str | None:
    answered, rebuilt = _stable(live), _stable(again)
    return None if answered == rebuilt else _first_difference(f"trials of {name}", rebuilt, answered)


def _stable(trials: Iterable[trial_api.Trial]) -> dict[str, Any]:
    return {
        str(trial.trial): {field: value for field, value in to_json(trial).items() if field not in _volatile(trial)}
        for trial in trials
    }


def _volatile(trial: trial_api.Trial) -> frozenset[str]:
    return VOLATILE if trial.status == trial_api.TRIAL_STATUS_RUNNING else VOLATILE - {"elapsed"}


async def _compare_stored(clients: ServiceClients, runtime_id: str) -> list[api.Finding]:
    answer = await clients.verify_stored(f"runtimes/{runtime_id}" if runtime_id else "")
    different = [api.Finding(kind="stored_telemetry", message=text) for text in answer.differences[:MAX_FINDINGS]]
    odd = answer.oddities[:MAX_FINDINGS]
    return [*different, *(api.Finding(kind="rejected_telemetry", message=text, tolerated=True) for text in odd)]


def _first_difference(what: str, expected: dict[str, Any], found: dict[str, Any]) -> str:
    changes = changes_between(expected, found)
    if not changes:
        return f"{what} differs from what the log says"
    first = changes[0]
    return f"{what}: {first.path} is {first.after or 'missing'}, and the log says {first.before or 'nothing'}"


def changes_between(before: object, after: object, path: str = "") -> list[api.FieldChange]:
    """List the fields in which two JSON values differ, by path: `trials[1].progress.step`.

    Of lists, the elements that went and those that came, as `trials[1].markers[]`.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        changes = []
        for key in sorted(before.keys() | after.keys()):
            below = f"{path}[{key}]" if key.isdigit() else f"{path}.{key}" if path else key
            changes += changes_between(before.get(key), after.get(key), below)
        return changes
    if before == after:
        return []
    if isinstance(before, list) and isinstance(after, list):
        gone = [api.FieldChange(path=f"{path}[]", before=_text(item)) for item in before if item not in after]
        come = [api.FieldChange(path=f"{path}[]", after=_text(item)) for item in after if item not in before]
        if gone or come:
            return gone + come
    return [api.FieldChange(path=path, before=_text(before), after=_text(after))]


def _text(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)
