"""What the API refuses, what it repeats, and who it says was behind what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import yaml
from google.protobuf.duration_pb2 import Duration

from milepost import code_archive, ids
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.installation.settings import collect
from milepost.security.tokens import Role, TokenStore
from services.access.guard import open_access
from services.runtime.launchers.local import LocalPolicy
from tests.integration.runtime.harness import Stack, plain, refusal, running, text
from tests.support.servers.servers import NatsServer

LONG = {"parameters": {"steps": 100_000}}


@pytest.fixture
async def stack(shared_nats: NatsServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(shared_nats, tmp_path / "data") as stack:
        yield stack
        await stack.stop_all()


async def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value)


async def test_a_dry_run_resolves_and_records_nothing(stack: Stack) -> None:
    before = stack.application.views.sequence
    answer = await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=text(), validate_only=True))
    assert answer.runtime.runtime_id == ""
    assert answer.runtime.configuration.limits.stop_deadline_seconds == 300
    assert answer.runtime.configuration_digest.startswith("sha256:")
    assert answer.runtime.left_out_trial_count == 0
    grid = text(search={"space": {name: [1, 2, 3] for name in ("a", "b", "c")}})
    answer = await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=grid, validate_only=True))
    assert (answer.runtime.trial_count, answer.runtime.left_out_trial_count) == (10, 17)
    assert not any(v.created and v.created.sequence > before for v in stack.application.views.runtimes.values())


async def test_a_dry_run_judges_the_request_id_too(stack: Stack) -> None:
    """What it accepts is accepted when it is meant."""
    started = await stack.start(**LONG)
    for ask in (
        stack.stub.StartRuntime(
            api.StartRuntimeRequest(configuration_text=text(), validate_only=True, request_id="\x84")
        ),
        stack.stub.CloneRuntime(api.CloneRuntimeRequest(name=started.name, validate_only=True, request_id="x" * 129)),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="request_id: must be text") as error:
            await ask
        assert refusal(error.value)[0] == "INVALID_ARGUMENT"


async def test_a_request_id_makes_one_runtime_however_often_it_is_sent(stack: Stack) -> None:
    request = api.StartRuntimeRequest(configuration_text=text(), request_id=ids.new_event_id())
    answers = await asyncio.gather(*(stack.stub.StartRuntime(request) for _ in range(8)))
    assert len({answer.runtime.name for answer in answers}) == 1
    other = api.StartRuntimeRequest(configuration_text=text(priority=1), request_id=request.request_id)
    assert await refused(stack.stub.StartRuntime(other)) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    await stack.wait_ended(answers[0].runtime.name)


async def test_with_the_local_launcher_off_nothing_starts_and_what_runs_can_be_stopped(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_one = await stack.start(**LONG)
    await stack.wait_phase(running_one.name, api.RUNTIME_PHASE_RUNNING)
    monkeypatch.setattr(stack.application._local, "_policy", LocalPolicy(off="it is off"))
    start = api.StartRuntimeRequest(configuration_text=text(priority=1))
    assert await refused(stack.stub.StartRuntime(start)) == ("FAILED_PRECONDITION", "LAUNCHER_OFF")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=running_one.name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(running_one.name)


async def test_a_token_has_so_many_active_runtimes_and_no_more(shared_nats: NatsServer, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    tokens = TokenStore(data_dir / "tokens.json")
    few = tokens.create("ci", Role.OPERATOR, created_by="test", max_active_runtimes=2)[1]
    many = tokens.create("ada", Role.OPERATOR, created_by="test")[1]
    settings = collect({"data_dir": str(data_dir), "runtime_listen": "127.0.0.1:0", "authentication": "required"}, {})
    request = api.StartRuntimeRequest(configuration_text=text(**LONG))
    async with running(shared_nats, data_dir, open_access=partial(open_access, settings, "runtime")) as stack:
        ci, ada = ((("authorization", f"Bearer {token}"),) for token in (few, many))
        first = (await stack.stub.StartRuntime(request, metadata=ci)).runtime.name
        second = (await stack.stub.StartRuntime(request, metadata=ci)).runtime.name
        assert await refused(stack.stub.StartRuntime(request, metadata=ci)) == ("RESOURCE_EXHAUSTED", "RUNTIME_QUOTA")
        others = (await stack.stub.StartRuntime(request, metadata=ada)).runtime.name
        stop = api.StopRuntimeRequest(name=first, mode=common.STOP_MODE_ABRUPT)
        await stack.stub.StopRuntime(stop, metadata=ci)
        views = stack.application.views
        async with asyncio.timeout(60):
            while views.count_active("ci") == 2:
                await asyncio.sleep(0.02)
        third = (await stack.stub.StartRuntime(request, metadata=ci)).runtime.name
        active = [view.created.actor for view in views.active() if view.created is not None]
        assert (
            (views.count_active("ci"), views.count_active("ada")) == (active.count("ci"), active.count("ada")) == (2, 1)
        )
        for name in (second, third, others):
            stop = api.StopRuntimeRequest(name=name, mode=common.STOP_MODE_ABRUPT)
            await stack.stub.StopRuntime(stop, metadata=ada)


async def test_a_repeated_resume_does_not_resume_again(stack: Stack) -> None:
    runtime = await stack.start(**LONG)
    await stack.wait_event(runtime.name, "snapshot_committed")
    stop = api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT)
    await stack.stub.StopRuntime(stop)
    await stack.wait_ended(runtime.name)
    resume = api.ResumeRuntimeRequest(name=runtime.name, request_id=ids.new_event_id())
    await stack.stub.ResumeRuntime(resume)
    await stack.wait_phase(runtime.name, api.RUNTIME_PHASE_RUNNING)
    await stack.stub.StopRuntime(stop)
    await stack.wait_ended(runtime.name)
    await stack.stub.ResumeRuntime(resume)
    assert (await stack.get(runtime.name)).status == api.RUNTIME_STATUS_ABORTED
    assert (await stack.types(runtime.name)).count("resume_requested") == 1


async def test_a_stop_or_resume_of_what_has_ended_says_why_not(stack: Stack) -> None:
    runtime = await stack.start()
    await stack.wait_ended(runtime.name)
    stop = stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name))
    assert await refused(stop) == ("FAILED_PRECONDITION", "RUNTIME_ENDED")
    resume = stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=runtime.name))
    assert await refused(resume) == ("FAILED_PRECONDITION", "RUNTIME_COMPLETED")


async def test_a_clone_starts_from_the_beginning_with_what_changed(stack: Stack) -> None:
    runtime = await stack.start(labels={"team": "nlp"})
    await stack.wait_ended(runtime.name)
    changes = json.dumps({"parameters": {"steps": 4}})
    request = api.CloneRuntimeRequest(name=runtime.name, display_name="again", configuration_changes_text=changes)
    clone = (await stack.stub.CloneRuntime(request)).runtime
    assert (clone.display_name, clone.cloned_from) == ("again", runtime.runtime_id)
    assert clone.configuration.parameters["steps"] == "4"
    assert clone.labels["team"] == "nlp"
    ended = await stack.wait_ended(clone.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED


async def test_lists_are_filtered_ordered_and_paged(stack: Stack) -> None:
    mark = ids.new_runtime_id()
    started = [await stack.start(name=f"run {n}", labels={"mark": mark}, **LONG) for n in range(5)]
    listed: list[str] = []
    token = ""
    while True:
        page = await stack.stub.ListRuntimes(
            api.ListRuntimesRequest(
                filter=f"label.mark={mark} AND status=started", page_size=2, page_token=token, order_by="create_time"
            )
        )
        assert page.total_size == 5
        listed += [runtime.name for runtime in page.runtimes]
        token = page.next_page_token
        if not token:
            break
    assert listed == [runtime.name for runtime in started]
    stolen = api.ListRuntimesRequest(page_token=page.next_page_token or "e30", filter="run")
    assert await refused(stack.stub.ListRuntimes(stolen)) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")


async def test_a_watch_gives_what_is_then_each_change_and_goes_on_where_it_was(stack: Stack) -> None:
    runtime = await stack.start(**LONG)
    await stack.wait_phase(runtime.name, api.RUNTIME_PHASE_RUNNING)
    watch = stack.stub.WatchRuntimes(api.WatchRuntimesRequest(name=runtime.name))
    first = await watch.read()
    assert first.runtime.name == runtime.name
    caught_up = await watch.read()
    while not caught_up.caught_up:
        caught_up = await watch.read()
    watch.cancel()
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(runtime.name)
    again = stack.stub.WatchRuntimes(
        api.WatchRuntimesRequest(name=runtime.name, after_sequence=max(first.sequence, caught_up.sequence))
    )
    changed = await again.read()
    assert changed.runtime.status == api.RUNTIME_STATUS_ABORTED
    assert changed.sequence > caught_up.sequence
    again.cancel()


async def test_every_event_leads_back_to_whoever_caused_it(stack: Stack) -> None:
    request = api.StartRuntimeRequest(configuration_text=json.dumps(plain(**LONG)))
    runtime = (await stack.stub.StartRuntime(request, metadata=(("mp-actor", "local:alice"),))).runtime
    assert runtime.created_by == "local:alice"
    await stack.wait_event(runtime.name, "snapshot_committed")
    stop = api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT, reason="enough")
    await stack.stub.StopRuntime(stop, metadata=(("mp-actor", "local:bob"),))
    ended = await stack.wait_ended(runtime.name)
    assert ended.changed_by == "local:bob", "not the service that carried it out"
    events = {event.event_id: event for event in await stack.events(runtime.name)}
    chain = []
    current = next(e for e in events.values() if "runtime_aborted" in e.type)
    while current is not None:
        chain.append(current.type.split(".")[2])
        last = current
        current = events.get(current.cause)  # type: ignore[assignment]
    assert chain == ["runtime_aborted", "trial_stopped", "attempt_fenced", "trial_stop_requested", "stop_requested"]
    assert last.actor == "local:bob"
    assert all(event.message for event in events.values())
    aborted = next(e for e in events.values() if "runtime_aborted" in e.type)
    asked = api.ListEventsRequest(parent=runtime.name, behind_event_id=aborted.event_id)
    assert [e.type.split(".")[2] for e in (await stack.stub.ListEvents(asked)).events] == chain


async def test_events_are_filtered_paged_folded_and_read_from_the_end(stack: Stack) -> None:
    runtime = await stack.start(parameters={"steps": 30, "snapshot_every": 1})
    await stack.wait_ended(runtime.name)
    everything = await stack.events(runtime.name)
    backwards = await stack.stub.ListEvents(api.ListEventsRequest(parent=runtime.name, newest_first=True, page_size=7))
    assert [e.sequence for e in backwards.events] == [e.sequence for e in reversed(everything)][:7]
    following = await stack.stub.ListEvents(
        api.ListEventsRequest(parent=runtime.name, newest_first=True, page_size=7, page_token=backwards.next_page_token)
    )
    assert following.events[0].sequence == everything[-8].sequence
    kind = "milepost.trial.snapshot_committed.v1"
    snapshots = api.ListEventsRequest(parent=runtime.name, filter=api.EventFilter(types=[kind]), fold_repeats=True)
    (folded,) = (await stack.stub.ListEvents(snapshots)).events
    assert folded.repeat_count == 30
    assert folded.last_sequence > folded.sequence


async def test_a_watch_of_events_has_no_gap_between_the_past_and_the_present(stack: Stack) -> None:
    runtime = await stack.start(parameters={"steps": 40, "snapshot_every": 1})
    watch = stack.stub.WatchEvents(api.WatchEventsRequest(parent=runtime.name))
    seen = []
    async for update in watch:
        if update.HasField("event"):
            seen.append(update.event.sequence)
            if "resources_released" in update.event.type:
                break
    assert seen == [event.sequence for event in await stack.events(runtime.name)]


async def test_the_past_of_a_runtime_can_be_read(stack: Stack) -> None:
    runtime = await stack.start()
    await stack.wait_ended(runtime.name)
    launched = next(e for e in await stack.events(runtime.name) if "attempt_launched" in e.type)
    then = api.GetRuntimeRequest(name=runtime.name, as_of=events_api.AsOf(events_sequence=launched.sequence))
    before = (await stack.stub.GetRuntime(then)).runtime
    assert (before.status, before.phase) == (api.RUNTIME_STATUS_STARTED, api.RUNTIME_PHASE_STARTING)


async def test_a_script_of_ones_own_gets_its_attempt_with_the_answer(stack: Stack) -> None:
    own = ids.new_runtime_id()
    configuration = json.dumps({"name": "mine", "launcher": "external"})
    request = api.StartRuntimeRequest(configuration_text=configuration, runtime_id=own)
    runtime = (await stack.stub.StartRuntime(request)).runtime
    assert runtime.runtime_id == own
    assert await stack.types(runtime.name) == [
        "runtime_requested",
        "resources_allocated",
        "trial_created",
        "attempt_launched",
    ]
    again = (await stack.stub.StartRuntime(request)).runtime
    assert again.runtime_id == own
    abrupt = api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT)
    assert await refused(stack.stub.StopRuntime(abrupt)) == ("FAILED_PRECONDITION", "EXTERNAL_LAUNCHER")
    graceful = api.StopRuntimeRequest(name=runtime.name, deadline=Duration(nanos=200_000_000))
    await stack.stub.StopRuntime(graceful)
    ended = await stack.wait_ended(runtime.name)
    assert ended.status == api.RUNTIME_STATUS_ABORTED


async def test_one_trial_of_several_is_stopped_and_resumed(stack: Stack) -> None:
    search = {"space": {"snapshot_every": [5, 6]}, "max_concurrent_trials": 2}
    runtime = await stack.start(**LONG, search=search)
    await stack.wait(runtime.name, lambda r: r.trials.running == 2, "two trials run")
    await stack.wait_event(runtime.name, "snapshot_committed", 6)
    await stack.stub.StopTrial(api.StopTrialRequest(name=f"{runtime.name}/trials/2"))
    await stack.wait(runtime.name, lambda r: r.trials.waiting == 1, "trial 2 waits")
    assert (await stack.get(runtime.name)).status == api.RUNTIME_STATUS_STARTED
    await stack.stub.ResumeTrial(api.ResumeTrialRequest(name=f"{runtime.name}/trials/2"))
    await stack.wait(runtime.name, lambda r: r.trials.running == 2, "both run again")
    preview = await stack.stub.PreviewStop(api.PreviewStopRequest(name=runtime.name))
    assert [loss.trial for loss in preview.losses] == [1, 2]
    assert preview.stoppable
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
    ended = await stack.wait_ended(runtime.name)
    assert ended.trials.waiting == 2


async def test_a_corrupt_snapshot_is_reported_and_the_one_before_it_used(stack: Stack) -> None:
    runtime = await stack.start(**LONG)
    await stack.wait_event(runtime.name, "snapshot_committed", 3)
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(runtime.name)
    request = api.ListSnapshotsRequest(parent=runtime.name)
    newest, before, *_ = (await stack.stub.ListSnapshots(request)).snapshots
    (Path(newest.uri.removeprefix("file://")) / "state.pt").write_text("torn")
    named = api.ResumeRuntimeRequest(name=runtime.name, snapshot_id=newest.snapshot_id)
    assert await refused(stack.stub.ResumeRuntime(named)) == ("FAILED_PRECONDITION", "NO_VALID_SNAPSHOT")
    await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=runtime.name))
    await stack.wait_event(runtime.name, "attempt_launched", 2)
    launch = [e.trial_event.attempt_launched for e in await stack.events(runtime.name) if "attempt_launched" in e.type][
        1
    ]
    assert (launch.snapshot_id, list(launch.rejected_snapshot_ids)) == (before.snapshot_id, [newest.snapshot_id])
    shown = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=runtime.name, show_deleted=True))).snapshots
    states = {snapshot.snapshot_id: snapshot.state for snapshot in shown}
    assert states[newest.snapshot_id] == api.SNAPSHOT_STATE_CORRUPT


async def test_a_snapshot_that_an_attempt_says_to_be_elsewhere_is_not_used_and_not_removed(
    stack: Stack, tmp_path: Path
) -> None:
    other = await stack.start(parameters={"steps": 5, "snapshot_every": 5})
    await stack.wait_ended(other.name)
    (foreign,) = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=other.name))).snapshots
    precious = Path(foreign.uri.removeprefix("file://"))
    hostile = await stack.start(parameters={"steps": 100_000, "snapshot_every": 5, "claims": str(precious)})
    await stack.wait_event(hostile.name, "snapshot_committed")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=hostile.name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(hostile.name)
    (named, *_) = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=hostile.name))).snapshots
    resume = api.ResumeRuntimeRequest(name=hostile.name)
    assert await refused(stack.stub.ResumeRuntime(resume)) == ("FAILED_PRECONDITION", "NO_VALID_SNAPSHOT")
    begin = api.StartRuntimeRequest(configuration_text=text(initialize_from=named.name))
    assert await refused(stack.stub.StartRuntime(begin)) == ("FAILED_PRECONDITION", "SNAPSHOT_INVALID")
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=hostile.name))
    await stack.wait_phase(hostile.name, api.RUNTIME_PHASE_DELETED)
    assert (precious / "state.pt").read_text() == "state at 5"


async def test_a_run_that_begins_with_weights_is_told_which_manifest_was_committed(stack: Stack) -> None:
    first = await stack.start(parameters={"steps": 5, "snapshot_every": 5})
    await stack.wait_ended(first.name)
    (snapshot,) = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=first.name))).snapshots
    second = await stack.start(initialize_from=snapshot.name)
    await stack.wait_event(second.name, "attempt_started")
    launch = json.loads((stack.attempt_folder(second.runtime_id, 1, 1) / "attempt.json").read_text())
    assert launch["initialize_from_uri"] == snapshot.uri
    assert launch["initialize_from_manifest_sha256"] == snapshot.manifest_sha256 != ""


async def test_a_folder_of_code_travels_as_an_archive_and_is_used_again_on_a_resume(
    stack: Stack, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "mine.py").write_text("def train(trial): ...\n")
    code = code_archive.pack(project, tmp_path / "store")
    given = {"code": {"uri": code.uri, "digest": code.digest}, "entrypoint": "mine.py:train"}
    runtime = await stack.start(**LONG, **given)
    (project / "mine.py").unlink()
    await stack.wait_event(runtime.name, "snapshot_committed")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(runtime.name)
    await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=runtime.name))
    await stack.wait_event(runtime.name, "attempt_started", 2)
    for attempt in (1, 2):
        launch = json.loads((stack.attempt_folder(runtime.runtime_id, 1, attempt) / "attempt.json").read_text())
        assert (Path(launch["code_directory"]) / "mine.py").is_file()
    other = api.StartRuntimeRequest(configuration_text=text(**{**given, "entrypoint": "other.py:train"}))
    assert await refused(stack.stub.StartRuntime(other)) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    changed = {"code": {"uri": code.uri, "digest": "sha256:" + "0" * 64}}
    another = api.StartRuntimeRequest(configuration_text=text(**{**given, **changed}))
    assert await refused(stack.stub.StartRuntime(another)) == ("FAILED_PRECONDITION", "CODE_INVALID")


async def test_no_secret_is_recorded_by_a_comment_a_reason_or_a_resume(stack: Stack) -> None:
    secret = f"hf_{'a' * 34}"
    commented = "# " + f"api_key: {secret[3:]} was here before\n" + yaml.safe_dump(plain(**LONG))
    answer = await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=commented))
    name = answer.runtime.name
    kept = "# learning_rate: 0.1 was worse\n" + yaml.safe_dump(plain())
    other = await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=kept))
    assert (await stack.get(other.runtime.name)).configuration_text == kept, "comments that tell nothing stay"
    await stack.wait_event(name, "snapshot_committed")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=name, reason=f"leaked {secret}"))
    await stack.wait_ended(name)
    changes = yaml.safe_dump({"parameters": {"steps": secret}})
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=name, configuration_changes_text=changes))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "looks like a secret" in (refused.value.details() or "")
    everything = str(await stack.events(name)) + str(await stack.get(name))
    assert secret[3:] not in everything
    assert "[redacted: looks like a secret]" in everything, "the reason says that something was taken out"
