"""Each verification is a process that reads the whole log: there are few at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from milepost.api.audit.v1 import audit_service_pb2 as api
from milepost.errors import ResourceExhausted
from milepost.security.tokens import Identity, Role
from services.access import authentication
from services.access.authentication import Caller
from services.runtime.audit import service as audit
from services.runtime.audit.service import VERIFIED, VERIFIED_PER_CALLER, AuditService
from services.runtime.readmodel.views import Views


async def test_one_caller_has_few_verifications_and_others_have_some(monkeypatch: pytest.MonkeyPatch) -> None:
    async def verify(*asked: Any) -> AsyncIterator[api.VerifyLogResponse]:
        while True:
            yield api.VerifyLogResponse()

    monkeypatch.setattr(audit, "verify", verify)
    parts: Any = SimpleNamespace(views=Views())
    service = AuditService(parts, parts, Path())

    def begin(actor: str) -> Any:
        caller = Caller(actor, Role.OPERATOR, True, Identity(actor, Role.OPERATOR))
        authentication._current.set(caller)
        context: Any = None
        return service.VerifyLog(api.VerifyLogRequest(), context)

    async with AsyncExitStack() as going:
        for number in range(VERIFIED):
            answers = await going.enter_async_context(aclosing(begin(f"caller {number // VERIFIED_PER_CALLER}")))
            await anext(answers)
        with pytest.raises(ResourceExhausted, match="for this caller"):
            await anext(begin("caller 0"))
        with pytest.raises(ResourceExhausted, match="verifications are open already"):
            await anext(begin("another"))
    async with aclosing(begin("another")) as answers:
        await anext(answers)
