"""`milepost audit ...`"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from milepost.api.audit.v1 import audit_service_pb2 as audit_api
from milepost.api.event.v1 import options_pb2
from milepost.api.event.v1 import recorded_event_pb2 as event_api
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.bundle import NotABundle, signer_of
from milepost.cli import output
from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, open_client, output_option, runtime_name
from milepost.cli.exits import Exit
from milepost.cli.output import JSON, say
from milepost.cli.runs.following import progress_line
from milepost.cli.runs.history import EventPrinter
from milepost.cli.runs.runtimes import print_runtime
from milepost.cli.tokens import with_settings
from milepost.client import Client
from milepost.installation.settings import Settings


class _Time(click.ParamType):
    """A time; without a time zone, that of this machine."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return datetime.fromisoformat(str(value)).astimezone(UTC)
        except ValueError:
            self.fail(f"{value!r} is no time like 2026-01-31T10:00:00+00:00", param, ctx)


TIME = _Time()
CATEGORIES: dict[str, options_pb2.Category] = {
    name.removeprefix("CATEGORY_").lower(): getattr(options_pb2, name) for name in options_pb2.Category.keys()[1:]
}


@click.group()
def audit() -> None:
    """See any past moment, and prove that the log is whole."""


def as_of(text: str | None) -> event_api.AsOf:
    """Read a moment: a sequence of events, `events/telemetry`, or a time with a time zone.

    Raises:
        click.BadParameter: it is none of these.
    """
    moment = event_api.AsOf()
    if not text:
        return moment
    events, _, telemetry = text.partition("/")
    if events.isdigit() and (telemetry.isdigit() or not telemetry):
        moment.events_sequence = int(events)
        moment.telemetry_sequence = int(telemetry or 0)
        return moment
    try:
        moment.time.FromDatetime(datetime.fromisoformat(text).astimezone(UTC))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is neither a sequence nor a time like 2026-01-31T10:00:00+00:00") from error
    return moment


@audit.command()
@run_argument(default="-")
@click.option("--after", default=0, help="Events after this sequence.")
@click.option("--until", default=0, help="Up to this sequence; 0: to the end.")
@click.option("--since", type=TIME, help="Events recorded at or after this time.")
@click.option("--before", type=TIME, help="Events recorded before this time.")
@click.option("--trial", default=0, help="Events of this trial.")
@click.option("--category", "categories", multiple=True, type=click.Choice(list(CATEGORIES), case_sensitive=False))
@click.option("--type", "types", multiple=True, help="Events of this type, such as milepost.trial.alert_raised.v1.")
@click.option("--actor", default="", help="Events behind which this actor is.")
@click.option("-f", "--follow", "follow_on", is_flag=True, help="Go on with new events.")
@output_option
@connected
def replay(
    client: Client,
    name: str,
    after: int,
    until: int,
    since: datetime | None,
    before: datetime | None,
    trial: int,
    categories: tuple[str, ...],
    types: tuple[str, ...],
    actor: str,
    follow_on: bool,
    form: str,
) -> None:
    """Print the events of a runtime, or of the whole platform, in the order of the log.

    What is chosen by options has to fit all of them; of an option that is given several times, one.
    """
    request = audit_api.ReplayEventsRequest(
        parent=runtime_name(client, name), after_sequence=after, until_sequence=until, follow=follow_on
    )
    request.filter.trial, request.filter.actor = trial, actor
    request.filter.types.extend(types)
    request.filter.categories.extend(CATEGORIES[word.lower()] for word in categories)
    if since is not None:
        request.filter.start_time.FromDatetime(since)
    if before is not None:
        request.filter.end_time.FromDatetime(before)
    printer = EventPrinter(form)
    for answer in client.audit.ReplayEvents(request):
        for event in answer.events:
            printer.show(event)


@audit.command()
@run_argument()
@click.option("--at", help="A sequence, events/telemetry, or a time. Default: now.")
@output_option
@connected
def show(client: Client, name: str, at: str | None, form: str) -> None:
    """Show a runtime and its trials as they were at a moment."""
    _print_state(
        client.audit.GetStateAt(audit_api.GetStateAtRequest(name=runtime_name(client, name), as_of=as_of(at))), form
    )


def _print_state(answer: audit_api.GetStateAtResponse, form: str) -> None:
    if form == JSON:
        output.print_json(answer)
        return
    print_runtime(answer.runtime, form)
    for item in answer.trials:
        output.show(progress_line(item))


@audit.command()
@run_argument()
@click.argument("before")
@click.argument("after", required=False)
@output_option
@connected
def diff(client: Client, name: str, before: str, after: str | None, form: str) -> None:
    """Show what changed between two moments; without the second, until now."""
    request = audit_api.DiffStatesRequest(name=runtime_name(client, name), to=as_of(after))
    # `from` is a keyword of Python.
    getattr(request, "from").CopyFrom(as_of(before))
    _print_changes(client.audit.DiffStates(request), form)


def _print_changes(answer: audit_api.DiffStatesResponse, form: str) -> None:
    if form == JSON:
        output.print_json(answer)
        return
    output.print_table(("FIELD", "BEFORE", "AFTER"), [(c.path, c.before, c.after) for c in answer.changes])


