"""Low-rank adapters of a causal language model, through PEFT: made, saved, and merged into the model.

A merge is not taken on trust. PEFT adds the weights of an adapter to those of the model, which rounds, and which with
some adapters on tied embeddings adds them twice. So what was merged is written, read back, and compared with what was
trained, by its logits; see `write_merged`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from transformers import AutoModelForCausalLM

from milepost.training.loop.parameters import BadParameter

# How much of what an adapter changes a merge may change in its turn.
_ALLOWED_SHARE = 0.05
# In units of the precision that weights are kept with.
_ALLOWED_ROUNDING = 16
# Tokens by which two models are compared.
_PROBE = 64


@dataclass(frozen=True, slots=True)
class Merge:
    """What a merge came to.

    Attributes:
        difference: the largest one between a logit of the trained model and of the merged one that was read back.
        effect: the largest one that the adapter makes.
        allowed: what `difference` may be.
    """

    difference: float
    effect: float
    allowed: float

    @property
    def is_faithful(self) -> bool:
        return self.difference <= self.allowed


def load_model(folder: Path, precision: torch.dtype | None, device: torch.device) -> Any:
    """Load a causal language model from a folder; nothing is fetched from elsewhere.

    Args:
        precision: of its weights. None: that which the folder names.

    Raises:
        BadParameter: the folder has no such model.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=precision or "auto")
    except (OSError, ValueError) as error:
        raise BadParameter(f"{folder} has no causal language model: {error}") from error
    return model.to(device)


def add_adapter(model: Any, rank: int, alpha: float, dropout: float, modules: str) -> Any:
    """Put an adapter around a model. Its own weights are trained no more.

    Args:
        modules: the layers that get one, by names joined by commas; `all-linear`: all linear layers but the last.

    Raises:
        BadParameter: the model has no such layers, or a value cannot work.
    """
    names = [name.strip() for name in modules.split(",")]
    configuration = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=names[0] if names == ["all-linear"] else names,
    )
    try:
        return get_peft_model(model, configuration)
    except ValueError as error:
        raise BadParameter(f"the adapter cannot be made: {error}") from error


def adapter_weights(model: Any) -> dict[str, Tensor]:
    """Return the weights of the adapter by their names."""
    return dict(get_peft_model_state_dict(model))


def load_adapter(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Put back what `adapter_weights` gave.

    Raises:
        BadParameter: they are those of another adapter, or of another model.
    """
    own = adapter_weights(model)
    if {name: one.shape for name, one in own.items()} != {name: one.shape for name, one in weights.items()}:
        raise BadParameter("the snapshot has an adapter of another form: the model, lora_rank or modules were changed")
    set_peft_model_state_dict(model, dict(weights))


@torch.no_grad()
def logits(model: Any, tokens: Tensor, position_ids: Tensor | None = None) -> Tensor:
    """Return the logits of a model that is not being trained, (rows, width, vocabulary), in single precision."""
    was_training = model.training
    model.eval()
    try:
        return model(input_ids=tokens, position_ids=position_ids, use_cache=False).logits.float()
    finally:
        model.train(was_training)


def probe(model: Any) -> Tensor:
    """Return tokens to compare models by, (1, width): spread over the vocabulary, the same for the same model."""
    vocabulary, longest = model.config.vocab_size, getattr(model.config, "max_position_embeddings", _PROBE)
    width = min(_PROBE, longest)
    return (torch.arange(width, device=model.device) * 7919 % vocabulary)[None]


def write_merged(model: PeftModel, folder: Path) -> Merge:
    """Merge the adapter of a model into it and write that. The model that was given is of no use afterwards.

    Whether it may be kept is for the caller, who looks at `Merge.is_faithful`.

    Args:
        folder: becomes one that `from_pretrained` reads, without PEFT.
    """
    tokens = probe(model)
    trained = logits(model, tokens)
    with model.disable_adapter():
        effect = float((logits(model, tokens) - trained).abs().max())
    merged: Any = model.merge_and_unload()
    merged.save_pretrained(folder)
    device, precision = merged.device, merged.dtype
    # There may not be room for two.
    merged.to("meta")
    written = logits(load_model(folder, precision, device), tokens)
    rounding = _ALLOWED_ROUNDING * torch.finfo(precision).eps * float(trained.abs().max())
    return Merge(float((written - trained).abs().max()), effect, _ALLOWED_SHARE * effect + rounding)
