"""Takes the language model of another run and teaches it other text, Python source code of the standard library.

    entrypoint: milepost.recipes.language_model_tuning:train
    initialize_from: runtimes/rt-.../trials/1/snapshots/step-000000001224-a1

The snapshot is one of `milepost.recipes.language_model`, such as that of `milepost demo`; `milepost runtime snapshots ID`
lists them. The model has the size it has there. The step counts from 1, with a schedule and an optimizer of its own, and
a resume goes on from this run's own snapshots. Takes about a minute on 2 cores.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

import milepost
from milepost.recipes.language_model import Sizes, Training, encode, make_loaders

# Modules that are one Python file in every CPython.
_MODULES = ("argparse", "configparser", "dataclasses", "difflib", "doctest", "inspect", "pickle", "tarfile", "typing")


def source_code() -> str:
    """Read the modules in a fixed order."""
    found = []
    for name in _MODULES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(f"the source of {name} is not installed with this Python")
        found.append(Path(spec.origin).read_text())
    return "\n\n".join(found)


def train(
    trial: milepost.Trial,
    *,
    epochs: int = 1,
    learning_rate: float = 0.001,
    batch_size: int = 32,
    weight_decay: float = 0.1,
    clip_norm: float = 1.0,
    warmup_steps: int = 20,
    eval_every: int = 100,
    stride: int = 48,
    dropout: float = 0.1,
    frozen_layers: int = 0,
    steps_per_epoch: int | None = None,
    threads: int = 1,
    seed: int = 1,
) -> None:
    """Fine-tune the model of a snapshot.

    Args:
        trial: given by Milepost.
        epochs: passes over the training windows.
        learning_rate: the highest one, after the warm-up; lower than for a model that knows nothing yet.
        batch_size: windows per step.
        weight_decay: of weight matrices.
        clip_norm: gradients are scaled down to this norm.
        warmup_steps: steps until the highest learning rate.
        eval_every: steps from one evaluation to the next.
        stride: characters from the start of one window to the next.
        dropout: of the transformer.
        frozen_layers: of the first layers, and with any of them the embeddings, nothing is changed.
        steps_per_epoch: shorten the epochs to so many steps. None: all windows.
        threads: of PyTorch.
        seed: of order and dropout.

    Raises:
        BadParameter: there is no snapshot to begin with, it holds no such model, or a value cannot work.
    """
    state = trial.restore()
    weights = _weights(state)
    sizes = Sizes(**weights["sizes"])
    if min(epochs, batch_size, stride, eval_every, threads) < 1 or not 0 <= frozen_layers <= sizes.layers:
        raise milepost.BadParameter(f"sizes must be at least 1, and frozen_layers from 0 to {sizes.layers}")
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    corpus = encode(source_code())
    if corpus.vocabulary != sizes.vocabulary:
        raise milepost.BadParameter(
            f"the snapshot knows {sizes.vocabulary} characters and this Python has {corpus.vocabulary}: "
            "it was made with another version of Python"
        )
    loader, held_out = make_loaders(corpus, sizes.context, stride, batch_size, steps_per_epoch)
    loader = trial.shard(loader, seed=seed)
    training = Training(sizes, dropout, learning_rate, weight_decay, warmup_steps, epochs * len(loader))
    if state is weights:
        training.load(weights)
    else:
        training.model.load_state_dict(weights["model"])
    _freeze(training, frozen_layers)
    # Each rank drops out other values.
    torch.manual_seed(seed + trial.rank)
    training.run(trial, loader, held_out, epochs=epochs, eval_every=eval_every, clip_norm=clip_norm)


def _weights(state: dict[str, Any] | None) -> dict[str, Any]:
    """Return the snapshot to begin with, or the own one to go on from."""
    if state is None:
        raise milepost.BadParameter(
            "language_model_tuning begins with a snapshot: name one of milepost.recipes.language_model in initialize_from"
        )
    weights: dict[str, Any] = state.get("initialize_from", state)
    if not {"sizes", "model"} <= weights.keys():
        raise milepost.BadParameter("the snapshot in initialize_from is not one of milepost.recipes.language_model")
    return weights


def _freeze(training: Training, layers: int) -> None:
    if not layers:
        return
    model = training.model
    for module in (model.characters, model.places, *model.blocks[:layers]):
        module.requires_grad_(False)
