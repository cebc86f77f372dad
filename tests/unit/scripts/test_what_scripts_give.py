"""What a script may hand over: steps, totals, parameters, labels, names and optimizers of any kind."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import fractions
import json
import pathlib
import random
import warnings
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.errors import InvalidArgument
from milepost.eventlog import LogUnavailable
from milepost.eventlog.nats.connection import connect
from milepost.integrations.experiment import Experiment
from milepost.training.loop.data.feed import loader_length
from milepost.training.loop.host import Rank
from milepost.training.loop.said import declared
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from milepost.training.loop.values.averages import Averages
from milepost.training.script import configured
from milepost.training.user_code import given
from tests.support.trainers.remembering_host import RememberingHost


class Recorded(RememberingHost):
    """What comes of a trial: facts, points and warnings."""

    def __init__(self, rank: Rank) -> None:
        super().__init__(rank)
        self.loop = TrainingLoop(self)
        self.trial = Trial(self.loop)

    def declared(self) -> dict[str, str]:
        return {k: v for f in self.facts if isinstance(f, facts.ParametersDeclared) for k, v in f.parameters.items()}


@pytest.fixture
def recorded() -> Recorded:
    return Recorded(Rank(led=False))


class Index:
    def __index__(self) -> int:
        return 2


class Hostile:
    """Fails whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __float__(self) -> float:
        raise ZeroDivisionError

    def __len__(self) -> int:
        raise NotImplementedError("an endless stream")


WHOLE = [2, np.int64(2), np.uint8(2), 2.0, np.float32(2.0), torch.tensor(2), torch.tensor([2.0]), np.array([2]), Index(),
         fractions.Fraction(4, 2), "2"]  # fmt: skip
NOT_A_STEP = [3.5, -1, float("nan"), float("inf"), 2**60, "three", [1, 2], torch.ones(3), object(), Hostile()]


@pytest.mark.parametrize("step", WHOLE, ids=repr)
def test_a_whole_number_of_any_kind_is_a_step(step: Any, recorded: Recorded) -> None:
    recorded.trial.log({"train/loss": 0.5}, step=step)
    assert recorded.points() == {"train/loss": [(2, 0.5)]}
    assert recorded.trial.step == 2 and type(recorded.trial.step) is int
    assert not recorded.said


@pytest.mark.parametrize("step", NOT_A_STEP, ids=lambda step: type(step).__name__)
def test_what_is_no_step_has_a_place_and_is_said_once(step: Any, recorded: Recorded) -> None:
    """The values go where they would without a step: to the one after the last, so none covers another."""
    recorded.trial.log({"train/loss": 1.0})
    for value in (2.0, 3.0):
        recorded.trial.log({"train/loss": value}, step=step)
    recorded.trial.log({"train/loss": 4.0})
    assert recorded.points() == {"train/loss": [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]}
    assert list(recorded.said) == ["step"]


def test_values_of_a_later_step_leave_those_of_an_earlier_one_where_they_are(recorded: Recorded) -> None:
    trial = recorded.trial
    trial.log({"a": 1.0}, step=1, commit=False)
    trial.log({"a": 5.0}, step=5)
    trial.log({"b": 9.0}, step=9, commit=False)
    assert trial.step == 5
    trial.log({"c": 0.0}, step=0)
    trial.log({"a": 6.0}, commit=False)
    recorded.loop.end()
    assert recorded.points() == {"a": [(1, 1.0), (5, 5.0), (6, 6.0)], "b": [(9, 9.0)], "c": [(0, 0.0)]}


def test_values_before_any_step_are_recorded(recorded: Recorded) -> None:
    """Also of a script that only evaluates: its attempt begins all the same."""
    recorded.trial.log({"eval/accuracy": 0.9}, step=0)
    assert any(isinstance(fact, facts.AttemptStarted) for fact in recorded.facts)
    other = Recorded(Rank(led=False))
    other.trial.log({"held": 1.0}, commit=False)
    other.loop.end()
    assert other.points() == {"held": [(1, 1.0)]}
    third = Recorded(Rank(led=False))
    with third.trial.evaluation() as evaluation:
        evaluation.log({"eval/loss": torch.tensor(2.0), "text": "no"})
    assert third.points() == {"eval/loss": [(0, 2.0)]}
    completed = [fact for fact in third.facts if isinstance(fact, facts.EvaluationCompleted)]
    assert dict(completed[0].values) == {"eval/loss": 2.0} and completed[0].step == 0


