"""A small GPT-style language model, trained on the help texts that every CPython ships (`pydoc_data.topics`).

    entrypoint: milepost.recipes.language_model:train

With the defaults it has 3 epochs of about 540 steps and takes one to two minutes on 2 cores; the validation loss falls
from 4.8 to below 1.7 nats a character. For tests a run of a few seconds is

    parameters: {width: 32, layers: 1, heads: 2, context: 32, batch_size: 16, steps_per_epoch: 60, eval_every: 60}

With `resources: {workers: N}` the batch is divided among N workers and trained on with DDP; the curve is that of one
worker but for rounding, as long as `dropout` is 0.

Everything that a resume needs is in the snapshots: weights, optimizer, schedule, random generators, place in the data.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pydoc_data.topics import topics
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import milepost

Loader: TypeAlias = DataLoader[tuple[Tensor, Tensor]]

_VALIDATION_SHARE = 0.1
_VALIDATION_BATCH = 64


@dataclass(frozen=True, slots=True)
class Corpus:
    """The text as numbers: one per character, rare characters share one."""

    training: Tensor
    validation: Tensor
    vocabulary: int


def load_corpus() -> Corpus:
    """Read the topics in a fixed order; the last tenth is for validation."""
    return encode(_topics())


def encode(text: str) -> Corpus:
    """Write any text in the numbers that the characters of the topics have; the last tenth is for validation."""
    counts: dict[str, int] = {}
    for character in _topics():
        counts[character] = counts.get(character, 0) + 1
    known = sorted(character for character, count in counts.items() if count >= 10)
    number = {character: index for index, character in enumerate(known, start=1)}
    encoded = torch.tensor([number.get(character, 0) for character in text], dtype=torch.long)
    cut = int(len(encoded) * (1 - _VALIDATION_SHARE))
    return Corpus(encoded[:cut], encoded[cut:], len(known) + 1)


def _topics() -> str:
    return "\n\n".join(topics[name] for name in sorted(topics))


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a model is."""

    vocabulary: int
    context: int
    width: int
    layers: int
    heads: int


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Pieces of a text: `context` characters, and the same moved on by one."""

    def __init__(self, text: Tensor, context: int, stride: int, limit: int | None = None) -> None:
        self._text = text
        self._context = context
        self._stride = stride
        count = (len(text) - context - 1) // stride + 1
        self._count = count if limit is None else min(count, limit)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        start = index * self._stride
        piece = self._text[start : start + self._context + 1]
        return piece[:-1], piece[1:]


class Block(nn.Module):
    """Attention to what came before, then a feed-forward layer, each behind a normalization."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.attention_in = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Take and give (batch, context, width)."""
        batch, context, width = x.shape
        split = self.attention_in(self.attention_norm(x)).view(batch, context, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.attention_out(attended.transpose(1, 2).reshape(batch, context, width)))
        return x + self.feed(self.feed_norm(x))


