"""Imported runtimes stand in nobody's way: the seam lets calls through until there is one."""

from __future__ import annotations

from typing import Any, cast

import grpc
import pytest

from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.errors import FailedPrecondition
from services.readmodel.imports import ImportSeam, Routing
from services.trials.imported import READS, SERVICE


class Servicer:
    """Answers with its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def GetTrial(self, request: api.GetTrialRequest, context: Any) -> str:
        return self._name


async def called(seam: ImportSeam, own: Servicer, name: str) -> Any:
    """Call `GetTrial` through a seam as the server does."""

    async def continuation(details: Any) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(own.GetTrial)

    class Details:
        method = "/milepost.api.trial.v1.TrialService/GetTrial"

    handler = await seam.intercept_service(continuation, cast(Any, Details))
    behaviour: Any = handler.unary_unary
    return await behaviour(api.GetTrialRequest(name=name), None)


async def test_a_call_goes_to_its_servicer_until_something_is_imported() -> None:
    own, imports = Servicer("own"), dict[str, Servicer]()
    seam = ImportSeam(imports, Routing(SERVICE, own, imports, READS))
    assert await called(seam, own, "runtimes/rt-a/trials/1") == "own"
    imports["rt-a"] = Servicer("imported")
    assert await called(seam, own, "runtimes/rt-a/trials/1") == "imported"
    assert await called(seam, own, "runtimes/rt-b/trials/1") == "own"


async def test_an_imported_runtime_is_not_changed() -> None:
    own, imports = Servicer("own"), {"rt-a": Servicer("imported")}
    seam = ImportSeam(imports, Routing(SERVICE, own, imports, frozenset()))
    with pytest.raises(FailedPrecondition, match="imported"):
        await called(seam, own, "runtimes/rt-a/trials/1")
