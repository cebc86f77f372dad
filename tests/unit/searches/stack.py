"""A client of a stack that has one runtime, from messages in memory, in pages of two."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.errors import NotFound

ID = "rt-" + "1" * 26
PAGE = 2


class Stack:
    """What a `Client` answers. `phases`: of the runtime, one for each time it is read; the last one stays."""

    def __init__(
        self,
        configuration: Any,
        trials: Sequence[trial_api.Trial],
        evaluations: Sequence[tuple[int, int, dict[str, float]]] = (),
        phases: Sequence[Any] = (runtime_api.RUNTIME_PHASE_ENDED,),
    ) -> None:
        self._configuration = configuration
        self.rows = list(trials)
        self._events = [
            events_api.RecordedEvent(
                trial=number,
                trial_event=facts.TrialEvent(evaluation_completed=facts.EvaluationCompleted(step=step, values=v)),
            )
            for number, step, v in evaluations
        ]
        self._phases = list(phases)
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.trials = SimpleNamespace(ListTrials=self._list_trials)
        self.runtimes = SimpleNamespace(ListEvents=self._list_events)

    def start_runtime(self, text: str) -> runtime_api.Runtime:
        self.started.append(text)
        return self.get_runtime(f"runtimes/{ID}")

    def get_runtime(self, name: str, show_deleted: bool = False) -> runtime_api.Runtime:
        if name != f"runtimes/{ID}":
            raise NotFound(f"there is no runtime {name}", reason="RUNTIME_NOT_FOUND")
        phase = self._phases.pop(0) if len(self._phases) > 1 else self._phases[0]
        return runtime_api.Runtime(name=name, runtime_id=ID, configuration=self._configuration, phase=phase, sequence=7)

    def stop_runtime(self, name: str, reason: str = "") -> None:
        self.stopped.append(f"{name} {reason}")

    def _list_trials(self, request: trial_api.ListTrialsRequest) -> trial_api.ListTrialsResponse:
        first = int(request.page_token or 0)
        more = str(first + PAGE) if first + PAGE < len(self.rows) else ""
        return trial_api.ListTrialsResponse(trials=self.rows[first : first + PAGE], next_page_token=more)

    def _list_events(self, request: runtime_api.ListEventsRequest) -> runtime_api.ListEventsResponse:
        assert list(request.filter.types) == ["milepost.trial.evaluation_completed.v1"]
        first = int(request.page_token or 0)
        more = str(first + PAGE) if first + PAGE < len(self._events) else ""
        return runtime_api.ListEventsResponse(events=self._events[first : first + PAGE], next_page_token=more)
