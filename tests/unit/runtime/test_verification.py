"""A read model that says something else than the log is found, whichever single field was altered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message

from milepost.api.audit.v1.audit_service_pb2 import Finding
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.eventlog import NewEvent, attempt_subject, chain_of, codec, control_subject, runtime_subject
from milepost.eventlog.memory import MemoryLog
from milepost.ids import new_event_id
from services.runtime.audit.verification import VOLATILE, compare_models, compare_runtimes
from services.runtime.readmodel.lazy_index import LazyIndex
from services.runtime.readmodel.view import Reference, RuntimeView, TrialView
from services.runtime.readmodel.views import Views

ID = "rt-1"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def run() -> tuple[MemoryLog, Views]:
    """A run that has begun and has a snapshot, and the view of it."""
    log = MemoryLog()
    control, own = control_subject(ID, 1), attempt_subject(ID, 1, 1)
    story: list[tuple[str, Message]] = [
        (runtime_subject(ID), runtime_facts.RuntimeRequested(
            runtime_id=ID, configuration=RuntimeConfiguration(name="x"), configuration_text="name: x", trial_count=1)),
        (control, facts.TrialCreated(runtime_id=ID, trial=1, parameters={"lr": "0.1"})),
        (runtime_subject(ID), runtime_facts.ResourcesAllocated(host="a")),
        (control, facts.AttemptLaunched(attempt=1)),
        (own, facts.AttemptStarted(attempt=1)),
        (runtime_subject(ID), runtime_facts.RuntimeStarted()),
        (own, facts.SnapshotStarted(attempt=1, snapshot_id="step-000000000005-a1", step=5)),
        (own, facts.SnapshotCommitted(attempt=1, snapshot_id="step-000000000005-a1", step=5, uri="file:/x")),
    ]  # fmt: skip
    for subject, payload in story:
        kind, body = codec.encode(payload)
        event = NewEvent(subject, kind, body, new_event_id(), NOW, "/tests", "ada")
        await log.append([event], [await log.head(chain_of(subject))])
    views = Views()
    async for recorded in log.read():
        views.apply(recorded)
    return log, views


Alter = Callable[[Any], Any]
_OTHER: dict[type, Alter] = {
    str: lambda value: value + "!",
    int: lambda value: value + 1,
    bool: lambda value: not value,
    list: lambda value: [*value, 99],
    frozenset: lambda value: value | {99},
    type(None): lambda value: Reference(1, "an-id", NOW, "eve"),
}


def altered(value: Any) -> Any:
    """Something of the same type that differs in one place."""
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    if isinstance(value, Message):
        other = type(value)()
        other.CopyFrom(value)
        name = next(f.name for f in value.DESCRIPTOR.fields if f.cpp_type == f.CPPTYPE_STRING and not f.is_repeated)
        setattr(other, name, getattr(value, name) + "!")
        return other
    if isinstance(value, dict):
        key = next(iter(value), "key")
        return {**value, key: altered(value[key]) if value else "value"}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if type(getattr(value, field.name)) in (str, int, bool):
                return dataclasses.replace(value, **{field.name: altered(getattr(value, field.name))})
    return _OTHER[type(value)](value)


async def test_views_that_were_folded_are_equal() -> None:
    log, views = await run()
    assert await compare_runtimes(log, views, "") == []


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(RuntimeView) if field.name != "trials"])
async def test_one_altered_field_of_a_runtime_is_found(field: str) -> None:
    log, views = await run()
    view = views.runtimes[ID]
    # Times of a script's own are not known of this one.
    setattr(view, field, NOW if field.startswith("own_") else altered(getattr(view, field)))
    (finding,) = await compare_runtimes(log, views, "")
    assert (finding.kind, finding.subject) == ("read_model", f"events.{ID}.runtime")
    assert "and the log says" in finding.message


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TrialView)])
async def test_one_altered_field_of_a_trial_is_found(field: str) -> None:
    log, views = await run()
    view = views.runtimes[ID].trials[1]
    setattr(view, field, altered(getattr(view, field)))
    (finding,) = await compare_runtimes(log, views, ID)
    assert finding.kind == "read_model"


async def test_a_runtime_that_is_missing_or_made_up_is_found() -> None:
    log, views = await run()
    made_up = dataclasses.replace(views.runtimes[ID], runtime_id="rt-2")
    views.runtimes = LazyIndex()
    views.runtimes.add(made_up)
    findings = await compare_runtimes(log, views, "")
    assert [finding.subject for finding in findings] == ["events.rt-1.runtime", "events.rt-2.runtime"]


# The trial service


class AnsweringClients:
    """Answers for the trial service: what its live model says, and what it says when it folds the streams anew."""

    def __init__(self, live: trial_api.Trial, again: trial_api.Trial) -> None:
        self.answers = {False: live, True: again}

    async def trials(
        self, runtime_id: str, as_of: AsOf | None = None, from_log: bool = False
    ) -> tuple[list[trial_api.Trial], AsOf]:
        assert from_log == (as_of is not None), "the second time it is asked for the moment of the first"
        return [self.answers[from_log]], AsOf(events_sequence=8, telemetry_sequence=3)

    async def trials_and_oddities(self, runtime_id: str) -> tuple[list[trial_api.Trial], AsOf, list[str]]:
        return *await self.trials(runtime_id), []


def told() -> trial_api.Trial:
    """A trial of which every field says something."""
    trial = trial_api.Trial()
    for field in trial.DESCRIPTOR.fields:
        value = getattr(trial, field.name)
        if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
            value["a name"] = "said" if isinstance(value["another"], str) else 1
        elif field.is_repeated:
            value.add() if field.message_type is not None else value.append("said")
        elif field.message_type is not None:
            value.SetInParent()
        else:
            setattr(trial, field.name, "said" if isinstance(value, str) else type(value)(1))
    trial.status = trial_api.TRIAL_STATUS_WAITING
    return trial


async def models_differ(live: trial_api.Trial) -> list[Finding]:
    log, views = await run()
    sources = SimpleNamespace(event_log=log, views=views, clients=AnsweringClients(live, told()))
    return await compare_models(sources, ID)  # type: ignore[arg-type]


async def test_trials_that_are_told_as_the_streams_say_are_equal() -> None:
    assert await models_differ(told()) == []


@pytest.mark.parametrize(
    "field", [f.name for f in trial_api.Trial.DESCRIPTOR.fields if f.name not in VOLATILE - {"elapsed"}]
)
async def test_one_altered_field_of_the_trial_service_is_found(field: str) -> None:
    altered = told()
    altered.ClearField(field)  # type: ignore[arg-type]
    (finding,) = await models_differ(altered)
    assert (finding.kind, finding.subject) == ("read_model", f"events.{ID}.trial.*")
