"""The guide to rules, done as it stands: its files are written, its commands run, in the order of the page."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.rule.v1 import rule_service_pb2 as rule_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from tests.e2e.stack import ROOT, StackProcess, until
from tests.support.programs.guides import GUIDES
from tests.support.servers.ports import free_ports

BLOCKS = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PORT = "8099"


class Reader:
    """Somebody who follows the guide in a folder of their own."""

    def __init__(self, stack: StackProcess, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.port = free_ports(1)[0]
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(stack.data_dir)}
        self.said: dict[str, str] = {}
        self.started: list[subprocess.Popen[bytes]] = []

    def write(self, text: str) -> None:
        """Write a file whose first line is a comment with its name."""
        name = text.splitlines()[0].removeprefix("# ")
        (self.folder / name.replace("~/.milepost", str(self.stack.data_dir))).write_text(text)

    def run(self, line: str) -> None:
        """Run a command as it stands in the guide."""
        words = [sys.executable if word == "python" else word for word in shlex.split(line.removesuffix(" &"))]
        if words[0] == "milepost":
            words[:1] = [sys.executable, "-m", "milepost"]
        if line.endswith(" &"):
            with (self.folder / "received.txt").open("wb") as output:
                self.started.append(
                    subprocess.Popen(words, cwd=self.folder, env=self.environment, stdout=output, stderr=output)
                )
            until(self._listens, "the receiver listens")
            return
        if " rule test " in line:
            until(self._is_stored, "what the script has logged is stored")
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        self.said[line] = done.stdout

    def _is_stored(self) -> bool:
        """A rule is tried on stored points."""
        # Others have left runs in this stack, some of them in progress for ever.
        listed = runtime_api.ListRuntimesRequest(filter="name=divergent", page_size=1)
        (newest,) = self.stack.client.runtimes.ListRuntimes(listed).runtimes
        known = self.stack.completeness(newest.name)
        return 0 < known.sent_points == known.stored_points and not known.still_writing

    def _listens(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def received(self) -> str:
        return (self.folder / "received.txt").read_text()


@contextmanager
def reading(stack: StackProcess, folder: Path) -> Iterator[Reader]:
    """Follow the whole guide."""
    reader = Reader(stack, folder)
    text = (GUIDES / "reactions.md").read_text().replace(PORT, str(reader.port))
    try:
        for language, block in BLOCKS.findall(text):
            if language != "console":
                reader.write(block)
                continue
            for line in block.splitlines():
                reader.run(line.removeprefix("$ "))
        yield reader
    finally:
        for process in reader.started:
            process.terminate()
            process.wait()


def _is_whole(known: metric_api.GetCompletenessResponse) -> bool:
    return 0 < known.sent_points == known.stored_points and not known.still_writing


def check_rescue(stack: StackProcess, reader: Reader) -> None:
    """The run that diverged was rolled back by the rule and completed; its curve and its log tell it all."""
    request = runtime_api.ListRuntimesRequest(filter="name=steep")

    def completed() -> runtime_api.Runtime | None:
        (run,) = stack.client.runtimes.ListRuntimes(request).runtimes
        events = stack.client.runtimes.ListEvents(runtime_api.ListEventsRequest(parent=run.name, page_size=1000)).events
        back = any(event.trial_event.HasField("trial_roll_back_requested") for event in events)
        return run if back and run.status == runtime_api.RUNTIME_STATUS_COMPLETED else None

    run = until(completed, "the run was rolled back and has completed")
    assert run.labels["rescued"] == "yes"
    events = stack.client.runtimes.ListEvents(runtime_api.ListEventsRequest(parent=run.name, page_size=1000)).events
    launched = [event for event in events if event.trial_event.HasField("attempt_launched")][-1]
    assert launched.trial_event.attempt_launched.snapshot_step == 150
    # From the new attempt to the firing, and to the attempt in which the point was.
    behind = runtime_api.ListEventsRequest(parent=run.name, behind_event_id=launched.event_id)
    chain = stack.client.runtimes.ListEvents(behind).events
    kinds = [event.type.split(".")[2] for event in chain]
    at = kinds.index("rule_fired")
    assert kinds[0] == "attempt_launched" and "trial_roll_back_requested" in kinds[:at], kinds
    assert kinds[at + 1 :][:2] == ["attempt_started", "attempt_launched"], kinds
    fired = chain[at].rule_event.rule_fired
    (firing,) = stack.client.rules.ListFirings(rule_api.ListFiringsRequest(parent="rules/rescue")).firings
    assert [(one.kind, one.state) for one in firing.actions] == [
        ("label", rule_api.ACTION_STATE_TAKEN), ("roll_back", rule_api.ACTION_STATE_TAKEN),
    ]  # fmt: skip
    curve = metric_api.QuerySeriesRequest(
        parents=[f"{run.name}/trials/1"], keys=["train/loss"], bucket_count=10_000, include_superseded=True
    )
    until(lambda: _is_whole(stack.completeness(run.name)), "everything is stored")
    pieces = {piece.attempt: piece for piece in stack.client.metrics.QuerySeries(curve).series if piece.superseded}
    assert 151 == pieces[1].first_steps[0] <= fired.step <= pieces[1].last_steps[-1]
    (whole,) = [piece for piece in stack.client.metrics.QuerySeries(curve).series if not piece.superseded]
    assert (whole.last_steps[-1], max(whole.means) < 1_000) == (300, True)
    assert "rolled trial 1 back to the snapshot at step 150" in reader.said["milepost rule firings rescue"]


def test_the_guide_to_reactions(stack: StackProcess, tmp_path: Path) -> None:
    """The rule finds on the past what it finds live, and the receiver is told of that, of the alert and of the end."""
    with reading(stack, tmp_path) as reader:
        tried = reader.said["milepost rule test rule.yaml --since 30d"]
        assert re.search(r"would have fired +1 times?, in 1 run", tried), tried
        assert re.search(r"false alarms +1", tried), tried

        def told(words: str) -> None:
            until(lambda: words in reader.received(), f"the receiver is told {words}")

        told("[critical] diverges in rt-")
        told("[warning] raised in rt-")
        told("Beyond hope: the loss is 1.")
        told("over: [critical] diverges in rt-")
        assert reader.received().count("over: ") == 1
        listed = rule_api.ListFiringsRequest(parent="rules/diverges")
        (firing,) = stack.client.rules.ListFirings(listed).firings
        assert f"at step {firing.fired.step}\n" in tried, "it fires live where it would have"
        check_rescue(stack, reader)
    for rule_id in ("diverges", "raised", "rescue"):
        stack.client.rules.DeleteRule(rule_api.DeleteRuleRequest(name=f"rules/{rule_id}"))
