"""`milepost rule ...`"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import click
import yaml

from milepost.api.config.v1.rule_pb2 import Rule
from milepost.api.rule.v1 import rule_service_pb2 as rule_api
from milepost.cli import output
from milepost.cli.connection import connected, output_option, runtime_name
from milepost.cli.exits import Exit
from milepost.cli.output import JSON, say
from milepost.client import Client
from milepost.errors import InvalidArgument, Violation
from milepost.protojson import from_json, to_json

_UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"([0-9]{1,6})([mhdw])")


@click.group()
def rule() -> None:
    """Watch runs for what you name: make rules, try them on the past, see what they found."""


def read_rules(text: str) -> list[tuple[str, Rule]]:
    """Read the rules of a file: one, or several under `rules:`. Returns the id of each (empty: none is named) with it.

    Raises:
        InvalidArgument: with everything that is wrong, by field.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidArgument([Violation("rule", f"is not YAML: {error}")]) from error
    several = isinstance(content, dict) and set(content) == {"rules"} and isinstance(content["rules"], list)
    found, violations = [], []
    first: dict[str, int] = {}
    for number, values in enumerate(content["rules"] if several else [content]):
        path = f"rules[{number}]" if several else "rule"
        if not isinstance(values, dict):
            violations.append(Violation(path, "must be a mapping with a detector"))
            continue
        rule_id = str(values.pop("id", "") or "")
        if rule_id and first.setdefault(rule_id, number) != number:
            violations.append(Violation(f"{path}.id", f"is that of rules[{first[rule_id]}] too: {rule_id[:80]!r}"))
        _write_parameters(values)
        try:
            found.append((rule_id, from_json(values, Rule)))
        except InvalidArgument as error:
            violations += [Violation(f"{path}.{one.field}", one.description) for one in error.violations]
    if violations:
        raise InvalidArgument(violations)
    return found


def _write_parameters(values: dict[str, object]) -> None:
    """Write the parameters of roll backs as texts, as the contract has them: a file has numbers."""
    actions = values.get("actions")
    for action in actions if isinstance(actions, list) else ():
        back = action.get("roll_back") if isinstance(action, dict) else None
        given = back.get("parameters") if isinstance(back, dict) else None
        if isinstance(back, dict) and isinstance(given, dict):
            back["parameters"] = {
                name: text if isinstance(text, str) else json.dumps(text) for name, text in given.items()
            }


