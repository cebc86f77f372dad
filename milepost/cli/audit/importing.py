"""What `milepost audit import` does: put a bundle that verifies where the services of this host look for it."""

from __future__ import annotations

import getpass
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from milepost import files
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.bundle import Bundle, NotABundle, imports_folder, open_bundle, signer_of
from milepost.cli.audit.bundles import examine, signed_words
from milepost.cli.exits import Exit
from milepost.cli.output import say, show
from milepost.client import Client
from milepost.errors import NotFound, Unavailable
from milepost.eventlog.codec import format_time
from milepost.ids import is_token
from milepost.installation import endpoints
from milepost.installation.settings import Settings
from milepost.security.tokens import make_private_directory, write_private

SHOWN_SECONDS = 60.0
POLL_SECONDS = 0.2
# Services that have not answered after this do not run.
ANSWER_SECONDS = 2.0


def import_file(settings: Settings, file: Path) -> int:
    """Verify a bundle, keep it, and wait until it is shown, if services run. Returns an exit status."""
    try:
        bundle = open_bundle(file)
        wrong = [finding for finding in examine(file)[0] if finding.is_open]
    except NotABundle as error:
        raise click.ClickException(str(error)) from error
    if wrong:
        raise click.ClickException(f"{file} was changed: {wrong[0].message}")
    name = f"runtimes/{bundle.runtime_id}"
    with Client(endpoints.find(str(settings.data_dir))) as client:
        answers = _answers(client)
        known = _known(client, name) if answers else None
        if known is not None and not known.HasField("imported"):
            say(f"error: {bundle.runtime_id} is a runtime of this installation; its own history is the one to look at")
            return Exit.PRECONDITION
        if known is not None and known.imported.sha256 == bundle.sha256:
            say(f"{bundle.runtime_id} is imported already, from the same bundle")
            return Exit.OK
        _keep(imports_folder(settings.data_dir), bundle)
        said = f"{len(bundle.events):,} events of {bundle.runtime_id}, exported {format_time(bundle.created)}"
        said += f", {signed_words(signer_of(file))}"
        if not answers:
            say(f"{said}: they are shown when the services start")
            return Exit.OK
        if not _wait_shown(client, name, bundle.sha256):
            say(f"error: the services have not opened it in {SHOWN_SECONDS:.0f} s; their log says why")
            return Exit.TIMEOUT
        say(f"{said}: imported")
        show(f"{client.endpoints.gateway}/{name}")
    return Exit.OK


def forget(settings: Settings, name: str) -> int:
    """Remove an imported bundle. Returns an exit status."""
    runtime_id = name.removeprefix("runtimes/")
    path = imports_folder(settings.data_dir) / f"{runtime_id}.zip"
    if not is_token(runtime_id) or not path.exists():
        say(f"error: {runtime_id} is not imported")
        return Exit.NOT_FOUND
    path.unlink()
    path.with_suffix(".json").unlink(missing_ok=True)
    say(f"{runtime_id} is shown no longer")
    return Exit.OK


def _keep(folder: Path, bundle: Bundle) -> None:
    """Copy the bundle and say who brought it; the bundle last, so that services never see it alone."""
    make_private_directory(folder)
    beside = {"time": format_time(datetime.now(UTC)), "actor": f"local:{getpass.getuser()}", "sha256": bundle.sha256}
    write_private(folder / f"{bundle.runtime_id}.json", json.dumps(beside).encode())
    files.copy(bundle.path, folder / f"{bundle.runtime_id}.zip", mode=0o600)


def _known(client: Client, name: str) -> api.Runtime | None:
    try:
        return client.runtimes.GetRuntime(api.GetRuntimeRequest(name=name, show_deleted=True)).runtime
    except (NotFound, Unavailable):
        return None


def _answers(client: Client) -> bool:
    try:
        client.runtimes.ListRuntimes(api.ListRuntimesRequest(page_size=1), timeout=ANSWER_SECONDS)
    except Unavailable:
        return False
    return True


def _wait_shown(client: Client, name: str, sha256: str) -> bool:
    """Wait until the runtime, its trials and its points are answered for."""
    from milepost.api.metric.v1 import metric_service_pb2 as metric_api
    from milepost.api.trial.v1 import trial_service_pb2 as trial_api

    deadline = time.monotonic() + SHOWN_SECONDS
    while time.monotonic() < deadline:
        known = _known(client, name)
        if known is not None and known.imported.sha256 == sha256:
            try:
                client.trials.ListTrials(trial_api.ListTrialsRequest(parent=name, page_size=1))
                told = client.metrics.GetCompleteness(metric_api.GetCompletenessRequest(parent=name))
                # A metric service of an earlier version says it by what it has, which may be nothing.
                if told.imported or told.senders or not known.HasField("start_time"):
                    return True
            except (NotFound, Unavailable):
                # That service has not opened it yet.
                pass
        time.sleep(POLL_SECONDS)
    return False
