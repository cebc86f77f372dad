"""Configurations: every violation at once, numbers as they are, the same trials for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost import configuration as configurations
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.errors import FailedPrecondition, InvalidArgument

FULL = """
name: pydoc-lm
entrypoint: milepost.recipes.language_model:train
code: {uri: "file:///data/code/abc.tar.gz", digest: "sha256:%s"}
initialize_from: runtimes/rt-1/trials/1/snapshots/step-000000000200-a1
parameters: {learning_rate: 3e-3, batch_size: 32, warm: true, schedule: cosine, seed: null}
search: {kind: grid, space: {learning_rate: [0.001, 3e-3], batch_size: [16, 32]}, seed: 7, max_trials: 3}
launcher: ray
resources: {workers: 2, cpus_per_worker: 1.5, gpus_per_worker: 0.5, memory_gigabytes_per_worker: 4}
priority: -3
snapshots: {every_steps: 200, every_minutes: 5, keep_last: 2, keep_best: {metric: eval/loss, mode: min}, storage: "s3://b/p"}
retries: {max_retries: 0, backoff_seconds: 0}
limits: {max_duration_seconds: 60, heartbeat_grace_seconds: 10, stop_deadline_seconds: 20, log_megabytes: 1}
environment: {OMP_NUM_THREADS: "1", TOKEN: {secret: HF_TOKEN}}
labels: {team: nlp, "app/part": x}
""" % ("a" * 64)


def violations(text: str) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as error:
        configurations.resolve_text(text)
    return {violation.field: violation.description for violation in error.value.violations}


def resolved(**plain: Any) -> RuntimeConfiguration:
    return configurations.resolve({"entrypoint": "a:b", **plain})


def test_defaults_are_filled_in() -> None:
    message = resolved()
    assert message.name == "a:b"
    assert message.launcher == config.LAUNCHER_LOCAL
    assert (message.resources.workers, message.resources.cpus_per_worker) == (0, 1.0)
    assert (message.retries.max_retries, message.retries.backoff_seconds) == (2, 5.0)
    assert message.limits.heartbeat_grace_seconds == 30
    assert not message.limits.HasField("max_duration_seconds")
    assert message.snapshots.keep_last == 3


def test_the_plain_form_and_the_message_say_the_same() -> None:
    message = configurations.resolve_text(FULL)
    assert configurations.resolve(configurations.to_plain(message)) == message
    assert configurations.resolve_message(message) == message
    assert configurations.resolve_text(yaml.safe_dump(configurations.to_plain(message))) == message
    assert configurations.resolve_text(json.dumps(configurations.to_plain(message))) == message


def test_what_slurm_is_asked_for_is_there_with_its_launcher_alone() -> None:
    asked = {"partition": "gpu,cpu", "constraint": "a100&nvlink", "gres": "gpu:a100:2", "time_limit_minutes": 60}
    message = resolved(launcher="slurm", slurm=asked)
    assert (message.slurm.partition, message.slurm.time_limit_minutes, message.slurm.notice_seconds) == (
        "gpu,cpu",
        60,
        120,
    )
    for one in (message, resolved(launcher="slurm")):
        assert one.HasField("slurm")
        assert configurations.resolve(configurations.to_plain(one)) == one
        assert configurations.resolve_message(one) == one
    assert "slurm" not in configurations.to_plain(resolved()), "digests of before stay what they are"
    with pytest.raises(InvalidArgument, match="launcher: slurm"):
        resolved(slurm={"partition": "gpu"})


@pytest.mark.parametrize(
    "slurm",
    [
        {"partition": "a b"},
        {"partition": "-p"},
        {"account": "x;reboot"},
        {"qos": "a=b"},
        {"constraint": "$(reboot)"},
        {"constraint": "--wrap=x"},
        {"gres": "gpu:a:b:c"},
        {"reservation": "a,b"},
        {"time_limit_minutes": 0},
        {"notice_seconds": 5},
        {"wrap": "x"},
    ],
)
def test_what_is_no_option_of_slurm_is_refused(slurm: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"slurm\."):
        resolved(launcher="slurm", slurm=slurm)


def test_the_digest_follows_from_what_is_said_and_not_from_how() -> None:
    first = configurations.resolve_text("entrypoint: a:b\nparameters: {x: 1, y: 2}")
    second = configurations.resolve_text('{"parameters": {"y": 2, "x": 1}, "entrypoint": "a:b", "priority": 0}')
    other = configurations.resolve_text("entrypoint: a:b\nparameters: {x: 1.0, y: 2}")
    assert configurations.digest(first) == configurations.digest(second)
    assert configurations.digest(first) != configurations.digest(other)


def test_every_violation_comes_at_once_with_its_path() -> None:
    found = violations(
        """
        name: 7
        entrypoint: /etc/passwd
        launcher: cloud
        surprise: 1
        parameters: {a: .nan, b: [1], "c d": 1}
        search: {kind: grid, space: {x: {minimum: 1, maximum: 2}}, max_trials: 0}
        resources: {workers: -1, cpus_per_worker: 0, gpu: 1}
        snapshots: {every_steps: 1.5, keep_best: {mode: best}, storage: relative/path}
        limits: {heartbeat_grace_seconds: .inf}
        environment: {A: 1, "B C": x, D: {secret: "x y"}}
        labels: {"": x}
        priority: true
        """
    )
    assert set(found) == {
        "name",
        "entrypoint",
        "launcher",
        "surprise",
        "parameters.a",
        "parameters.b",
        "parameters",
        "search.space.x",
        "search.max_trials",
        "resources.workers",
        "resources.cpus_per_worker",
        "resources.gpu",
        "snapshots.every_steps",
        "snapshots.keep_best.metric",
        "snapshots.keep_best.mode",
        "snapshots.storage",
        "limits.heartbeat_grace_seconds",
        "environment.A",
        "environment",
        "environment.D.secret",
        "labels",
        "priority",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x" * 300_000, "300,000 bytes"),
        ("[" * 60, "deeper than 20"),
        ('{"a":' * 30 + "1" + "}" * 30, "deeper than 20"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "deeper than 20"),
        ("a: 1\na: 2", "'a' is given twice"),
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ("a: {b: 1, b: 2}", "'b' is given twice"),
        ('{"a": NaN}', "NaN is not"),
        ('{"a": Infinity}', "Infinity is not"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("- 1", "must be a mapping"),
        ("just text", "must be a mapping"),
        ("", "must be a mapping"),
        ("1: a", "keys must be text"),
        ("? [1]\n: a", "keys must be text"),
        ("a: [1, 2", "line"),
        ("a: !!python/object:os.system x", "tag"),
        ("a: \x00", "control characters"),
        ("a: \ud800", "not valid Unicode"),
        ("a: " + "9" * 5_000, "too long"),
        ('{"a": ' + "9" * 5_000 + "}", "too long"),
        ("a: 1\n---\nb: 2", "document"),
    ],
)
def test_what_is_no_configuration_is_refused_with_the_place(text: str, said: str) -> None:
    assert said in violations(text)["configuration_text"]


@pytest.mark.parametrize(
    "entrypoint",
    [
        "",
        "train",
        "a:",
        ":b",
        "a b:c",
        "a:b c",
        "../x.py:f",
        "a/../x.py:f",
        "./x.py:f",
        "/x.py:f",
        "a\\x.py:f",
        "a.:f",
        "os:system('x')",
    ],
)
def test_what_is_no_entrypoint_is_refused(entrypoint: str) -> None:
    assert "entrypoint" in violations(json.dumps({"entrypoint": entrypoint}))


@pytest.mark.parametrize("entrypoint", ["a:b", "a.b.c:d", "x.py:f", "my folder/x-1.py:f", "a/b/c.py:Class.method"])
def test_what_is_an_entrypoint_is_accepted(entrypoint: str) -> None:
    assert configurations.resolve({"entrypoint": entrypoint}).entrypoint == entrypoint


@pytest.mark.parametrize(
    "plain",
    [
        {"name": "a\nb"},
        {"name": "x" * 201},
        {"name": "\u2028"},
        {"working_directory": "relative"},
        {"working_directory": "/a/../b"},
        {"initialize_from": "runtimes/rt-1"},
        {"initialize_from": "runtimes/../trials/1/snapshots/s"},
        {"code": {"uri": "file:///x", "digest": "md5:1"}},
        {"code": {"uri": "http://x/y", "digest": "sha256:" + "a" * 64}},
        {"parameters": {"a": 2**64}},
        {"parameters": {"a": "x" * 20_000}},
        {"parameters": {"*": 1}},
        {"environment": {"A": "\0"}},
        {"environment": {"A=B": "x"}},
        {"search": {"space": {}}},
        {"search": {"kind": "random", "space": {"x": {"minimum": 2, "maximum": 1}}}},
        {"search": {"kind": "random", "space": {"x": {"minimum": 0, "maximum": 1, "log_scale": True}}}},
        {"search": {"kind": "random", "space": {"x": {"minimum": 0.5, "maximum": 2, "integer": True}}}},
        {"search": {"kind": "random", "space": {"x": []}}},
        {"launcher": "external", "search": {"space": {"x": [1]}}},
        {"resources": {"workers": True}},
        {"resources": []},
        {"snapshots": {"storage": "file:///a/../../etc"}},
    ],
)
def test_each_of_these_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        resolved(**plain)


def test_a_script_of_ones_own_needs_no_entrypoint() -> None:
    assert configurations.resolve({"launcher": "external"}).name == "unnamed"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("3E5", 300000.0),
        ("0.1", 0.1),
        (".5", 0.5),
        ("-0.0", -0.0),
        ("1.0", 1.0),
        ("1", 1),
        ("0x10", 16),
        ("0o17", 15),
        ("007", 7),
        ("18446744073709551615", 2**64 - 1),
        ("no", "no"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"),
        ("1.2.3", "1.2.3"),
        ("~", None),
        ("true", True),
        ("'1'", "1"),
    ],
)
def test_scalars_are_read_as_people_mean_them(written: str, value: Any) -> None:
    message = configurations.resolve_text(f"entrypoint: a:b\nparameters: {{x: {written}}}")
    read = json.loads(message.parameters["x"])
    assert (type(read), repr(read)) == (type(value), repr(value))


@settings(deadline=None)
@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    )
)
def test_no_value_of_a_parameter_ever_changes(value: Any) -> None:
    message = resolved(parameters={"x": value})
    again = configurations.resolve_text(configurations.canonical_json(message))
    read = configurations.to_plain(again)["parameters"]["x"]
    assert (type(read), repr(read)) == (type(value), repr(value))


def test_a_message_with_bad_values_is_refused_with_their_paths() -> None:
    message = RuntimeConfiguration(entrypoint="a:b", launcher=9)  # type: ignore[arg-type]
    message.parameters["x"] = "nan"
    message.parameters["y"] = "{}"
    message.search.space["z"].values.append("NaN")
    with pytest.raises(InvalidArgument) as error:
        configurations.resolve_message(message)
    assert {"launcher", "parameters.x", "search.space.z[0]"} <= {v.field for v in error.value.violations}


def test_one_wrong_parameter_of_a_message_hides_nothing_else() -> None:
    message = RuntimeConfiguration(entrypoint="/etc/passwd", priority=5_000, working_directory="relative")
    message.parameters["x"] = "adam"
    message.resources.cpus_per_worker = -1
    message.search.space["z"].values.append("1")
    message.search.max_trials = -1
    with pytest.raises(InvalidArgument) as error:
        configurations.resolve_message(message)
    assert {violation.field for violation in error.value.violations} == {
        "parameters.x",
        "entrypoint",
        "priority",
        "working_directory",
        "resources.cpus_per_worker",
        "search.max_trials",
    }


def test_a_grid_has_every_combination_in_order_up_to_its_limit() -> None:
    search = {"space": {"b": [1, 2], "a": ["x", 0.1]}, "max_trials": 3}
    trials = configurations.expand(resolved(parameters={"a": 0, "c": 5}, search=search))
    assert [trial.searched for trial in trials] == [
        {"a": '"x"', "b": "1"},
        {"a": '"x"', "b": "2"},
        {"a": "0.1", "b": "1"},
    ]
    assert trials[0].parameters == {"a": '"x"', "b": "1", "c": "5"}
    assert configurations.left_out(resolved(search=search)) == 1


def test_what_a_limit_leaves_out_of_a_grid_is_known() -> None:
    space = {"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2, 3]}
    assert configurations.left_out(resolved(search={"space": space})) == 17, "ten run unless it says otherwise"
    assert configurations.left_out(resolved(search={"space": space, "max_trials": 27})) == 0
    assert configurations.left_out(resolved(search={"kind": "random", "space": space})) == 0
    assert configurations.left_out(resolved()) == 0


def test_a_random_search_draws_the_same_trials_for_ever() -> None:
    space = {
        "lr": {"minimum": 1e-4, "maximum": 0.1, "log_scale": True},
        "layers": {"minimum": 1, "maximum": 4, "integer": True},
        "optimizer": ["adam", "sgd"],
    }
    trials = configurations.expand(resolved(search={"kind": "random", "space": space, "max_trials": 3, "seed": 1}))
    assert [trial.searched for trial in trials] == GOLDEN_DRAWS


GOLDEN_DRAWS = [
    {"layers": "1", "lr": "0.03485789928918552", "optimizer": '"sgd"'},
    {"layers": "2", "lr": "0.0030641164139276027", "optimizer": '"adam"'},
    {"layers": "3", "lr": "0.023236464709276115", "optimizer": '"adam"'},
]


def test_a_random_search_ends_when_there_is_nothing_new_to_draw() -> None:
    search = {"kind": "random", "space": {"x": [1, 2]}, "max_trials": 10}
    assert sorted(t.searched["x"] for t in configurations.expand(resolved(search=search))) == ["1", "2"]


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(1e-6, 1), st.floats(1, 1e6))
def test_draws_stay_within_their_range(seed: int, low: float, high: float) -> None:
    for log_scale in (False, True):
        space = {"x": {"minimum": low, "maximum": high, "log_scale": log_scale}}
        search = {"kind": "random", "space": space, "max_trials": 5, "seed": seed}
        for trial in configurations.expand(resolved(search=search)):
            assert low <= json.loads(trial.searched["x"]) <= high


def test_without_a_search_there_is_one_trial() -> None:
    (trial,) = configurations.expand(resolved(parameters={"x": 1}))
    assert (trial.parameters, trial.searched) == ({"x": "1"}, {})


def test_a_continuation_may_train_for_longer_and_change_limits() -> None:
    before = resolved(parameters={"epochs": 3, "learning_rate": 0.1})
    changes = {"parameters": {"epochs": 5}, "limits": {"max_duration_seconds": 60}, "priority": 4}
    after = configurations.continue_with(before, changes)
    assert after.changed_fields == ("limits.max_duration_seconds", "parameters.epochs", "priority")
    assert after.extends
    assert after.configuration.parameters["learning_rate"] == "0.1"
    assert not configurations.continue_with(before, {"priority": 1}).extends
    assert not configurations.continue_with(before, {"parameters": {"epochs": 2}}).extends
    assert configurations.continue_with(before, {"priority": 0}).changed_fields == ()


def test_a_continuation_may_change_nothing_else_and_says_what() -> None:
    before = resolved(parameters={"epochs": 3, "learning_rate": 0.1})
    changes = {"parameters": {"learning_rate": 0.2}, "entrypoint": "c:d", "snapshots": {"storage": "/elsewhere"}}
    with pytest.raises(FailedPrecondition) as error:
        configurations.continue_with(before, changes)
    for path in ("parameters.learning_rate", "entrypoint", "snapshots.storage"):
        assert path in error.value.message
    with pytest.raises(InvalidArgument):
        configurations.continue_with(before, {"limits": {"heartbeat_grace_seconds": 0}})


def test_the_schema_names_every_field_of_the_message() -> None:
    assert set(configurations.schema()["properties"]) == {f.name for f in RuntimeConfiguration.DESCRIPTOR.fields}
