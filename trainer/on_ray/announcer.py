"""The process that drives Ray speaks to the driver: from any thread, without a wait, and without an error."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from contextlib import suppress

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import GroupEnded, Hello, InstanceReport
from milepost.training.process.frames import frame

log = logging.getLogger(__name__)

# The rank under which this process speaks: it is no instance.
GROUP_RANK = -1
CONNECT_SECONDS = 10.0
# More are not kept: the driver is gone then.
MAX_QUEUE = 1000


class Announcer:
    """Sends reports to the driver. Can be pickled; the copy makes a connection of its own on first use."""

    def __init__(self, driver: str, token: str, attempt: int) -> None:
        self._driver = driver
        self._token = token
        self._attempt = attempt
        self._number = 0
        self._reports: queue.Queue[InstanceReport | None] = queue.Queue(MAX_QUEUE)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __reduce__(self) -> tuple[type[Announcer], tuple[str, str, int]]:
        return Announcer, (self._driver, self._token, self._attempt)

    def observe(self, state: str, message: str) -> None:
        """Tell what has become of the worker group."""
        observed = facts.ClusterStateObserved(attempt=self._attempt, state=state, message=message[:1000])
        self._put(InstanceReport(event=facts.TrialEvent(cluster_state_observed=observed)))

    def unready(self, rank: int, reason: str) -> None:
        """Tell that an instance is about to be lost."""
        changed = facts.InstanceReadinessChanged(attempt=self._attempt, rank=rank, ready=False, reason=reason)
        self._put(InstanceReport(event=facts.TrialEvent(instance_readiness_changed=changed)))

    def end(self, ended: GroupEnded, seconds: float) -> None:
        """Say that it is over, and wait until that is sent."""
        self._put(InstanceReport(group_ended=ended))
        self._put(None)
        if self._thread is not None:
            self._thread.join(seconds)

    def _put(self, report: InstanceReport | None) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="milepost-announcer", daemon=True)
                self._thread.start()
            if report is not None:
                self._number += 1
                report.rank, report.number, report.time_ms = GROUP_RANK, self._number, int(time.time() * 1000)
            with suppress(queue.Full):
                self._reports.put_nowait(report)

    def _run(self) -> None:
        host, _, port = self._driver.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), CONNECT_SECONDS) as connection:
                hello = Hello(token=self._token, process_id=os.getpid(), host=socket.gethostname())
                connection.sendall(frame(InstanceReport(rank=GROUP_RANK, hello=hello)))
                while (report := self._reports.get()) is not None:
                    connection.sendall(frame(report))
        except OSError as error:
            log.warning("group.unheard", extra={"error": str(error)})
