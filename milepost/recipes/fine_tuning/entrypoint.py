"""What is run: everything is looked at before the first step, trained, and written."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer

from milepost.recipes.examples.conversations import Example, read_examples
from milepost.recipes.examples.encoding import Document, check_tokenizer, encode, question
from milepost.recipes.examples.packing import Rows, collate, pack
from milepost.recipes.fine_tuning.adapters import add_adapter, load_model, logits, write_merged
from milepost.recipes.fine_tuning.evaluation import evaluate
from milepost.recipes.fine_tuning.training import Pace, Training
from milepost.training.loop.parameters import BadParameter
from milepost.training.loop.trial import Trial

_PRECISIONS = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_KEPT = ("adapter", "merged", "state")
# Logits of documents that share a row may differ from those of each alone by rounding, in this share of the largest.
_SHARED_ROW_ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}


def train(
    trial: Trial,
    *,
    model: str,
    data: str,
    evaluation_data: str = "",
    chat_template: str = "",
    context: int = 1024,
    packing: bool = True,
    epochs: int = 1,
    batch_size: int = 16,
    rows_at_once: int = 4,
    learning_rate: float = 2e-4,
    weight_decay: float = 0.0,
    warmup_steps: int = 10,
    clip_norm: float = 1.0,
    lora_rank: int = 16,
    lora_alpha: float = 32.0,
    lora_dropout: float = 0.0,
    modules: str = "all-linear",
    precision: str = "auto",
    eval_every: int = 100,
    samples: int = 8,
    completion_tokens: int = 64,
    keep: str = "",
    threads: int = 1,
    seed: int = 1,
) -> None:
    """Fine-tune a causal language model.

    Args:
        trial: given by Milepost.
        model: folder of the model and its tokenizer, as `save_pretrained` writes them. Nothing is fetched.
        data: file of JSON lines to learn from; see `milepost.recipes.examples.conversations`.
        evaluation_data: another one, for evaluations. Empty: there are none.
        chat_template: file with one, in place of the tokenizer's.
        context: tokens of an example; the rest of a longer one is cut off.
        packing: short examples share a row. None of them sees another.
        epochs: passes over the rows.
        batch_size: rows of a step, of all ranks together.
        rows_at_once: rows that a rank reads at once; the gradients of a step are added up.
        learning_rate: the highest one, after the warm-up.
        weight_decay, clip_norm, warmup_steps: of the optimizer and its schedule.
        lora_rank, lora_alpha, lora_dropout: of the adapter.
        modules: the layers that get one, by names joined by commas.
        precision: of the model's weights: `auto` (as the folder says), `float32`, `bfloat16`, `float16`.
        eval_every: steps from one evaluation to the next; there is one after the last step too.
        samples: examples of `evaluation_data` whose answers are logged at each evaluation.
        completion_tokens: the longest answer.
        keep: what the snapshot of the last step is: `adapter`, a folder for PEFT; `merged`, a folder for `from_pretrained`;
            `state`, what the other snapshots are. Empty: `adapter`, of several ranks `state`.
        threads: of PyTorch.
        seed: of the adapter, of order and of dropout.

    Raises:
        BadParameter: a value cannot work, a file cannot be read, or the model mixes examples that share a row.
    """
    smallest = min(context, epochs, batch_size, rows_at_once, lora_rank, eval_every, completion_tokens, threads)
    if smallest < 1 or samples < 0:
        raise BadParameter("sizes must be at least 1")
    if precision not in _PRECISIONS:
        raise BadParameter(f"precision is one of {', '.join(_PRECISIONS)}")
    keep = keep or ("adapter" if trial.world_size == 1 else "state")
    if keep not in _KEPT or (keep != "state" and trial.world_size > 1):
        raise BadParameter(f"keep is one of {', '.join(_KEPT)}; of several ranks it is state")
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_tokenizer(model_folder(model), chat_template)
    rows = _rows(trial, read_examples(Path(data)), tokenizer, context, packing)
    if len(rows) < batch_size:
        raise BadParameter(f"{data} makes {len(rows):,} rows, fewer than batch_size")
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    gather = partial(collate, padding=padding)
    loader = trial.shard(DataLoader(Rows(rows), batch_size, shuffle=True, drop_last=True, collate_fn=gather), seed=seed)

    base = load_model(model_folder(model), _PRECISIONS[precision], device)
    if packing:
        check_separation(base)
    tuned = add_adapter(base, lora_rank, lora_alpha, lora_dropout, modules)
    total = epochs * len(loader)
    pace = Pace(learning_rate, weight_decay, warmup_steps, clip_norm, total, rows_at_once)
    training = Training(tuned, pace, device)
    # Each rank drops out other values.
    torch.manual_seed(seed + trial.rank)
    state = trial.restore()
    if state is not None:
        if "adapter" not in state:
            raise BadParameter("initialize_from is for snapshots of other recipes: name a folder in model")
        training.load(state)
    ask = None
    if evaluation_data:
        held_out = read_examples(Path(evaluation_data))
        measured = DataLoader(
            Rows(_rows(trial, held_out, tokenizer, context, packing)), rows_at_once, collate_fn=gather
        )
        questions = [question(one, tokenizer) for one in held_out[:samples]]
        ask = partial(evaluate, trial, tuned, tokenizer, measured, questions, completion_tokens, device)
    training.run(trial, loader, epochs, ask, eval_every)
    if ask is not None and total % eval_every:
        ask()
    if keep == "state":
        return
    with tempfile.TemporaryDirectory(prefix="milepost-") as written:
        _write(trial, tuned, tokenizer, Path(written), merged=keep == "merged")
        trial.adopt(written)
        trial.wait_for_snapshot()


def check_separation(model: Any) -> None:
    """Check that a model reads two documents of one row as it reads each alone.

    Raises:
        BadParameter: it does not, as models with a memory of their own beside attention may.
    """
    vocabulary = model.config.vocab_size
    first, second = (torch.arange(begin, begin + 8, device=model.device)[None] % vocabulary for begin in (1, 3))
    places = torch.arange(8, device=model.device)[None]
    together = logits(model, torch.cat([first, second], 1), torch.cat([places, places], 1))[:, 8:]
    alone = logits(model, second, places)
    allowed = _SHARED_ROW_ROUNDING.get(model.dtype, 0.05) * float(alone.abs().max())
    if float((together - alone).abs().max()) > allowed:
        raise BadParameter(
            f"{type(model).__name__} does not tell apart the examples that share a row: set packing to false"
        )


def model_folder(model: str) -> Path:
    """Return the folder of a model.

    Raises:
        BadParameter: there is none.
    """
    folder = Path(model)
    if not folder.is_dir():
        raise BadParameter(f"model: {folder.absolute()} is no folder; models are not fetched from elsewhere")
    return folder


def load_tokenizer(folder: Path, chat_template: str) -> Any:
    """Load the tokenizer of a folder, with a chat template of another file if one is named.

    Raises:
        BadParameter: it cannot be loaded, or used here.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if chat_template:
            tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadParameter(f"the tokenizer cannot be loaded: {error}") from error
    check_tokenizer(tokenizer)
    return tokenizer


