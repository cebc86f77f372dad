"""The HTTP API of the job server of a Ray cluster, as far as the launcher needs it.

Spoken without the `ray` package: the service needs none, and the cluster may run another version of it.

Over urllib and not httpx: that would be three more packages for the service, and its import takes 150 ms where urllib takes
44, which the way to witnesses imports anyway. It would save the dozen lines of `_request`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from milepost.security.tokens import TokenError, require_private
from services.runtime.launchers.jobs import ClusterRefused, ClusterUnavailable, JobRefused, Use
from services.runtime.policies.placement import Node

TIMEOUT_SECONDS = 15.0
MAX_ANSWER_BYTES = 32 << 20
_TERMINAL = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
_REFUSED = frozenset({401, 403})
_MESSAGE_CHARACTERS = 300


class RayUnavailable(ClusterUnavailable):
    """The cluster does not answer, or not now."""

    reason = "RAY_UNAVAILABLE"


class TokenRefused(ClusterRefused):
    """The cluster does not take the token, or there is none to show."""

    reason = "RAY_TOKEN_REFUSED"


class RayJobRefused(JobRefused):
    reason = "RAY_JOB_REFUSED"


@dataclass(frozen=True, slots=True)
class Job:
    """What the cluster says of a job."""

    # `PENDING`, `RUNNING`, `STOPPED`, `SUCCEEDED` or `FAILED`.
    status: str
    message: str = ""
    # Why it failed, a name of Ray's; empty: it did not.
    error_type: str = ""
    # Of the command; None: it did not begin, or is not known to have ended.
    exit_code: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.status in _TERMINAL

    @property
    def runs(self) -> bool:
        return self.status == "RUNNING"

    @property
    def use(self) -> Use:
        return use_in(self.metadata)

    @property
    def waits(self) -> str:
        return ""


def words(use: Use) -> dict[str, str]:
    """Return what is used as metadata of a job."""
    return {f"milepost_{name}": f"{amount:g}" for name, amount in asdict(use).items()}


def use_in(metadata: Mapping[str, str]) -> Use:
    """Read it from the metadata of a job; of others it is nothing."""
    try:
        return Use(*(float(metadata.get(f"milepost_{item.name}", "0")) for item in fields(Use)))
    except (TypeError, ValueError):
        return Use()


class JobServer:
    """The job server at one address. Every method raises ClusterUnavailable and ClusterRefused."""

    def __init__(self, address: str, token_file: Path | None = None, ca_file: Path | None = None) -> None:
        """Speak to `http(s)://host:port`.

        Args:
            token_file: holds the token of the cluster; read at each call, so it may be replaced. None: no token.
            ca_file: PEM file with the authority to trust with https; None: the system's.
        """
        self.address = address.rstrip("/")
        self._token_file = token_file
        self._ca_file = ca_file

    async def submit(self, job_id: str, request: Mapping[str, Any]) -> bool:
        """Submit a job under an id. False: there is one with that id already.

        Raises:
            JobRefused: the cluster does not take it.
        """
        status, text = await self._call("POST", "/api/jobs/", {**request, "submission_id": job_id})
        if status == 200:
            return True
        if status == 400 and "already exists" in text:
            return False
        if status == 400:
            raise RayJobRefused(f"the cluster refuses the job: {_last_line(text)}")
        raise self._failed(status, text)

    async def find(self, job_id: str) -> Job | None:
        """Return what is known of a job; None: nothing."""
        status, text = await self._call("GET", f"/api/jobs/{job_id}")
        if status == 404:
            return None
        found = self._parse(status, text)
        return Job(
            status=str(found.get("status", "")),
            message=str(found.get("message") or ""),
            error_type=str(found.get("error_type") or ""),
            exit_code=found.get("driver_exit_code"),
            metadata=found.get("metadata") or {},
        )

    async def stop(self, job_id: str) -> None:
        """Ask for the end of a job. One that is over, or that is not known, stays as it is."""
        status, text = await self._call("POST", f"/api/jobs/{job_id}/stop")
        if status not in (200, 404):
            raise self._failed(status, text)

    async def delete(self, job_id: str) -> None:
        """Make the cluster forget a job that is over. One that is not known is fine."""
        status, text = await self._call("DELETE", f"/api/jobs/{job_id}")
        if status not in (200, 404):
            raise self._failed(status, text)

    async def logs(self, job_id: str) -> str:
        """Return what a job printed; empty where that is not to be had any more."""
        status, text = await self._call("GET", f"/api/jobs/{job_id}/logs")
        return str(self._parse(status, text).get("logs") or "") if status == 200 else ""

    async def nodes(self) -> list[Node]:
        """Return what the machines of the cluster offer."""
        found = self._parse(*await self._call("GET", "/api/v0/nodes?detail=1&limit=10000"))
        rows = ((found.get("data") or {}).get("result") or {}).get("result") or []
        return [_node(row.get("resources_total") or {}) for row in rows if row.get("state") == "ALIVE"]

    async def use(self) -> Use | None:
        """Return what is in use; None: the cluster does not say."""
        found = self._parse(*await self._call("GET", "/api/cluster_status"))
        status = (found.get("data") or {}).get("clusterStatus") or {}
        usage = (status.get("loadMetricsReport") or {}).get("usage")
        if not usage:
            return None
        cpus, memory, gpus = (float((usage.get(name) or [0.0])[0]) for name in ("CPU", "memory", "GPU"))
        return Use(cpus, memory / 1e9, gpus)

    # --- HTTP

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, str]:
        return await asyncio.to_thread(self._request, method, path, body)

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, str]:
        content = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json", **self._authorization()}
        request = urllib.request.Request(self.address + path, content, headers, method=method)
        try:
            with self._opener().open(request, timeout=TIMEOUT_SECONDS) as answer:
                return answer.status, answer.read(MAX_ANSWER_BYTES).decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(MAX_ANSWER_BYTES).decode(errors="replace")
            if error.code in _REFUSED:
                raise TokenRefused(self._why_refused(error.code, text)) from error
            return error.code, text
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", error)
            raise RayUnavailable(f"the Ray cluster at {self.address} does not answer: {why}") from error

    def _authorization(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            require_private(self._token_file)
            token = self._token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenRefused(f"the token of the Ray cluster cannot be read from {self._token_file}") from error
        except TokenError as error:
            raise TokenRefused(str(error)) from error
        return {"Authorization": f"Bearer {token}"}

    def _opener(self) -> urllib.request.OpenerDirector:
        context = ssl.create_default_context(cafile=str(self._ca_file) if self._ca_file else None)
        # Never to another place with the token.
        return urllib.request.build_opener(_NoRedirect(), urllib.request.HTTPSHandler(context=context))

    def _why_refused(self, status: int, text: str) -> str:
        shown = f"the token in {self._token_file}" if self._token_file else "calls without a token"
        return (
            f"the Ray cluster at {self.address} refuses {shown} ({status}: {_last_line(text)}); "
            "set MILEPOST_RAY_TOKEN_FILE to a file with the cluster's token"
        )

    def _parse(self, status: int, text: str) -> dict[str, Any]:
        if status != 200:
            raise self._failed(status, text)
        try:
            found = json.loads(text)
        except ValueError as error:
            raise RayUnavailable(f"what answers at {self.address} is no job server of Ray") from error
        if not isinstance(found, dict):
            raise RayUnavailable(f"what answers at {self.address} is no job server of Ray")
        return found

    def _failed(self, status: int, text: str) -> RayUnavailable:
        return RayUnavailable(f"the Ray cluster at {self.address} answers {status}: {_last_line(text)}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **more: Any) -> None:
        return None


def _node(resources: Mapping[str, Any]) -> Node:
    def amount(name: str) -> float:
        value = resources.get(name, 0.0)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0

    return Node(amount("CPU"), amount("memory") / 1e9, amount("GPU"))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip()[:_MESSAGE_CHARACTERS] if lines else "no reason given"
