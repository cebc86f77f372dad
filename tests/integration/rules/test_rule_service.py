"""The rule service on a real log: commands, reads, restarts, what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.api.rule.v1.rule_service_pb2_grpc import RuleServiceStub
from milepost.domain import rules as rule_domain
from milepost.eventlog import RULES_SUBJECT
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.ids import new_runtime_id
from services.rules.application import Application, Options
from tests.support.servers.gateway import running_gateway
from tests.support.servers.servers import NatsServer

WAIT = 30.0
# Nothing listens here.
NOWHERE = "127.0.0.1:9"


@asynccontextmanager
async def serving(nats: NatsServer, data_dir: Path) -> AsyncIterator[RuleServiceStub]:
    """The rule service on a free port, and a client of it."""
    async with AsyncExitStack() as parts:
        application = Application(
            Options("127.0.0.1:0", data_dir, nats.url, runtime_address=NOWHERE, metrics_address=NOWHERE)
        )
        await application.start()
        parts.push_async_callback(application.stop)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{application.port}")
        yield RuleServiceStub(await parts.enter_async_context(channel))


def loss_above(value: float) -> rules.Rule:
    threshold = rules.Threshold(series="train/loss", comparison=rules.COMPARISON_ABOVE, value=value)
    return rules.Rule(detector=rules.Detector(threshold=threshold))


def fields_of(error: grpc.aio.AioRpcError) -> list[str]:
    found = error_details_pb2.BadRequest()
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    for detail in status.details:
        detail.Unpack(found)
    return [violation.field for violation in found.field_violations]


async def test_a_rule_lives_in_the_log(connection: Connection, shared_nats: NatsServer, tmp_path: Path) -> None:
    rule_id = new_runtime_id()
    name = f"rules/{rule_id}"
    async with serving(shared_nats, tmp_path) as stub:
        made = (await stub.CreateRule(api.CreateRuleRequest(rule_id=rule_id, rule=loss_above(5.0)), timeout=WAIT)).rule
        assert (made.name, made.revision, made.owner, made.watching_only) == (name, 1, "anonymous@loopback", True)
        changed = await stub.UpdateRule(
            api.UpdateRuleRequest(name=name, rule=loss_above(6.0), etag=made.etag), timeout=WAIT
        )
        assert changed.rule.revision == 2
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.UpdateRule(api.UpdateRuleRequest(name=name, rule=loss_above(7.0), etag=made.etag), timeout=WAIT)
        assert refused.value.code() is grpc.StatusCode.ABORTED
    # Another process knows the same.
    async with serving(shared_nats, tmp_path) as stub:
        found = (await stub.GetRule(api.GetRuleRequest(name=name), timeout=WAIT)).rule
        assert found == changed.rule
        disabled = (await stub.DisableRule(api.DisableRuleRequest(name=name, etag=found.etag), timeout=WAIT)).rule
        assert disabled.disabled
        listed = await stub.ListRules(api.ListRulesRequest(), timeout=WAIT)
        assert disabled in listed.rules
        await stub.DeleteRule(api.DeleteRuleRequest(name=name), timeout=WAIT)
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await stub.GetRule(api.GetRuleRequest(name=name), timeout=WAIT)
        assert gone.value.code() is grpc.StatusCode.NOT_FOUND
    events = await JetStreamLog(connection).read_chain(RULES_SUBJECT)
    own = [event.type.split(".")[2] for event in events if rule_id.encode() in event.body]
    assert own == ["rule_set", "rule_set", "rule_disabled", "rule_deleted"]


async def test_what_is_wrong_is_refused_by_its_field(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path
) -> None:
    async with serving(shared_nats, tmp_path) as stub:
        pattern = rules.Rule(detector=rules.Detector(log_pattern=rules.LogPattern(pattern="(a")))
        for request, field in (
            (api.CreateRuleRequest(rule=loss_above(float("nan"))), "rule.detector.threshold.value"),
            (api.CreateRuleRequest(rule=pattern), "rule.detector.log_pattern.pattern"),
            (api.CreateRuleRequest(rule_id="Not An Id", rule=loss_above(1.0)), "rule_id"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.CreateRule(request, timeout=WAIT)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert fields_of(refused.value) == [field]
        unusual = loss_above(1.0)
        unusual.detector.threshold.series = "my/own"
        allowed = await stub.CreateRule(api.CreateRuleRequest(rule=unusual, validate_only=True), timeout=WAIT)
        assert "my/own" in allowed.warnings[0]
        with pytest.raises(grpc.aio.AioRpcError) as name_refused:
            await stub.ListFirings(api.ListFiringsRequest(parent="rules/A"), timeout=WAIT)
        assert fields_of(name_refused.value) == ["parent"]


async def test_a_repeated_request_makes_one_rule(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path
) -> None:
    async with serving(shared_nats, tmp_path) as stub:
        request = api.CreateRuleRequest(rule=loss_above(3.0), request_id=new_runtime_id())
        first = await stub.CreateRule(request, timeout=WAIT)
        assert (await stub.CreateRule(request, timeout=WAIT)).rule == first.rule
        pages, token = [], ""
        while True:
            page = await stub.ListRules(api.ListRulesRequest(page_size=1, page_token=token), timeout=WAIT)
            pages += [rule.name for rule in page.rules]
            token = page.next_page_token
            if not token:
                break
        assert pages.count(first.rule.name) == 1
        assert len(pages) == page.total_size


async def test_what_is_wrong_is_refused_at_the_door_of_http_too(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as parts:
        application = Application(
            Options("127.0.0.1:0", tmp_path, shared_nats.url, runtime_address=NOWHERE, metrics_address=NOWHERE)
        )
        await application.start()
        parts.push_async_callback(application.stop)
        base = await parts.enter_async_context(running_gateway({"rules": f"127.0.0.1:{application.port}"}))
        headers = {"x-milepost-csrf": "1", "content-type": "application/json"}
        client = await parts.enter_async_context(httpx.AsyncClient(base_url=base, headers=headers, timeout=WAIT))
        channel = await parts.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{application.port}"))

        async def refused(detector: str, field: str) -> None:
            for path in ("/api/v1/rules", "/api/v1/rules:test"):
                answer = await client.post(path, content=f'{{"rule": {{"detector": {detector}}}}}')
                assert answer.status_code == 400, answer.text
                assert [one["field"] for one in answer.json()["violations"]] == [f"rule.detector.{field}"]

        await refused('{"log_pattern": {"pattern": "(?<=a)b"}}', "log_pattern.pattern")
        nan = '{"threshold": {"series": "train/loss", "comparison": "ABOVE", "value": %s}}'
        await refused(nan % '"NaN"', "threshold.value")
        await refused(nan % '"Infinity"', "threshold.value")
        await refused(nan % '"five"', "threshold.value")
        broken = await client.post("/api/v1/rules", content='{"rule": {"detector": %s}}' % (nan % "NaN"))
        assert broken.status_code == 400
        # As many as there are, so that this is the one too many.
        monkeypatch.setattr(rule_domain, "MAX_RULES", len(application.ledger.rule_ids()))
        body: dict[str, object] = {"rule": {"detector": {"not_finite": {}}}}
        too_many = await client.post("/api/v1/rules", json=body)
        assert (too_many.status_code, too_many.json()["reason"]) == (429, "TOO_MANY_RULES")
        assert (await client.post("/api/v1/rules", json={**body, "validate_only": True})).status_code == 200
        with pytest.raises(grpc.aio.AioRpcError) as over_grpc:
            await RuleServiceStub(channel).CreateRule(api.CreateRuleRequest(rule=loss_above(1.0)), timeout=WAIT)
        assert over_grpc.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