def _rows(
    trial: Trial, examples: list[Example], tokenizer: Any, context: int, packing: bool
) -> list[tuple[Document, ...]]:
    encoded = [encode(one, tokenizer, context) for one in examples]
    documents = [one for one in encoded if one is not None]
    if len(documents) < len(encoded):
        trial.warn(
            "examples",
            f"{len(encoded) - len(documents):,} of {len(encoded):,} examples are left out: what is to be learnt lies behind "
            f"their first {context:,} tokens",
        )
    if not documents:
        raise BadParameter(f"no example has anything to be learnt in its first {context:,} tokens")
    return pack(documents, context) if packing else [(one,) for one in documents]


def _write(trial: Trial, model: Any, tokenizer: Any, folder: Path, merged: bool) -> None:
    """Write the adapter, or the model with it, and the tokenizer. A merge that changes what the model says is not kept."""
    tokenizer.save_pretrained(folder)
    if not merged:
        model.save_pretrained(folder)
        return
    with tempfile.TemporaryDirectory(prefix="milepost-") as beside:
        # A merge cannot be undone to the bit.
        model.save_pretrained(beside)
        found = write_merged(model, folder)
        if found.is_faithful:
            return
        for path in folder.iterdir():
            path.unlink()
        tokenizer.save_pretrained(folder)
        for path in Path(beside).iterdir():
            path.rename(folder / path.name)
    trial.alert(
        "the adapter was not merged",
        f"the merged model differs from the trained one by {found.difference:.3g} in its logits, where the adapter changes "
        f"{found.effect:.3g} and {found.allowed:.3g} is allowed; the adapter was kept in its place",
        level="error",
    )
