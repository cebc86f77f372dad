"""A search as one object: its trials as dictionaries, those that come to something one by one, the best."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
    from milepost.api.trial.v1 import trial_service_pb2 as trial_api
    from milepost.client import Client
    from milepost.search.simulation import Simulation

PAGE_SIZE = 1_000
POLL_SECONDS = 1.0

Row = dict[str, Any]


def start(configuration: str | os.PathLike[str] | Mapping[str, Any], client: Client | None = None) -> Search:
    """Start a search.

    Args:
        configuration: a mapping, a path, or the text of a file. Text of one line is a path.
        client: None: one of the stack that is found, as by the command line.

    Raises:
        InvalidArgument: the configuration is wrong; has every violation.
        OSError: the file cannot be read.
        MilepostError: it could not be started.
    """
    if isinstance(configuration, Mapping):
        text = json.dumps(configuration)
    elif isinstance(configuration, os.PathLike) or "\n" not in configuration.strip():
        text = Path(configuration).read_text(encoding="utf-8")
    else:
        text = configuration
    client = client or _client()
    return Search(client.start_runtime(text).runtime_id, client)


def attach(runtime_id: str, client: Client | None = None) -> Search:
    """Return a search that is there.

    Raises:
        NotFound: there is no such runtime.
        MilepostError: nothing answers.
    """
    client = client or _client()
    name = runtime_id if runtime_id.startswith("runtimes/") else f"runtimes/{runtime_id}"
    return Search(client.get_runtime(name).runtime_id, client)


def _client() -> Client:
    from milepost.client import Client

    return Client()


class Search:
    """A runtime whose trials are looked at together. Made by `start` and `attach`.

    Each row is a dictionary: `trial`, `status`, `step`, `best` (whether it is among the best), `outcome`, `rung`,
    `infeasible`, `donor` (with whose weights it began; 0: nobody's); the value of each objective and constraint by its
    metric, None where there is none; and each searched parameter as `parameters.<name>`. A trial has no parameter whose
    condition does not hold.
    """

    def __init__(self, runtime_id: str, client: Client) -> None:
        self.runtime_id = runtime_id
        self.client = client

    @property
    def name(self) -> str:
        return f"runtimes/{self.runtime_id}"

    def __repr__(self) -> str:
        return f"Search({self.runtime_id!r})"

    def runtime(self) -> runtime_api.Runtime:
        """Return the runtime as it is now."""
        return self.client.get_runtime(self.name, show_deleted=True)

    def is_over(self) -> bool:
        """Return whether nothing of it runs any more; it may be resumed."""
        from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api

        return self.runtime().phase >= runtime_api.RUNTIME_PHASE_ENDED

    def table(self) -> list[Row]:
        """Return all trials, by number."""
        return [row_of(one) for one in self._trials()]

    def best(self) -> list[Row]:
        """Return the best trials: one, or with several objectives all that no other surpasses. Empty: none has a value."""
        return [row for row in self.table() if row["best"]]

    def frame(self) -> Any:
        """Return the table as a frame of pandas, by number of the trial.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd  # type: ignore[import-untyped]

        return pd.DataFrame(self.table()).set_index("trial")

    def follow(self, poll_seconds: float = POLL_SECONDS) -> Iterator[Row]:
        """Yield each trial once it has come to something, until the search is over. What had come before, comes first."""
        told: set[int] = set()
        while True:
            over = self.is_over()
            for row in self.table():
                if row["outcome"] and row["trial"] not in told:
                    told.add(row["trial"])
                    yield row
            if over:
                return
            time.sleep(poll_seconds)

    def wait(self, poll_seconds: float = POLL_SECONDS) -> Search:
        """Wait until it is over. Returns itself."""
        while not self.is_over():
            time.sleep(poll_seconds)
        return self

    def stop(self, reason: str = "") -> None:
        """Stop it gracefully: its trials take snapshots."""
        self.client.stop_runtime(self.name, reason=reason)

    def simulate(self, **pruner: Any) -> Simulation:
        """Play another pruner over its trials: `simulate(kind="asha", first_step=100)`, as in `search.pruner`.

        Raises:
            InvalidArgument: this is no pruner.
            FailedPrecondition: it has several objectives, no evaluation has its metric, or it is `pbt`.
        """
        from milepost.configuration import resolve_pruner
        from milepost.search.simulation import check_playable, simulate

        check_playable(str(pruner.get("kind", "")))
        return simulate(self.client, self.name, resolve_pruner(pruner))

    def _trials(self) -> Iterator[trial_api.Trial]:
        from milepost.api.trial.v1 import trial_service_pb2 as trial_api

        # What the runtime service has said of it is in the answer.
        seen = self.runtime().sequence
        request = trial_api.ListTrialsRequest(parent=self.name, page_size=PAGE_SIZE, brief=True, min_sequence=seen)
        while True:
            answer = self.client.trials.ListTrials(request)
            yield from answer.trials
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token


def row_of(one: trial_api.Trial) -> Row:
    """Return a trial as a row of a table."""
    from milepost.api.event.v1 import runtime_events_pb2 as facts
    from milepost.api.trial.v1 import trial_service_pb2 as trial_api

    found = one.suggestion
    row: Row = {
        "trial": one.trial,
        "status": trial_api.TrialStatus.Name(one.status).removeprefix("TRIAL_STATUS_").capitalize(),
        "step": one.progress.step,
        "best": found.best,
        "outcome": facts.ObjectiveOutcome.Name(found.outcome).removeprefix("OBJECTIVE_OUTCOME_").lower()
        if found.outcome
        else "",
        "rung": found.rung,
        "infeasible": found.infeasible,
        "donor": found.donor,
    }
    if found.metric:
        row[found.metric] = found.value if found.HasField("value") else None
    row |= {kept.metric: kept.value for kept in found.constraints}
    row |= {measured.metric: measured.value for measured in found.values}
    parameters = {f"parameters.{name}": json.loads(text) for name, text in one.searched_parameters.items()}
    return row | dict(sorted(parameters.items()))