@audit.command()
@run_argument(files=True, default="")
@click.option("--read-models", is_flag=True, help="Compare the read models and ClickHouse too.")
@click.option(
    "--key", default="", help="The public key that a bundle must be signed by, as `milepost audit keys` prints it."
)
@click.option("--data-dir", help="Data directory of the stack to talk to (MILEPOST_DATA_DIR).")
@output_option
def verify(name: str, read_models: bool, key: str, data_dir: str | None, form: str) -> int:
    """Check the log of a runtime, all of it, or a bundle (a file). Exit status 1 where something is wrong."""
    if name.endswith(".zip") or Path(name).is_file():
        if not Path(name).is_file():
            raise click.UsageError(f"there is no file {name}")
        return _verify_bundle(Path(name), key, form)
    if key:
        raise click.UsageError("--key is for a bundle: a log has anchors instead")
    with open_client(data_dir) as client:
        return _verify_server(client, name, read_models, form)


def _verify_bundle(path: Path, key: str, form: str) -> int:
    """Check a file without any server."""
    from milepost.cli.audit.bundles import examine, signature_findings, signed_words

    try:
        findings, count, runtime_id = examine(path)
        signed = signed_words(signer_of(path))
        if key:
            findings += signature_findings(path, key)
    except NotABundle as error:
        raise click.ClickException(str(error)) from error
    wrong = sum(finding.is_open for finding in findings)
    verdict = audit_api.VerifyLogResponse(
        checked_events=count,
        total_events=count,
        finished=True,
        valid=not wrong,
        findings=[
            audit_api.Finding(
                kind=f.kind, sequence=f.sequence, subject=f.subject, message=f.message, tolerated=f.tolerated
            )
            for f in findings
        ],
        message=f"{count:,} events of {runtime_id}, "
        + (
            f"{len(findings)} findings"
            if any(f.is_open for f in findings)
            else f"the chains are unbroken, the files are as listed, the state follows from the events; {signed}"
        ),
    )
    return _print_verdict(verdict, form)


def _verify_server(client: Client, name: str, read_models: bool, form: str) -> int:
    request = audit_api.VerifyLogRequest(
        parent=runtime_name(client, name) if name else "", include_read_models=read_models
    )
    verdict = audit_api.VerifyLogResponse()
    for verdict in client.audit.VerifyLog(request):
        if not verdict.finished:
            say(f"{verdict.checked_events:,} of {verdict.total_events:,} events")
    return _print_verdict(verdict, form)


def _print_verdict(verdict: audit_api.VerifyLogResponse, form: str) -> int:
    if form == JSON:
        output.print_json(verdict)
    else:
        for finding in verdict.findings:
            where = f" at {finding.sequence}" if finding.sequence else ""
            without_effect = " (without effect)" if finding.tolerated else ""
            output.show(f"{finding.kind}{where} {finding.subject}: {finding.message}{without_effect}")
        output.show(verdict.message)
    return Exit.OK if verdict.finished and verdict.valid else Exit.FAILED


@audit.command()
@run_argument()
@click.option("--trial", default=1, show_default=True, help="Number of the trial.")
@output_option
@connected
def determinism(client: Client, name: str, trial: int, form: str) -> int:
    """Compare the steps that ran twice, before a crash or a stop and after the resume. Exit status 1: they differ."""
    answer = client.metrics.CheckDeterminism(
        metric_api.CheckDeterminismRequest(parent=f"{runtime_name(client, name)}/trials/{trial}")
    )
    if form == JSON:
        output.print_json(answer)
    else:
        for repetition in answer.repetitions:
            again = ", ".join(map(str, repetition.repeated_by))
            output.show(
                f"steps {repetition.first_step:,} to {repetition.last_step:,} of attempt {repetition.attempt}, "
                f"again in attempt {again}: "
                + ", ".join(
                    f"{series.key} {series.different_points:,} of {series.compared_points:,} differ"
                    for series in repetition.series
                )
            )
        output.show(answer.message)
    return Exit.OK if answer.bit_exact else Exit.FAILED


@audit.command()
@run_argument()
@click.option("-f", "--file", "path", required=True, help="File to write.")
@connected
def export(client: Client, name: str, path: str) -> None:
    """Write one runtime to a file that can be verified without a server."""
    chunks = client.audit.ExportBundle(audit_api.ExportBundleRequest(name=runtime_name(client, name)))
    size = output.write_file(path, (chunk.chunk for chunk in chunks))
    say(f"{size:,} bytes in {path}")


@audit.command()
@output_option
@with_settings
def keys(settings: Settings, form: str) -> None:
    """Print the public key by which this installation signs bundles. Runs on the host of the services.

    Whoever has it can tell a bundle of this installation: milepost audit verify FILE --key ed25519:...
    """
    from milepost.security.signing import BundleKey

    public = BundleKey(settings.keys_dir).public
    if form == JSON:
        output.print_json({"bundles": public})
    else:
        output.show(public)


@audit.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings
def import_bundle(settings: Settings, file: Path) -> int:
    """Show a run of another installation here, from its bundle. Runs on the host of the services.

    The bundle is verified and kept as it is. What it holds can be read like a run of this installation, also on the page,
    is marked as imported everywhere, and cannot be changed.
    """
    from milepost.cli.audit.importing import import_file

    return import_file(settings, file)


@audit.command("forget")
@run_argument()
@with_settings
def forget_import(settings: Settings, name: str) -> int:
    """Show an imported run no longer. Runs on the host of the services."""
    from milepost.cli.audit.importing import forget

    return forget(settings, name)


@audit.command()
@click.option("--reason", required=True, help="Why it is right to go on; it is recorded.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings
def accept(settings: Settings, reason: str, yes: bool) -> int:
    """Go on with a log that lost or changed its past. Runs on the host of the services, on their data directory.

    The decision is itself an event. Services that refused to write go on within seconds.
    """
    # Only this command speaks NATS: the others start faster without it.
    from milepost.cli.audit.acceptance import accept_log

    return accept_log(settings, reason, yes)