class LanguageModel(nn.Module):
    """A decoder-only transformer over characters."""

    def __init__(self, vocabulary: int, context: int, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.apply(_initialize)

    def forward(self, characters: Tensor) -> Tensor:
        """Take (batch, context) numbers, give (batch, context, vocabulary) logits."""
        places = torch.arange(characters.shape[1], device=characters.device)
        x = self.dropout(self.characters(characters) + self.places(places))
        return self.head(self.norm(self.blocks(x)))


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def learning_rate_factor(step: int, warmup_steps: int, total_steps: int, floor: float = 0.1) -> float:
    """Linear warm-up, then a cosine down to `floor`, as a factor of the highest learning rate."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW; weight decay for matrices only, as is usual for transformers."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95))


def train(
    trial: milepost.Trial,
    *,
    epochs: int = 3,
    learning_rate: float = 0.003,
    batch_size: int = 32,
    weight_decay: float = 0.1,
    clip_norm: float = 1.0,
    warmup_steps: int = 50,
    eval_every: int = 250,
    context: int = 64,
    stride: int = 24,
    width: int = 96,
    layers: int = 2,
    heads: int = 4,
    dropout: float = 0.1,
    steps_per_epoch: int | None = None,
    threads: int = 1,
    seed: int = 1,
) -> None:
    """Train the model.

    Args:
        trial: given by Milepost.
        epochs: passes over the training windows.
        learning_rate: the highest one, after the warm-up.
        batch_size: windows per step, of all workers together.
        weight_decay: of weight matrices.
        clip_norm: gradients are scaled down to this norm.
        warmup_steps: steps until the highest learning rate.
        eval_every: steps from one evaluation to the next.
        context: characters per window.
        stride: characters from the start of one window to the next.
        width, layers, heads, dropout: of the transformer.
        steps_per_epoch: shorten the epochs to so many steps. None: all windows.
        threads: of PyTorch.
        seed: of weights, order and dropout.

    Raises:
        BadParameter: a value cannot work.
    """
    if min(epochs, batch_size, context, stride, width, layers, heads, eval_every, threads) < 1 or width % heads:
        raise milepost.BadParameter("sizes must be at least 1, and width a multiple of heads")
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    corpus = load_corpus()
    loader, held_out = make_loaders(corpus, context, stride, batch_size, steps_per_epoch)
    loader = trial.shard(loader, seed=seed)
    sizes = Sizes(corpus.vocabulary, context, width, layers, heads)
    training = Training(sizes, dropout, learning_rate, weight_decay, warmup_steps, epochs * len(loader))
    # Each rank drops out other values.
    torch.manual_seed(seed + trial.rank)
    state = trial.restore()
    if state is not None and "initialize_from" in state:
        training.model.load_state_dict(state["initialize_from"]["model"])
    elif state is not None:
        training.load(state)
    training.run(trial, loader, held_out, epochs=epochs, eval_every=eval_every, clip_norm=clip_norm)


def make_loaders(
    corpus: Corpus, context: int, stride: int, batch_size: int, steps_per_epoch: int | None
) -> tuple[Loader, Loader]:
    """Give the batches to train on, in random order, and those that are held out."""
    limit = None if steps_per_epoch is None else steps_per_epoch * batch_size
    training = DataLoader(Windows(corpus.training, context, stride, limit), batch_size, shuffle=True, drop_last=True)
    return training, DataLoader(Windows(corpus.validation, context, context, limit), _VALIDATION_BATCH)


class Training:
    """A model with what trains it. A snapshot of it says how large the model is."""

    def __init__(
        self,
        sizes: Sizes,
        dropout: float,
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
        total_steps: int,
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.sizes = sizes
        self.total_steps = total_steps
        self.model = LanguageModel(sizes.vocabulary, sizes.context, sizes.width, sizes.layers, sizes.heads, dropout).to(
            self.device
        )
        self.optimizer = make_optimizer(self.model, learning_rate, weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, warmup_steps, total_steps)
        )

    def state(self) -> dict[str, Any]:
        """Give what a resume needs."""
        return {
            "sizes": asdict(self.sizes),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot, with the learning rate that this run was given: a roll back may have changed it."""
        given = self.schedule.base_lrs
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.schedule.base_lrs == given:
            return
        for group, before, rate in zip(self.optimizer.param_groups, self.schedule.base_lrs, given, strict=True):
            group["lr"] *= rate / before
            group["initial_lr"] = rate
        self.schedule.base_lrs = given

    def run(
        self, trial: milepost.Trial, loader: Loader, held_out: Loader, *, epochs: int, eval_every: int, clip_norm: float
    ) -> None:
        """Train for some epochs, from where the trial is."""
        trial.plan(
            self.total_steps,
            steps_per_epoch=len(loader),
            epochs=epochs,
            eval_every=eval_every,
            batches_per_epoch=len(loader),
        )
        trial.evaluate_every(eval_every, lambda: evaluate(trial, self.model, held_out, self.device))
        model = parallel(self.model, self.device) if trial.world_size > 1 else self.model
        for _ in trial.epochs(epochs):
            for characters, following in trial.batches(loader):
                loss = _loss(model, characters.to(self.device), following.to(self.device))
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                norm = nn.utils.clip_grad_norm_(self.model.parameters(), clip_norm)
                self.optimizer.step()
                rate = self.optimizer.param_groups[0]["lr"]
                self.schedule.step()
                trial.log({"train/loss": loss, "train/learning_rate": rate, "train/grad_norm": norm})
                trial.maybe_snapshot(self.state)


def parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """Have the gradients averaged over the workers of the group that Ray Train has made."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices)


def _loss(model: nn.Module, characters: Tensor, following: Tensor) -> Tensor:
    """Mean cross entropy in nats a character."""
    return functional.cross_entropy(model(characters).flatten(0, 1), following.flatten())


@torch.no_grad()
def evaluate(trial: milepost.Trial, model: nn.Module, loader: Loader, device: torch.device) -> None:
    """Measure the loss on text that is not trained on."""
    model.eval()
    try:
        with trial.evaluation(len(loader)) as evaluation:
            total, count = 0.0, 0
            for characters, following in evaluation.batches(loader):
                total += float(_loss(model, characters.to(device), following.to(device))) * len(characters)
                count += len(characters)
            evaluation.log({"eval/loss": total / count})
    finally:
        model.train()