@pytest.mark.parametrize(
    "value",
    [torch.tensor(1 + 2j), torch.ones(3), torch.ones((), device="meta"), "text", None, Hostile(), [1.0], np.ones(2),
              torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_that_is_no_number_is_left_out_and_said(value: Any, recorded: Recorded) -> None:
    recorded.trial.log({"train/loss": 0.5, "odd": value})
    recorded.trial.accumulate({"odd": value, "even": 2.0}, examples=2)
    with recorded.trial.evaluation() as evaluation:
        evaluation.log({"odd": value})
    recorded.trial.log(recorded.trial.mean())
    assert recorded.points() == {"train/loss": [(1, 0.5)], "even": [(2, 2.0)]}
    assert set(recorded.said) == {"value:odd", "accumulate"}


@pytest.mark.parametrize("values", [0.5, None, [1.0, 2.0], "loss", Hostile()], ids=lambda values: type(values).__name__)
def test_what_has_no_names_ends_the_step_and_is_said(values: Any, recorded: Recorded) -> None:
    recorded.trial.log(values)
    recorded.trial.accumulate(values)
    assert recorded.trial.step == 1 and "values" in recorded.said


def test_records_are_logged_by_the_names_of_their_fields(recorded: Recorded) -> None:
    @dataclasses.dataclass
    class Losses:
        loss: float = 1.0
        accuracy: Any = dataclasses.field(default_factory=lambda: torch.tensor(0.5))

    records: list[Any] = [Losses(), argparse.Namespace(loss=2.0)]
    for record in records:
        recorded.trial.log(record)
    assert recorded.points() == {"loss": [(1, 1.0), (2, 2.0)], "accuracy": [(1, 0.5)]}


def test_a_loss_with_its_gradient_is_read_without_a_word_of_pytorch(recorded: Recorded) -> None:
    loss = torch.ones((), requires_grad=True) * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorded.trial.log({"train/loss": loss})
        with recorded.trial.evaluation() as evaluation:
            evaluation.log({"eval/loss": loss})
    assert recorded.points() == {"train/loss": [(1, 2.0)], "eval/loss": [(1, 2.0)]}


def test_examples_of_any_kind_weigh_a_mean() -> None:
    averages = Averages()
    assert averages.add({"loss": 1.0}, np.int64(3)) == []
    assert averages.add({"loss": torch.tensor([5.0])}, torch.tensor(1)) == []
    assert averages.add({"loss": 100.0}, 0) == ["loss"]
    assert averages.add({"loss": 100.0}, None) == ["loss"]
    assert float(averages.take()["loss"]) == 2.0


@pytest.mark.parametrize(
    ("total", "known"),
    [(313, 313), (313.0, 313), (312.5, 313), (np.int32(313), 313), (torch.tensor(313), 313), (0, None), (-1, None),
     (float("inf"), None), (float("nan"), None), ("many", None), (2**63 - 1, None), (Hostile(), None)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_total_of_any_kind_is_taken_or_unknown(total: Any, known: int | None, recorded: Recorded) -> None:
    every: Any = np.int64(2)
    recorded.trial.plan(total, epochs=3.0, eval_every=every)
    (plan,) = recorded.facts
    assert (plan.total_steps if plan.HasField("total_steps") else None) == known
    assert (plan.epochs, plan.eval_every_steps) == (3, 2)
    assert ("plan:total_steps" in recorded.said) == (known is None)


@pytest.mark.parametrize("error", [TypeError, NotImplementedError, RuntimeError, ValueError], ids=lambda e: e.__name__)
def test_a_loader_without_a_length_may_say_so_as_it_likes(error: type[Exception], recorded: Recorded) -> None:
    class Stream:
        def __len__(self) -> int:
            raise error("no length")

        def __iter__(self) -> Iterator[Any]:
            return iter([Hostile(), {"x": Hostile()}, [torch.ones(2)]])

    assert loader_length(Stream()) is None
    for _ in recorded.trial.track(Stream()):
        recorded.trial.log({"train/loss": 1.0})
    assert recorded.trial.step == 3


class Colour(enum.Enum):
    RED = "red"


class Unset(Mapping[str, Any]):
    """Settings as OmegaConf has them: one that was not given raises when it is read."""

    def __iter__(self) -> Iterator[str]:
        return iter(["given", "missing"])

    def __len__(self) -> int:
        return 2

    def __getitem__(self, name: str) -> Any:
        if name == "missing":
            raise LookupError("missing mandatory value")
        return 3


@dataclasses.dataclass
class Settings:
    lr: float = 1e-3
    inner: Any = None


def test_parameters_of_any_shape_are_taken() -> None:
    endless: dict[str, Any] = {"seed": 1}
    endless["self"] = endless
    arguments = argparse.Namespace(
        lr=1e-3, layers=[64, 64], data=pathlib.Path("/data"), resume=None, flag=np.bool_(True), seed=np.int64(3),
        rate=np.float32(0.1), big=2**64 - 1, exact=9007199254740993, huge=2**80, norm=float("inf"), colour=Colour.RED,
        nested=Settings(inner=Settings()), unset=Unset(), names={"b", "a"}, table=np.arange(3), one=torch.tensor(0.5),
        activation=torch.nn.functional.relu, kind=argparse.Namespace, paths=[pathlib.Path("x"), None], odd=Hostile(),
        dtype=torch.float32,
    )  # fmt: skip
    expected = {
        "lr": 1e-3, "layers": "[64, 64]", "data": "/data", "resume": None, "flag": True, "seed": 3, "rate": 0.1,
        "big": 2**64 - 1, "exact": 9007199254740993, "huge": str(2**80), "norm": "inf", "colour": "red", "nested.lr": 1e-3,
        "nested.inner.lr": 1e-3, "nested.inner.inner": None, "unset.given": 3, "unset.missing": "<has no value>",
        "names": '["a", "b"]', "table": "[0, 1, 2]", "one": 0.5, "activation": "torch.nn.functional.relu",
        "kind": "argparse.Namespace", "paths": '["x", null]', "odd": "<Hostile>", "dtype": "torch.float32",
    }  # fmt: skip
    for form in (arguments, vars(arguments), list(vars(arguments).items())):
        said = declared.read(form)
        assert {name: json.loads(text) for name, text in said.parameters.items()} == expected
        assert not said.notes
    assert declared.read(endless).parameters["self.self.seed"] == "1"


def test_what_is_too_long_or_too_much_is_cut_and_said_once() -> None:
    long = "x" * 300
    said = declared.read({"text": "y" * 5_000, long + "1": 1, long + "2": 2, "a.b": 1, "a": {"b": 2}})
    assert len(json.loads(said.parameters["text"])) == declared.MAX_TEXT
    assert sorted(said.parameters.values())[:3] == ['"' + "y" * 2_000 + '"', "1", "2"]
    assert all(len(name) <= 250 for name in said.parameters) and len(said.parameters) == 4
    assert len(said.notes) == 3
    many = declared.read({str(number): number for number in range(3_000)})
    assert len(many.parameters) == declared.MAX_COUNT and len(many.notes) == 1
    for nothing in (5, "text", Hostile(), torch.nn.Linear(1, 1)):
        assert declared.read(nothing, nothing).parameters == {}
        assert len(declared.read(nothing).notes) == 1


def test_init_and_declare_have_one_rule(recorded: Recorded) -> None:
    """What a configuration cannot have is declared besides, with the same text."""
    parameters = {"batch size": 32, "lr": np.float32(0.1), "layers": [1, 2], "损失": "ce", "long": "x" * 5_000}
    labels = {"fold": 3, "Team Name": "nlp", "note": "z" * 400, "none": None}
    given_to_init = configured.read({"name": "n" * 300 + "\n", "parameters": parameters, "labels": labels})
    recorded.trial.declare(parameters, labels)
    in_configuration = dict(given_to_init.configuration.parameters)
    assert set(in_configuration) == {"lr", "layers", "long"}
    assert {**in_configuration, **given_to_init.besides.parameters} == recorded.declared()
    assert dict(given_to_init.configuration.labels) == {"fold": "3", "none": "None"}
    assert given_to_init.besides.labels == {"Team Name": "nlp", "note": "z" * 400}
    assert given_to_init.configuration.name == "n" * 200
    assert set(recorded.said) < {f"declared:{problem}" for problem in given_to_init.said.notes}


def test_a_large_declaration_is_said_in_events_that_the_log_takes(recorded: Recorded) -> None:
    recorded.trial.declare({str(number): "长" * 2_000 for number in range(400)})
    assert len(recorded.declared()) == 400
    assert len(recorded.facts) > 1
    assert all(fact.ByteSize() < 512 << 10 for fact in recorded.facts)


def test_settings_of_snapshots_take_any_number_and_no_unknown_name() -> None:
    read = configured.read({"snapshots": {"every_steps": np.int64(20), "every_minutes": 1, "keep_last": 2.0}})
    assert (read.configuration.snapshots.every_steps, read.configuration.snapshots.keep_last) == (20, 2)
    for wrong in ({"every_step": 20}, {"every_steps": 0}, {"every_steps": "often"}, 20):
        with pytest.raises(InvalidArgument):
            configured.read({"snapshots": wrong})


class Wrapper(torch.optim.Optimizer):
    """As `accelerator.prepare` makes it: an optimizer by its class, whose own parts were never made."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self, closure: Any = None) -> Any:
        return self.optimizer.step(closure)


def step_of(optimizer: Any, parameter: torch.nn.Parameter, gradient: torch.Tensor) -> None:
    parameter.grad = gradient
    optimizer.step()


def test_an_optimizer_within_others_is_watched(recorded: Recorded) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    inner = torch.optim.SGD([parameter], lr=0.1)
    recorded.trial.watch(Wrapper(SimpleNamespace(optimizer=Wrapper(inner))))  # type: ignore[arg-type]
    step_of(Wrapper(inner), parameter, torch.tensor([3.0, 4.0]))
    recorded.trial.log({"train/loss": 1.0})
    assert recorded.points()["train/grad_norm"] == [(1, 5.0)]


def test_two_optimizers_watched_under_one_name_are_both_kept(recorded: Recorded) -> None:
    """A cell that runs again watches the same one once."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    generator, critic = torch.optim.SGD([parameter], lr=0.1), torch.optim.SGD([parameter], lr=0.2)
    for optimizer in (generator, critic, generator):
        recorded.trial.watch(optimizer)
    for optimizer in (generator, critic):
        step_of(optimizer, parameter, torch.tensor([3.0, 4.0]))
    recorded.trial.log({})
    points = recorded.points()
    assert points["train/learning_rate"] == [(1, 0.1)]
    assert points["train_2/learning_rate"] == [(1, 0.2)]
    assert [problem for problem in recorded.said if "watch" in problem] == ["watch train_2"]


def test_sparse_gradients_have_a_norm(recorded: Recorded) -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    recorded.trial.watch(optimizer)
    step_of(optimizer, parameter, torch.sparse_coo_tensor([[1, 1, 3]], [1.0, 2.0, 4.0], (4,)))
    recorded.trial.log({})
    assert recorded.points()["train/grad_norm"] == [(1, 5.0)]


@pytest.mark.parametrize(
    "optimizer", [object(), None, Hostile(), SimpleNamespace(optimizer=3)], ids=lambda o: type(o).__name__
)
def test_what_is_no_optimizer_is_said_and_not_watched(optimizer: Any, recorded: Recorded) -> None:
    recorded.trial.watch(optimizer)
    assert "watch" in recorded.said


def test_an_optimizer_that_cannot_be_looked_at_steps_all_the_same(recorded: Recorded) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    recorded.trial.watch(optimizer)
    groups = list(optimizer.param_groups)
    optimizer.param_groups.append(Hostile())  # type: ignore[arg-type]

    def put_back(*_: Any) -> None:
        optimizer.param_groups[:] = groups

    optimizer.register_step_pre_hook(put_back)
    for _ in range(2):
        step_of(optimizer, parameter, torch.ones(2))
    assert parameter.tolist() == [-2.0, -2.0]
    assert "watch" in recorded.said


def test_calls_of_other_writers_are_recorded_or_said_once(recorded: Recorded) -> None:
    """`self.logger.experiment.add_image(...)` of a module that was written for TensorBoard."""
    experiment = Experiment(recorded.trial, lambda step: (None if step is None else step + 1, False))
    experiment.add_scalar("loss/a", torch.tensor(1.0), 0)
    experiment.add_scalars("both", {"x": 1.0, "y": 2.0}, global_step=np.int64(0))
    experiment.log_metric("m", 3.0, step=0)
    experiment.add_hparams({"lr": 0.1}, {"best": 4.0})
    for _ in range(2):
        experiment.add_image("input", torch.zeros(3, 4, 4), 0)
        experiment.add_histogram("weights", torch.zeros(3), 0)
        experiment.flush()
    experiment.declare({"more": 1})
    assert experiment.step == 0
    recorded.trial.advance(1)
    expected = {"loss/a": 1.0, "both/x": 1.0, "both/y": 2.0, "m": 3.0, "best": 4.0}
    assert recorded.points() == {key: [(1, value)] for key, value in expected.items()}
    assert set(recorded.said) == {"experiment:add_image", "experiment:add_histogram"}
    assert recorded.declared() == {"lr": "0.1", "more": "1"}
    with pytest.raises(AttributeError, match="neither of a Milepost trial"):
        experiment.watch_closely  # noqa: B018


def test_whole_numbers_are_not_made_of_halves() -> None:
    assert given.whole(True) == 1
    assert given.total(0.2) == 1
    assert given.count(-3) == 0 and given.count("no") == 0


class Told:
    """A sampler that notes the epochs it is told."""

    def __init__(self) -> None:
        self.epoch = 0
        self.told: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.told.append(epoch)


class Loader(list[Any]):
    """Three batches, and what an iterator of PyTorch's draws from the random generators when it is made."""

    def __init__(self, sampler: Any = None) -> None:
        super().__init__([1, 2, 3])
        self.sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        torch.rand(1)
        return super().__iter__()


def epochs_told(trial: Trial, own: int | None) -> list[int]:
    """Go through three epochs; `own`: the first of those that the loop tells its sampler."""
    sampler = Told()
    loader = trial.track(Loader(sampler))
    for epoch in range(3):
        if own is not None:
            sampler.set_epoch(own + epoch)
        for _ in loader:
            trial.log({"train/loss": 1.0})
    return sampler.told


def test_the_epochs_of_a_sampler_are_those_of_the_script() -> None:
    script = Rank(led=False)
    assert epochs_told(Recorded(script).trial, None) == []
    assert epochs_told(Recorded(script).trial, 1) == [1, 2, 3]
    # An entrypoint of a runtime may leave it to Milepost, and need not.
    assert epochs_told(Recorded(Rank()).trial, None) == [0, 1, 2]
    assert epochs_told(Recorded(Rank()).trial, 5) == [5, 6, 7]


def test_an_iterator_draws_when_it_is_made_as_that_of_the_loader_does(recorded: Recorded) -> None:
    drawn = []
    for make in (Loader, lambda: recorded.trial.track(Loader()), lambda: recorded.trial.batches(Loader())):
        torch.manual_seed(0)
        loader: Any = make()
        before = torch.rand(1).item()
        iterator = iter(loader)
        drawn.append((before, torch.rand(1).item(), next(iterator)))
    assert drawn[0] == drawn[1] == drawn[2]


def test_an_epoch_that_is_left_is_not_gone_on_with(recorded: Recorded) -> None:
    """Only a resume skips what was done: the next call begins with the first batch, as the loader does."""
    seen = []
    for _ in range(3):
        for batch in recorded.trial.batches(Loader()):
            seen.append(batch)
            recorded.trial.log({"train/loss": 1.0})
            if batch == 2:
                break
    assert seen == [1, 2] * 3
    assert recorded.trial.epoch == 2


def test_a_second_loader_in_an_epoch_begins_at_its_beginning() -> None:
    trial = Recorded(Rank()).trial
    seen = []
    for _ in trial.epochs(2):
        for loader in (Loader(), Loader()):
            for batch in trial.batches(loader):
                seen.append(batch)
                trial.log({"train/loss": 1.0})
    assert seen == [1, 2, 3] * 4


@pytest.mark.parametrize("managed", [False, True])
@pytest.mark.parametrize("asked", [None, False, True])
def test_an_evaluation_puts_random_generators_back_only_where_that_is_the_rule_or_asked(
    managed: bool, asked: bool | None
) -> None:
    trial = Recorded(Rank(led=managed)).trial
    trial.log({"train/loss": 1.0})
    before = torch.get_rng_state()
    with trial.evaluation(keep_random=asked):
        torch.rand(1)
    put_back = bool(torch.equal(torch.get_rng_state(), before))
    assert put_back == (managed if asked is None else asked)


async def test_looking_for_a_server_draws_nothing_from_the_random_generator() -> None:
    """The client of NATS shuffles its servers; a loop may draw from the same generator."""
    random.seed(3)
    before = random.getstate()
    with pytest.raises(LogUnavailable):
        async with await connect("nats://127.0.0.1:9,nats://127.0.0.1:10,nats://127.0.0.1:11", timeout_seconds=0.2):
            pass
    assert random.getstate() == before
