"""A configuration goes round: what is printed of one, anywhere, gives the same configuration when it is given back."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.vendor_web import node
from milepost import configuration as configurations
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.cli.runs.runtimes import read_configuration
from milepost.protojson import from_json, to_json
from services.gateway.app import _prepare_body
from services.gateway.routes import ROUTES
from tests.unit.test_web_functions import WEB

START = next(route for route in ROUTES if route.rpc == "RuntimeService.StartRuntime")

# What one version of YAML or the other reads as no text.
TRAPS = ("1e-3", "1.0e-3", "no", "on", "~", "null", "0o7", "0x1F", "1_000", "2026-01-01", "=", "<<", ".inf", ".5", "")
_texts = st.sampled_from(TRAPS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_shown = st.sampled_from([trap for trap in TRAPS if trap]) | st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Cn", "Co"]), min_size=1, max_size=12
)
_finite = st.floats(allow_nan=False, allow_infinity=False)
_scalars = _texts | _finite | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.none()
_keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-]{0,8}", fullmatch=True) | st.sampled_from(["true", "null", "y", "no"])
_parameters = st.dictionaries(_keys, _scalars, max_size=5)
_ranges = st.tuples(st.floats(1, 10), st.floats(10, 1e6), st.booleans()).map(
    lambda drawn: {"minimum": drawn[0], "maximum": drawn[1], "log_scale": drawn[2]}
)
_searches = st.fixed_dictionaries(
    {
        "kind": st.just("random"),
        "space": st.dictionaries(_keys, _ranges | st.lists(_scalars, min_size=1, max_size=3), min_size=1, max_size=3),
    },
    optional={
        "seed": st.integers(-(2**63), 2**63 - 1),
        "max_trials": st.integers(1, 10_000),
        "max_concurrent_trials": st.integers(1, 1_000),
        "on_trial_failure": st.sampled_from(["continue", "stop"]),
    },
)
_samplers = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["tpe", "gp", "qmc"]),
        "space": st.dictionaries(_keys, _ranges | st.lists(_scalars, min_size=1, max_size=3), min_size=1, max_size=3),
        "objective": st.fixed_dictionaries(
            {"metric": st.just("eval/loss"), "mode": st.sampled_from(["min", "max"])},
            optional={"value": st.sampled_from(["best", "last"])},
        ),
    },
    optional={
        "stop_when": st.fixed_dictionaries(
            {},
            optional={
                "target": st.floats(-1e300, 1e300),
                "no_gain_in_trials": st.integers(1, 10_000),
                "hours": st.floats(0.001, 1e5),
            },
        ),
    },
)
_variables = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
CONFIGURATIONS = st.fixed_dictionaries(
    {
        "entrypoint": st.sampled_from(
            ["milepost.recipes.language_model:train", "train.py:main.fit", "a:b", f"a:{'b' * 300}"]
        )
    },
    optional={
        "name": _shown,
        "parameters": _parameters,
        "search": _searches | _samplers,
        "launcher": st.sampled_from(["local", "ray"]),
        "working_directory": st.just("/data/code"),
        "resources": st.fixed_dictionaries(
            {},
            optional={
                "workers": st.integers(0, 4),
                "cpus_per_worker": st.floats(0.001, 1_024),
                "gpus_per_worker": st.floats(0, 64),
                "memory_gigabytes_per_worker": st.floats(0.001, 100_000),
            },
        ),
        "priority": st.integers(-1_000, 1_000),
        "snapshots": st.fixed_dictionaries(
            {},
            optional={
                "every_steps": st.integers(1, 2**53 - 1),
                "every_minutes": st.floats(0.1, 1e6),
                "keep_last": st.integers(1, 10_000),
                "keep_best": st.fixed_dictionaries({"metric": st.just("eval/größe"), "mode": st.just("max")}),
                "storage": st.just("s3://bucket/a b"),
            },
        ),
        "retries": st.fixed_dictionaries({}, optional={"max_retries": st.integers(0, 100)}),
        "limits": st.fixed_dictionaries({}, optional={"max_duration_seconds": st.floats(0.001, 1e9)}),
        "environment": st.dictionaries(
            st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), _variables | st.just({"secret": "hub-token"}), max_size=3
        ),
        "labels": st.dictionaries(
            st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,8}", fullmatch=True), _shown, max_size=3
        ),
        "not_secret": st.lists(_shown, max_size=2),
    },
)


def by_http(message: RuntimeConfiguration) -> RuntimeConfiguration:
    """Take it from an answer of the HTTP API, and give it back in the body of a start."""
    answer = orjson.loads(orjson.dumps(to_json(api.GetRuntimeResponse(runtime=api.Runtime(configuration=message)))))
    body = json.loads(json.dumps({"configuration": answer["runtime"]["configuration"]}))
    request = from_json(_prepare_body(START, body, {}), api.StartRuntimeRequest)
    return configurations.resolve_text(request.configuration_text)


@settings(max_examples=60, deadline=None)
@given(CONFIGURATIONS)
def test_what_is_printed_of_a_configuration_gives_the_same_configuration(plain: dict[str, Any]) -> None:
    message = configurations.resolve(plain)
    printed = configurations.to_plain(message)
    ways = {
        "the text that was given": configurations.resolve_text(json.dumps(plain)),
        "the command line, as YAML": configurations.resolve_text(configurations.write_text(printed)),
        "the command line, as JSON": configurations.resolve_text(json.dumps(to_json(message), ensure_ascii=False)),
        "HTTP": by_http(message),
        "the page": configurations.resolve_text(configurations.to_text(message)),
        "the typed message": configurations.resolve_message(message),
    }
    assert {way: configurations.digest(found) for way, found in ways.items()} == dict.fromkeys(
        ways, configurations.digest(message)
    )
    assert all(found == message for found in ways.values())
    assert all(configurations.to_plain(found) == printed for found in ways.values())


_typed_values = st.sampled_from(
    ["1.0", "1", "1e-5", "0.30", "18446744073709551615", "true", "null", "no", "x: y", '"1"']
)


@settings(max_examples=2, deadline=None)
@given(st.lists(st.dictionaries(_keys, _typed_values | _shown.map(str.strip).filter(bool)), min_size=20, max_size=60))
def test_what_is_typed_into_the_form_of_the_page_keeps_its_kind(typed: list[dict[str, str]]) -> None:
    forms = [
        {"entrypoint": "a:b", "parameters": "\n".join(f"{name} = {text}" for name, text in one.items())}
        for one in typed
    ]
    program = (
        f"import {{ configurationOf }} from '{WEB}/functions/schema.js'\n"
        f"import {{ yaml }} from '{WEB}/functions/configuration.js'\n"
        f"console.log(JSON.stringify({json.dumps(forms)}.map((form) => yaml(configurationOf(form)))))"
    )
    done = subprocess.run(
        [*node(), "--input-type=module", "-"], input=program, capture_output=True, text=True, check=True
    )
    for one, text in zip(typed, json.loads(done.stdout), strict=True):
        resolved = configurations.to_plain(configurations.resolve_text(text))
        assert {name: repr(value) for name, value in resolved["parameters"].items()} == {
            name: repr(_meant(value)) for name, value in one.items()
        }


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _meant(text: str) -> Any:
    try:
        # Python's reader takes `Infinity` and `NaN` for numbers; JSON and the page do not.
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text
    return text if isinstance(value, dict | list) else value


def test_a_runtime_is_shown_in_the_form_of_its_file() -> None:
    message = configurations.resolve(
        {"entrypoint": "a:b", "parameters": {"batch_size": 16, "rate": 1.0, "name": "16"}, "launcher": "ray"}
    )
    shown = to_json(api.Runtime(configuration=message))["configuration"]
    assert shown["launcher"] == "ray"
    assert json.dumps(shown["parameters"]) == '{"batch_size": 16, "name": "16", "rate": 1.0}'


def test_what_is_no_scalar_in_a_bundle_of_others_is_shown_as_it_is() -> None:
    odd = {"nan": "NaN", "list": "[1]", "text": "adam", "huge": "9" * 30, "half": '"\\ud800"', "fine": "1"}
    shown = to_json(RuntimeConfiguration(parameters=odd))["parameters"]
    assert shown == {**odd, "fine": 1}
    assert orjson.dumps(shown)


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_printed_file_is_sent_as_it_is(tmp_path: Any, form: str) -> None:
    message = configurations.resolve(
        {"entrypoint": "pkg.train:fit", "parameters": {"rate": 1e-05, "day": "2026-01-01"}}
    )
    printed = configurations.to_plain(message)
    text = configurations.write_text(printed) if form == "yaml" else json.dumps(printed)
    (tmp_path / "printed").write_text(text)
    assert read_configuration(str(tmp_path / "printed")) == text


def test_adding_the_folder_changes_no_number(tmp_path: Any) -> None:
    (tmp_path / "run.json").write_text('{"entrypoint": "train.py:fit", "parameters": {"rate": 1e-5, "seed": 7}}')
    read = configurations.resolve_text(read_configuration(str(tmp_path / "run.json")))
    assert dict(read.parameters) == {"rate": "1e-05", "seed": "7"}
    assert read.working_directory == str(tmp_path)