def _text_of(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not readable: {error}") from error


@rule.command()
@click.argument("file")
@click.option("--id", "rule_id", default="", help="Its id; default: the `id` of the file, else a new one.")
@click.option("--validate-only", is_flag=True, help="Check it and show it with every default; make nothing.")
@output_option
@connected
def create(client: Client, file: str, rule_id: str, validate_only: bool, form: str) -> None:
    """Make the rule of a YAML file (`-` for stdin), or several under `rules:`."""
    read = read_rules(_text_of(file))
    if rule_id and len(read) != 1:
        raise click.UsageError(f"--id names one rule, and there are {len(read)}")
    _make(client, [(rule_id or own, given) for own, given in read], validate_only, form)


@rule.command()
@output_option
@connected
def install(client: Client, form: str) -> None:
    """Make ten rules that most people want; they watch only. Again it changes nothing."""
    text = resources.files("milepost.recipes").joinpath("rules.yaml").read_text()
    _make(client, read_rules(text), False, form)


def _make(client: Client, rules: Sequence[tuple[str, Rule]], validate_only: bool, form: str) -> None:
    if len(rules) > 1:
        _check(client, rules)
    for rule_id, given in rules:
        request = rule_api.CreateRuleRequest(rule_id=rule_id, rule=given, validate_only=validate_only)
        answer = client.rules.CreateRule(request)
        for warning in answer.warnings:
            say(f"warning: {warning}")
        if form == JSON or validate_only:
            output.print_json(answer.rule)
        else:
            output.show(answer.rule.name.removeprefix("rules/"))


def _check(client: Client, rules: Sequence[tuple[str, Rule]]) -> None:
    """Have all rules of a file checked before the first is made.

    Raises:
        InvalidArgument: with everything that is wrong, by the number of the rule and the field.
    """
    violations: list[Violation] = []
    for number, (rule_id, given) in enumerate(rules):
        try:
            client.rules.CreateRule(rule_api.CreateRuleRequest(rule_id=rule_id, rule=given, validate_only=True))
        except InvalidArgument as error:
            for one in error.violations:
                violations.append(Violation(f"rules[{number}].{one.field.removeprefix('rule.')}", one.description))
    if violations:
        raise InvalidArgument(violations)


@rule.command("list")
@click.option("--runtime", default="", help="Those of the configuration of this run.")
@output_option
@connected
def list_rules(client: Client, runtime: str, form: str) -> None:
    """List the rules, by id."""
    request = rule_api.ListRulesRequest(page_size=1_000, runtime=runtime_name(client, runtime) if runtime else "")
    rules: list[Rule] = []
    while True:
        answer = client.rules.ListRules(request)
        rules += answer.rules
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    if form == JSON:
        output.print_json([to_json(item) for item in rules])
        return
    headings = ("ID", "NAME", "DETECTOR", "SEVERITY", "STATE", "SELECTS", "OWNER")
    output.print_table(headings, [_row(item) for item in rules])


def _row(item: Rule) -> tuple[object, ...]:
    state = "disabled" if item.disabled else "watching only" if item.watching_only else "acting"
    detector = (item.detector.WhichOneof("kind") or "").replace("_", " ")
    return (
        item.name.removeprefix("rules/"), item.display_name, detector, output.enum_word(item, "severity"), state,
        item.selector or "all", item.owner,
    )  # fmt: skip


@rule.command()
@click.argument("rule_id")
@connected
def get(client: Client, rule_id: str) -> None:
    """Show a rule, as JSON."""
    output.print_json(client.rules.GetRule(rule_api.GetRuleRequest(name=_name(rule_id))).rule)


@rule.command()
@click.argument("rule_id")
@click.argument("file")
@click.option("--etag", default="", help="Only if it is still the rule with this etag.")
@output_option
@connected
def update(client: Client, rule_id: str, file: str, etag: str, form: str) -> None:
    """Replace a rule by that of a YAML file. A disabled one watches again."""
    read = read_rules(_text_of(file))
    if len(read) != 1:
        raise click.UsageError(f"one rule is replaced by one, and there are {len(read)}")
    request = rule_api.UpdateRuleRequest(name=_name(rule_id), rule=read[0][1], etag=etag)
    answer = client.rules.UpdateRule(request)
    for warning in answer.warnings:
        say(f"warning: {warning}")
    if form == JSON:
        output.print_json(answer.rule)
    else:
        output.show(f"revision {answer.rule.revision}")


@rule.command()
@click.argument("rule_id")
@connected
def disable(client: Client, rule_id: str) -> None:
    """Have a rule fire no more, until it is updated."""
    client.rules.DisableRule(rule_api.DisableRuleRequest(name=_name(rule_id)))


@rule.command()
@click.argument("rule_id")
@connected
def delete(client: Client, rule_id: str) -> None:
    """Remove a rule. What it has found stays."""
    client.rules.DeleteRule(rule_api.DeleteRuleRequest(name=_name(rule_id)))


@rule.command()
@click.argument("rule_id", default="-")
@click.option("--runtime", default="", help="Of this run only.")
@click.option("--open", "open_only", is_flag=True, help="Only what is not over.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@output_option
@connected
def firings(client: Client, rule_id: str, runtime: str, open_only: bool, limit: int, form: str) -> None:
    """List what a rule found, or all of them, newest first."""
    request = rule_api.ListFiringsRequest(
        parent=_name(rule_id),
        runtime=runtime_name(client, runtime) if runtime else "",
        open_only=open_only,
        page_size=limit,
    )
    answer = client.rules.ListFirings(request)
    if form == JSON:
        output.print_json(answer)
        return
    rows = [
        (
            output.moment(item.fired.occur_time), item.fired.rule_id, item.runtime.removeprefix("runtimes/"),
            item.fired.trial or "", item.fired.step or "", _end(item), _followed(item), item.fired.message,
        )
        for item in answer.firings
    ]  # fmt: skip
    output.print_table(("TIME", "RULE", "RUNTIME", "TRIAL", "STEP", "END", "FOLLOWED BY", "WHAT"), rows)


def _followed(item: rule_api.Firing) -> str:
    """Return what the rule did: each action with what came of it."""
    said = []
    for action in item.actions:
        state = output.enum_word(action, "state").lower()
        what = action.detail if state == "taken" else f"{action.kind.replace('_', ' ')} {state}"
        said.append(f"{what}: {action.detail}" if action.detail and state != "taken" else what)
    return "; ".join(said)


def _end(item: rule_api.Firing) -> str:
    if item.fired.momentary:
        return ""
    return output.enum_word(item.cleared, "reason").lower().replace("_", " ") if item.HasField("cleared") else "open"


@rule.command()
@click.argument("target")
@click.option(
    "--since", default="90d", show_default=True, help="Of runs made since: 90d, 12h, or a time as in RFC 3339."
)
@click.option(
    "--runs", "max_runs", default=200, show_default=True, type=click.IntRange(1, 10_000), help="At most so many."
)
@output_option
@connected
def test(client: Client, target: str, since: str, max_runs: int, form: str) -> int:
    """Play a rule (its id, or a YAML file) over stored runs: where it would have fired, what it missed."""
    request = rule_api.TestRuleRequest(max_runs=max_runs)
    request.start_time.FromDatetime(start_of(since, datetime.now(UTC)))
    if target == "-" or Path(target).is_file():
        read = read_rules(_text_of(target))
        if len(read) != 1:
            raise click.UsageError(f"one rule is tried at a time, and there are {len(read)}")
        request.rule.CopyFrom(read[0][1])
    elif target.endswith((".yaml", ".yml", ".json")):
        # No id has a dot.
        raise click.UsageError(f"there is no file {target}")
    else:
        request.name = _name(target)
    for answer in client.rules.TestRule(request):
        if form == JSON:
            output.print_json_line(answer)
        elif answer.HasField("run"):
            _show_run(answer.run)
        else:
            _show_summary(answer.summary)
    return Exit.OK


def _show_run(run: rule_api.TestedRun) -> None:
    if not run.firings and not run.failed:
        return
    lead = f", {output.duration(run.lead_seconds)} before it failed" if run.HasField("lead_seconds") else ""
    missed = ", failed and was not foreseen" if run.failed and not lead else ""
    count = f"{len(run.firings)} firing{'' if len(run.firings) == 1 else 's'}"
    output.show(f"{run.runtime.removeprefix('runtimes/')}  {run.display_name}: {count}{lead}{missed}")
    for fired in run.firings:
        place = f"trial {fired.trial}: " if fired.trial else ""
        output.show(f"  {output.moment(fired.occur_time)}  {place}{fired.message}")


def _show_summary(summary: rule_api.TestSummary) -> None:
    more = " (there are more)" if summary.truncated else ""
    lead = f", median {output.duration(summary.median_lead_seconds)} before" if summary.foreseen_count else ""
    output.print_fields(
        [
            ("runs", f"{summary.run_count:,}{more}"),
            ("would have fired", f"{summary.firing_count:,} times, in {summary.fired_run_count:,} runs"),
            ("failed runs foreseen", f"{summary.foreseen_count:,} of {summary.failed_run_count:,}{lead}"),
            ("failed runs missed", f"{summary.missed_count:,}"),
            ("false alarms", f"{summary.false_alarm_count:,} runs that did not fail"),
            ("points", f"{summary.point_count:,}"),
        ]
    )


def start_of(text: str, now: datetime) -> datetime:
    """Read since when: so long before now, or a time.

    Raises:
        UsageError: it is neither.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return now - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise click.UsageError(f"--since is like 90d, 12h or 2026-01-31T10:00:00Z, not {text!r}") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _name(rule_id: str) -> str:
    return f"rules/{rule_id.removeprefix('rules/')}"
