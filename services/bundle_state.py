"""Entry point: `python -m services.bundle_state FILE` folds the events of a bundle and compares them with its `state.json`.

`milepost audit verify FILE` runs it: what events make of a run, the read models of the services know. It prints one JSON
list: what `state.json` says otherwise than the events, a sentence each. Texts for people are not compared, since another
version may word them otherwise, nor what follows from telemetry: of a trial only what its events say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from milepost import bundle
from milepost.bundle import NotABundle
from milepost.eventlog import RecordedEvent
from milepost.protojson import to_json
from services.runtime.readmodel.messages import runtime_message
from services.runtime.readmodel.views import Views as RuntimeViews
from services.trials.messages import render_trial
from services.trials.readmodel.views import Views as TrialViews

# Words for people, what another version says of the same events in another way, and who has imported it.
NOT_COMPARED = frozenset({"reason", "health_reason", "pending_reason", "queue_position", "imported"})
TRIAL_FACTS = (
    *("name", "runtime_id", "trial", "status", "waiting_reason", "failure_reason", "attempt", "attempt_count"),
    *("parameters", "searched_parameters", "labels", "end_time", "newest_snapshot_id", "newest_snapshot_step"),
)
_NOTHING = object()


def differences(events: Iterable[RecordedEvent], runtime_id: str, state: Any) -> list[str]:
    """Say where a `state.json` is not what events make of the runtime and its trials."""
    if not isinstance(state, dict) or not isinstance(state.get("runtime"), dict):
        return [f"{bundle.STATE} has no runtime"]
    runtimes, trials = RuntimeViews(), TrialViews()
    for event in events:
        runtimes.apply(event)
        trials.apply_event(event)
    if runtime_id not in runtimes.runtimes:
        return [f"{bundle.EVENTS} has no event of {runtime_id}"]
    said = {name: value for name, value in state["runtime"].items() if name not in NOT_COMPARED}
    found = list(_differing("runtime", said, to_json(runtime_message(runtimes.runtimes[runtime_id]))))
    folded = {
        str(key.trial): to_json(render_trial(trials, view, trials.events_time, brief=True))
        for key, view in trials.trials.items()
        if key.runtime_id == runtime_id
    }
    told = state.get("trials")
    by_number = {str(one.get("trial")): one for one in told if isinstance(one, dict)} if isinstance(told, list) else {}
    for number in sorted(folded.keys() ^ by_number.keys()):
        found.append(f"trial {number} is in {'the events' if number in folded else bundle.STATE} only")
    for number in sorted(folded.keys() & by_number.keys()):
        facts = {name: by_number[number].get(name) for name in TRIAL_FACTS if name in by_number[number]}
        found += _differing(f"trials[{number}]", facts, folded[number])
    return found


def _differing(path: str, said: Any, folded: Any) -> Iterator[str]:
    """Walk through what is said: what this version alone would say is no difference."""
    if isinstance(said, dict) and isinstance(folded, dict):
        for name, value in said.items():
            yield from _differing(f"{path}.{name}", value, folded.get(name, _NOTHING))
    elif said != folded:
        other = "nothing" if folded is _NOTHING else json.dumps(folded, ensure_ascii=False)
        yield f"{path} is {json.dumps(said, ensure_ascii=False)}, and its events make it {other}"


def compare(path: Path) -> list[str]:
    """Compare a bundle. Its chains and its files are `milepost.bundle.verify_bundle`'s to check.

    Raises:
        NotABundle: it is none, or its state is not readable.
    """
    with bundle.open_archive(path) as archive:
        runtime_id = bundle.read_manifest(archive)["runtime"]
        events = [event for event in bundle.events_of(archive) if isinstance(event, RecordedEvent)]
        return differences(events, runtime_id, bundle.read_state(archive))


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(compare(Path(sys.argv[1]))) + "\n")
    except NotABundle as error:
        sys.exit(f"error: {error}")
