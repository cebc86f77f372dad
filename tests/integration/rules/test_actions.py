"""What follows a firing is done by the runtime service, in the name of the rule's owner and because of the firing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.api.rule.v1.rule_service_pb2_grpc import RuleServiceStub
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.domain.firings import RecordFiring
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.installation.settings import collect
from milepost.security.tokens import Role, TokenStore
from services.access.channels import service_metadata
from services.access.guard import open_access
from services.rules.application import Application, Options
from services.rules.ledger import Ledger
from tests.integration.runtime.harness import Stack, running, text
from tests.support.faults.rule_actions import check_action_crashes
from tests.support.servers.servers import NatsServer

WAIT = 30.0
LONG = {"parameters": {"steps": 100_000, "rate": 0.5}, "snapshots": {"keep_last": 100}}


class Together:
    """A runtime service, a rule service, and somebody who writes rules."""

    def __init__(self, stack: Stack, rules_stub: Any, log: JetStreamLog, tokens: TokenStore) -> None:
        self.stack, self.rules, self.log, self.tokens = stack, rules_stub, log, tokens
        self._fired = 0

    async def start(self, **changes: Any) -> runtime_api.Runtime:
        return await self.stack.start(**{**LONG, **changes})

    async def rule(self, rule_id: str, *actions: rules.Action, show: tuple[tuple[str, str], ...], **more: Any) -> None:
        threshold = rules.Threshold(series="train/loss", comparison=rules.COMPARISON_ABOVE, value=5.0)
        given = rules.Rule(
            detector=rules.Detector(threshold=threshold), actions=actions, **{"watching_only": False, **more}
        )
        await self.rules.CreateRule(api.CreateRuleRequest(rule_id=rule_id, rule=given), metadata=show, timeout=WAIT)

    async def fire(self, rule_id: str, runtime: runtime_api.Runtime, step: int, **more: Any) -> str:
        """Have the log say that a rule fired in a run. Returns the id of the firing."""
        self._fired += 1
        fired = facts.RuleFired(
            firing_id=f"{self._fired:04x}{runtime.runtime_id[-20:].encode().hex()[:28]}", rule_id=rule_id, revision=1,
            rule_name=rule_id, trial=1, attempt=1, step=step, onset_step=step, severity=rules.SEVERITY_WARNING,
            message="train/loss is 8.1, above 5", momentary=True, **more,
        )  # fmt: skip
        await Ledger(self.log).record(runtime.runtime_id, RecordFiring(fired))
        return fired.firing_id

    async def outcome(self, firing_id: str, runtime: runtime_api.Runtime) -> list[api.FiringAction]:
        """Wait until nothing of a firing is pending. Returns what followed."""
        request = api.ListFiringsRequest(parent="rules/-", runtime=runtime.name)
        async with asyncio.timeout(WAIT):
            while True:
                for firing in (await self.rules.ListFirings(request, timeout=WAIT)).firings:
                    pending = any(action.state == api.ACTION_STATE_PENDING for action in firing.actions)
                    if firing.fired.firing_id == firing_id and not pending:
                        return list(firing.actions)
                await asyncio.sleep(0.02)

    async def events(self, runtime: runtime_api.Runtime, kind: str) -> list[events_api.RecordedEvent]:
        return [event for event in await self.stack.events(runtime.name) if event.type.split(".")[2] == kind]


@asynccontextmanager
async def working_together(nats: NatsServer, folder: Path) -> AsyncIterator[Together]:
    """Both services, with tokens of services and of people; whoever comes over loopback needs none."""
    given = {"data_dir": str(folder / "data"), "runtime_listen": "127.0.0.1:0", "rules_listen": "127.0.0.1:0"}
    settings = collect(given, {})

    def guarded(service: str) -> Callable[[Any], Any]:
        return lambda observer: open_access(settings, service, observer)

    async with AsyncExitStack() as parts:
        stack = await parts.enter_async_context(running(nats, folder / "data", open_access=guarded("runtime")))
        options = Options(
            "127.0.0.1:0", folder / "rules", nats.url, f"127.0.0.1:{stack.application.port}", "127.0.0.1:9",
            own_metadata=service_metadata(settings.keys_dir, "rules"), open_access=guarded("rules"),
        )  # fmt: skip
        application = Application(options)
        await application.start()
        parts.push_async_callback(application.stop)
        channel = await parts.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{application.port}"))
        connection = await parts.enter_async_context(await connect(nats.url, name="test"))
        tokens = TokenStore(settings.tokens_file)
        yield Together(stack, RuleServiceStub(channel), JetStreamLog(connection), tokens)
        await stack.stop_all()


@pytest.fixture
async def together(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Together]:
    async with working_together(nats_server, tmp_path) as together:
        yield together


def shown(together: Together, name: str, role: Role = Role.OPERATOR) -> tuple[tuple[str, str], ...]:
    """What a caller shows who has a token of that name."""
    _, text_ = together.tokens.create(name, role, created_by="test")
    return (("authorization", f"Bearer {text_}"),)


async def test_everything_that_a_rule_does_is_its_owners_and_has_the_firing_as_its_cause(together: Together) -> None:
    ann = shown(together, "ann")
    runtime = await together.start()
    await together.stack.wait_event(runtime.name, "snapshot_committed", 3)
    back = rules.RollBack(parameters={"momentum": "0.9"}, factors={"rate": 0.5}, skip_batches=4)
    await together.rule(
        "diverges", rules.Action(label=rules.Label(set={"spike": "yes"})),
        rules.Action(snapshot=rules.TakeSnapshot()),
        rules.Action(start=rules.Start(configuration_text=text(name="smaller"))),
        rules.Action(roll_back=back), show=ann, selector="name=scripted",
    )  # fmt: skip
    listed = await together.stack.stub.ListSnapshots(runtime_api.ListSnapshotsRequest(parent=runtime.name))
    third = sorted(listed.snapshots, key=lambda one: one.step)[2]
    firing_id = await together.fire("diverges", runtime, third.step)
    actions = await together.outcome(firing_id, runtime)
    assert [(one.kind, one.state, one.owner) for one in actions] == [
        (kind, api.ACTION_STATE_TAKEN, "ann") for kind in ("label", "snapshot", "start", "roll_back")
    ], actions
    (fired,) = await together.events(runtime, "rule_fired")
    for kind in ("labels_changed", "trial_snapshot_requested", "trial_roll_back_requested"):
        (event,) = await together.events(runtime, kind)
        assert (event.actor, event.cause) == ("ann", fired.event_id), kind
    started = (await together.stack.get(actions[2].runtime)).runtime_id
    first = (await together.stack.events(actions[2].runtime))[0]
    assert (first.actor, first.cause, started) == ("ann", fired.event_id, actions[2].runtime.partition("/")[2])
    behind = runtime_api.ListEventsRequest(parent=actions[2].runtime, behind_event_id=first.event_id)
    led = [(e.type.split(".")[2], e.runtime_id) for e in (await together.stack.stub.ListEvents(behind)).events]
    assert led[:2] == [("runtime_requested", started), ("rule_fired", runtime.runtime_id)], (
        "it goes on in the other run"
    )
    await together.stack.wait_event(runtime.name, "attempt_started", 2)
    launched = (await together.events(runtime, "attempt_launched"))[-1]
    assert launched.trial_event.attempt_launched.snapshot_step < third.step
    assert launched.trial_event.attempt_launched.skip_batches == 4
    behind = runtime_api.ListEventsRequest(parent=runtime.name, behind_event_id=launched.event_id)
    story = [e.type.split(".")[2] for e in (await together.stack.stub.ListEvents(behind)).events]
    assert story == [
        "attempt_launched", "trial_resume_requested", "attempt_fenced", "trial_roll_back_requested", "rule_fired",
    ]  # fmt: skip
    # A second rule that finds the same is too late, and does no harm.
    await together.rule("late", rules.Action(roll_back=rules.RollBack()), show=ann)
    (late,) = await together.outcome(await together.fire("late", runtime, third.step), runtime)
    assert (late.state, late.reason) == (api.ACTION_STATE_FAILED, "STEPS_ABANDONED")


async def test_a_rule_that_a_run_brings_acts_in_the_name_of_who_started_it(together: Together) -> None:
    own = {
        "id": "own", "detector": {"threshold": {"series": "train/loss", "comparison": "ABOVE", "value": 5}},
        "watching_only": False, "actions": [{"label": {"set": {"spike": "yes"}}}],
    }  # fmt: skip
    request = runtime_api.StartRuntimeRequest(configuration_text=text(**{**LONG, "rules": [own]}))
    answer = await together.stack.stub.StartRuntime(request, metadata=shown(together, "ida"))
    runtime = answer.runtime
    (done,) = await together.outcome(await together.fire(f"{runtime.runtime_id}.own", runtime, 5), runtime)
    assert (done.state, done.owner) == (api.ACTION_STATE_TAKEN, "ida")
    (event,) = await together.events(runtime, "labels_changed")
    assert event.actor == "ida"
    own["actions"] = [{"start": {"configuration_text": text()}}]
    request.configuration_text = text(**{**LONG, "rules": [own]})
    with pytest.raises(grpc.aio.AioRpcError, match="a run that brings its rules starts no others"):
        await together.stack.stub.StartRuntime(request, metadata=shown(together, "joe"))


async def test_who_has_no_token_any_more_or_too_low_a_role_does_nothing(together: Together) -> None:
    bob = shown(together, "bob")
    runtime = await together.start()
    await together.rule("stops", rules.Action(stop=rules.Stop()), show=bob)
    together.tokens.revoke("bob")
    (refused,) = await together.outcome(await together.fire("stops", runtime, 5), runtime)
    assert (refused.state, refused.reason) == (api.ACTION_STATE_FAILED, "OWNER_UNKNOWN")
    # Another token of that name: it is what counts now.
    together.tokens.create("bob", Role.VIEWER, created_by="test")
    (refused,) = await together.outcome(await together.fire("stops", runtime, 6), runtime)
    assert (refused.state, refused.reason) == (api.ACTION_STATE_FAILED, "ROLE_TOO_LOW")
    assert not await together.events(runtime, "trial_stop_requested")
    together.tokens.revoke("bob")
    together.tokens.create("bob", Role.OPERATOR, created_by="test")
    (taken,) = await together.outcome(await together.fire("stops", runtime, 7), runtime)
    assert taken.state == api.ACTION_STATE_TAKEN
    await together.stack.wait_ended(runtime.name)
    (stop,) = await together.events(runtime, "trial_stop_requested")
    assert stop.trial_event.trial_stop_requested.reason == "rule stops: train/loss is 8.1, above 5"


async def test_a_name_that_is_only_claimed_does_nothing(together: Together) -> None:
    """In whose name it calls a service may say, and nobody else."""
    eve = shown(together, "eve", Role.VIEWER)
    shown(together, "root", Role.ADMIN)
    runtime = await together.start()
    request = runtime_api.StopRuntimeRequest(name=runtime.name)
    claimed = (("mp-on-behalf-of", "root"), ("mp-because-of", "an-event"))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await together.stack.stub.StopRuntime(request, metadata=(*eve, *claimed))
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    label = runtime_api.LabelRuntimeRequest(name=runtime.name, labels={"a": "b"})
    await together.stack.stub.LabelRuntime(label, metadata=claimed)
    (event,) = await together.events(runtime, "labels_changed")
    assert (event.actor, event.cause) == ("anonymous@loopback", "")
    # And of services only what rules do.
    own = together.stack.data_dir / "keys"
    delete = runtime_api.DeleteRuntimeRequest(name=runtime.name, force=True)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await together.stack.stub.DeleteRuntime(delete, metadata=(*service_metadata(own, "rules"), *claimed))
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_rule_that_only_watches_does_nothing_and_one_that_starts_what_it_selects_is_refused(
    together: Together,
) -> None:
    ann = shown(together, "ann")
    start = rules.Action(start=rules.Start(configuration_text=text(name="scripted")))
    for selector in ("name=scripted", "created_by=ann", ""):
        with pytest.raises(grpc.aio.AioRpcError, match="starts runs that it selects itself"):
            await together.rule("again", start, show=ann, selector=selector)
    runtime = await together.start()
    copied = rules.Action(start=rules.Start(runtime=runtime.name))
    with pytest.raises(grpc.aio.AioRpcError, match="starts runs that it selects itself"):
        await together.rule("again", copied, show=ann, selector="name=scripted")
    wrong = rules.Action(start=rules.Start(configuration_text="name: x"))
    with pytest.raises(grpc.aio.AioRpcError, match=r"configuration_text\.entrypoint"):
        await together.rule("wrong", wrong, show=ann)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await together.rule("low", copied, show=shown(together, "low", Role.VIEWER), selector="name=other")
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await together.rule("first", copied, show=ann, selector="name=other")
    await together.rule("watches", rules.Action(stop=rules.Stop()), show=ann, watching_only=True)
    firing_id = await together.fire("watches", runtime, 5, watching_only=True)
    assert await together.outcome(firing_id, runtime) == []
    (done,) = await together.outcome(await together.fire("first", runtime, 6), runtime)
    assert done.state == api.ACTION_STATE_TAKEN
    assert (await together.stack.get(done.runtime)).display_name == "scripted"


async def test_kills_leave_no_action_undone_and_do_none_twice(nats_server: NatsServer, tmp_path: Path) -> None:
    await check_action_crashes(nats_server, tmp_path, kills=3)
