"""A run from its start to its deletion, with nothing but the client that openapi-python-client generates.

python openapi_client.py ADDRESS CONFIGURATION: prints what it saw, as JSON.
"""

import json
import sys

from milepost_client import Client
from milepost_client.api.metric_service import query_series
from milepost_client.api.runtime_service import (
    delete_runtime,
    get_runtime,
    resume_runtime,
    start_runtime,
    stop_runtime,
)
from milepost_client.models.configuration import Configuration
from milepost_client.models.csrf_header import CsrfHeader
from milepost_client.models.problem import Problem
from milepost_client.models.runtime_v1_watch_runtimes_response import RuntimeV1WatchRuntimesResponse
from milepost_client.models.start_runtime_body import StartRuntimeBody
from milepost_client.models.stop_runtime_body import StopRuntimeBody
from milepost_client.models.stop_runtime_body_mode_type_0 import StopRuntimeBodyModeType0
from milepost_client.models.trial_v1_watch_trials_response import TrialV1WatchTrialsResponse

CSRF = CsrfHeader.VALUE_0


def good(answer):
    """Return an answer that is no problem."""
    assert answer is not None and not isinstance(answer, Problem), answer
    return answer


def watch(client, runtime_id, topic, message):
    """Yield each message of a topic. Generators know no streams: the messages are theirs, the lines are read here."""
    address = f"/api/v1/runtimes/{runtime_id}/stream"
    with client.get_httpx_client().stream("GET", address, params={"topics": topic}, timeout=60) as lines:
        event = ""
        for line in lines.iter_lines():
            if line.startswith("event:"):
                event = line[6:].strip()
            elif line.startswith("data:") and event == topic:
                yield message.from_dict(json.loads(line[5:]))


def wait_for_end(client, runtime_id):
    for update in watch(client, runtime_id, "runtime", RuntimeV1WatchRuntimesResponse):
        if update.runtime is not None and update.runtime.phase == "ENDED":
            return str(update.runtime.status)
    raise AssertionError("the stream ended")


def main(address, text):
    client = Client(base_url=address)
    body = StartRuntimeBody(configuration=Configuration.from_dict(json.loads(text)))
    started = good(start_runtime.sync(client=client, body=body, x_milepost_csrf=CSRF))
    runtime_id = started.runtime.runtime_id
    for update in watch(client, runtime_id, "trials", TrialV1WatchTrialsResponse):
        if update.trial is not None and update.trial.progress.step >= 5:
            break
    stop = StopRuntimeBody(mode=StopRuntimeBodyModeType0.GRACEFUL, reason="to go on later")
    good(stop_runtime.sync(runtime_id, client=client, body=stop, x_milepost_csrf=CSRF))
    statuses = [wait_for_end(client, runtime_id)]
    good(resume_runtime.sync(runtime_id, client=client, x_milepost_csrf=CSRF))
    statuses.append(wait_for_end(client, runtime_id))
    parents = [f"runtimes/{runtime_id}/trials/1"]
    series = good(query_series.sync(client=client, parents=parents, keys=["train/loss"], bucket_count=1_000)).series[0]
    shown = good(get_runtime.sync(runtime_id, client=client)).runtime
    good(delete_runtime.sync(runtime_id, client=client, x_milepost_csrf=CSRF))
    gone = get_runtime.sync(runtime_id, client=client)
    assert isinstance(gone, Problem)
    seen = {
        "runtime_id": runtime_id,
        "statuses": statuses,
        "steps": series.first_steps,
        "values": series.lasts,
        "every_steps": shown.configuration.snapshots.every_steps,
        "after_delete": gone.code,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
