"""What schemathesis is told of a stack beside its document: which things there are, and what a refusal may be for.

It loads this module by the variable SCHEMATHESIS_HOOKS. What it may use it finds in the file of MILEPOST_TEST_THINGS, and
it writes a line for each answer into the file of MILEPOST_TEST_ANSWERS.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import zlib
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import converter
from schemathesis.specs.openapi.coverage import _operation as coverage

THINGS: dict[str, Any] = json.loads(Path(os.environ["MILEPOST_TEST_THINGS"]).read_text())
ANSWERS = Path(os.environ["MILEPOST_TEST_ANSWERS"])
# Commands change what they are given to, so they get what nobody else looks at.
COMMANDS = (
    *(
        ":stop",
        ":resume",
        ":clone",
        ":branch",
        ":label",
        ":snapshot",
        ":evaluate",
        ":recordStacks",
        ":rollBack",
        ":steer",
    ),
    ":undelete",
)
STARTING = ("/runtimes", ":clone", ":branch")
# They change what others look at, but nothing of what those see.
PINS = (":pinSnapshot", ":unpinSnapshot")
RUNTIME_ID = re.compile("rt-[0-9a-v]{26}")
REAL_SHARE = 0.8
# One of so many rules that are sent as a part of a configuration.
RULES_OF_CONFIGURATIONS = 8
# Answers that follow from what there is, in what state it is, and how much of it there may be.
STATE_STATUSES = frozenset({404, 409, 429})
STATE_CODES = frozenset({"OUT_OF_RANGE"})
# What no JSON Schema can say, by how the field begins and by what the refusal says.
NOT_IN_THE_DOCUMENT = (
    # Given by an answer, to the same query.
    ("page_token", "is not one that"),
    # Grammars.
    ("filter", ""),
    ("regular_expression", ""),
    # What the operator has listed, and what is stored; what a run that a rule starts is made of; two fields together.
    ("rule.actions[", ""),
    # Which parameters and labels the run has, and what is given with what.
    ("parameters", ""),
    ("factors.", ""),
    ("labels", "a runtime has at most"),
    ("removed_labels", "is set, too"),
    ("rule.detector.baseline", ""),
    ("configuration_text", ""),
    ("configuration_changes_text", ""),
    ("parameters_text", ""),
    ("parameters.", "is no parameter of this trial"),
    ("rule.selector", ""),
    ("rules[", "is no value as it would stand in a configuration"),
    ("rules[", "only one of configuration_text, runtime may be given"),
    ("rules[", "is for a rule of its own"),
    ("slurm", "is for launcher: slurm"),
    # Ids of a list, each once.
    ("rules[", "is that of rules["),
    ("rules[", "is not a pattern of RE2"),
    ("rule.detector.log_pattern.pattern", ""),
    # Two parameters together: OpenAPI 3.1 describes each alone.
    ("last_step", "must not be before first_step"),
    ("runtime_ids", "belong to the parent runtimes/- only"),
    ("skip", "must not be given without limit"),
    ("limit", "must not be given with include_superseded"),
    # Two numbers: JSON Schema compares with constants only.
    ("search.space.", "must not be below the minimum"),
    # What lies within a space is said by the space; how far whole numbers go for a sampler, by its kind.
    ("search.points", ""),
    ("search.space", "must have at least two ranges"),
    ("search.space.", "must lie within"),
    # What there is where it would run.
    ("entrypoint", "there is no "),
    ("working_directory", "there is no folder"),
    ("snapshots.storage", ""),
    ("rule.detector.baseline.", "there is no"),
    ("rule.detector.baseline.", "has no finite value"),
    # What looks like a secret, by its name or its text.
    ("", "looks like a secret"),
)

# The longest text whose length is made a part of its pattern. One that counts to 262,144 takes seconds to compile, each time,
# is refused in the end with all that it is a part of, and says no more than the two of them apart.
MAX_COUNTED = 10_000
_count_in_pattern = converter.update_pattern_in_schema
_counted = coverage.update_quantifier


def _count_short_ones(schema: dict[str, Any]) -> None:
    if schema.get("maxLength", 0) <= MAX_COUNTED:
        _count_in_pattern(schema)


@functools.cache
def _counted_if_short(pattern: str, min_length: int | None, max_length: int | None) -> str:
    return _counted(pattern, min_length, max_length) if (max_length or 0) <= MAX_COUNTED else pattern


converter.update_pattern_in_schema = _count_short_ones
coverage.update_quantifier = _counted_if_short


def _is_negative(case: Any) -> bool:
    return bool(case.meta is not None and case.meta.generation.mode.is_negative)


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Send some of the rules of configurations only: they are those of `POST /api/v1/rules`, which gets each of them."""
    if case.meta is None or case.operation.label != "POST /api/v1/runtimes":
        return True
    description = getattr(case.meta.phase.data, "description", None) or ""
    return "'rules' value: " not in description or zlib.crc32(description.encode()) % RULES_OF_CONFIGURATIONS == 0


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Let most requests be about things that there are, and none start what runs on for long.

    What is drawn follows from the request, so that the same one is the same again.
    """
    if case.meta is None:
        return
    chance = random.Random(repr((case.operation.label, case.path_parameters, case.query, case.body)))
    if isinstance(case.path_parameters, dict) and not case.meta.is_negative_at(ParameterLocation.PATH):
        case.path_parameters = _real_path(chance, case)
    if isinstance(case.query, dict):
        case.query = _real_query(chance, case.query, case.meta.is_negative_at(ParameterLocation.QUERY))
    if isinstance(case.body, dict):
        if chance.random() < REAL_SHARE and not case.meta.is_negative_at(ParameterLocation.BODY):
            _fill_in(case)
        if case.operation.path.endswith(STARTING):
            _only_check(chance, case)


def _fill_in(case: Any) -> None:
    """Give some bodies what hardly any that was made up has: a rule that can be made, a configuration that can be read."""
    body = dict(case.body)
    path = case.operation.path
    if path.endswith(("/rules", "/rules:test")) and "rule" in body:
        body["rule"] = {"detector": {"not_finite": {}}}
    if path.endswith("/rules:test") and "name" in body:
        body["name"] = f"rules/{THINGS['rules'][0]}"
    if path.endswith("/runtimes") and case.meta.phase.name.value != "coverage" and body.get("configuration_text"):
        body.pop("configuration_text")
        body["configuration"] = {"entrypoint": THINGS["entrypoint"], "working_directory": THINGS["folder"]}
    if path.endswith(("{runtime}:stop", "{trial}:stop")):
        # A script is never stopped otherwise, and another one not with the same id.
        body["mode"] = "GRACEFUL"
        body.pop("request_id", None)
    if path.endswith(PINS):
        body.pop("snapshot_id", None)
        body["step"] = THINGS["snapshot_step"]
    case.body = body


def _real_path(chance: random.Random, case: Any) -> dict[str, Any]:
    given = dict(case.path_parameters)
    # One that a start has made, in the steps before this one, is what this step is about.
    if "runtime" in given and RUNTIME_ID.fullmatch(str(given["runtime"])) is None:
        changed = case.operation.method.upper() == "DELETE" or case.operation.path.endswith(COMMANDS)
        # A script that says nothing is given up after half a minute, and only one in progress can be stopped.
        stopped = case.operation.path.endswith(":stop") and not case.meta.is_negative_at(ParameterLocation.BODY)
        given["runtime"] = _new_script() if stopped else chance.choice(THINGS["sacrificed" if changed else "runtimes"])
    if "trial" in given:
        given["trial"] = 1
    if "rule" in given:
        given["rule"] = chance.choice(
            THINGS["sacrificed_rules" if case.operation.method.upper() == "DELETE" else "rules"]
        )
    return given


def _new_script() -> str:
    body = {"configuration": {"launcher": "external"}}
    made = httpx.post(f"{THINGS['gateway']}/api/v1/runtimes", json=body, headers={"x-milepost-csrf": "1"}, timeout=30)
    made.raise_for_status()
    return str(made.json()["runtime"]["runtime_id"])


def _real_query(chance: random.Random, generated: dict[str, Any], negative: bool) -> dict[str, Any]:
    query = dict(generated)
    # It never ends.
    if str(query.get("follow", "")).lower() == "true":
        query["follow"] = "false"
    for name, values in THINGS["query"].items():
        if name in query and not negative and chance.random() < REAL_SHARE:
            given = query[name]
            several = isinstance(given, list)
            query[name] = (
                chance.sample(values, min(len(values), max(len(given), 2))) if several else chance.choice(values)
            )
    return query


def _only_check(chance: random.Random, case: Any) -> None:
    """Start nothing that is launched: a script of one's own is only written down."""
    body = dict(case.body)
    stateful = case.meta.phase.name.value == "stateful"
    if stateful and "runtime" not in (case.path_parameters or {}):
        body.update(configuration={"launcher": "external"}, configuration_text=None, validate_only=False)
    configuration: Any = body.get("configuration")
    named = isinstance(configuration, dict)
    negative = case.meta.is_negative_at(ParameterLocation.BODY)
    if named and not negative and configuration.get("launcher") != "external" and chance.random() < REAL_SHARE:
        body["configuration"] = {
            **configuration,
            "entrypoint": THINGS["entrypoint"],
            "working_directory": THINGS["folder"],
        }
        body["configuration"].pop("code", None)
    launched = not (named and configuration.get("launcher") == "external")
    if launched and body.get("validate_only", False) in (None, False):
        body["validate_only"] = True
    case.body = body


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Write down what was answered, for the test to count."""
    line = {
        "operation": case.operation.label,
        "phase": case.meta.phase.name.value if case.meta is not None else "",
        "negative": _is_negative(case),
        "status": response.status_code,
        "seconds": response.elapsed,
        "reason": _problem(response).get("reason", "") if 400 <= response.status_code < 500 else "",
        "refused": [] if response.status_code != 400 else _refusals(_problem(response)),
    }
    with ANSWERS.open("a") as file:
        print(json.dumps(line), file=file)


@schemathesis.check
def what_the_document_allows_is_accepted(ctx: Any, response: Any, case: Any) -> None:
    """A request that the document allows is refused for what there is, or for a rule that no schema can say."""
    if case.meta is None or _is_negative(case) or response.status_code < 400 or response.status_code >= 500:
        return
    problem = _problem(response)
    if response.status_code in STATE_STATUSES and problem.get("reason") != "NO_SUCH_PATH":
        return
    if problem.get("code") in STATE_CODES:
        return
    unexplained = [refusal for refusal in _refusals(problem) if not _is_explained(*refusal)]
    assert problem.get("violations") and not unexplained, f"refused what the document allows: {unexplained or problem}"


def _problem(response: Any) -> dict[str, Any]:
    problem = response.json()
    return problem if isinstance(problem, dict) else {}


def _refusals(problem: dict[str, Any]) -> list[tuple[str, str]]:
    return [(violation["field"], violation["description"]) for violation in problem.get("violations", [])]


def _is_explained(field: str, description: str) -> bool:
    return any(field.startswith(start) and words in description for start, words in NOT_IN_THE_DOCUMENT)
