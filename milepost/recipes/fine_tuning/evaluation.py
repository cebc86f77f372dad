"""How good a model is on examples that it is not trained on: their loss, and what it says to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from milepost.recipes.examples.encoding import Question
from milepost.recipes.examples.packing import NOT_LEARNT
from milepost.training.loop.trial import Trial

SAMPLES = "eval/samples"


def summed_loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Return the cross entropy of a batch in nats, summed over the tokens that are learnt."""
    found = model(input_ids=batch["tokens"], position_ids=batch["position_ids"], use_cache=False).logits
    return functional.cross_entropy(
        found[:, :-1].flatten(0, 1).float(), batch["labels"][:, 1:].flatten(), ignore_index=NOT_LEARNT, reduction="sum"
    )


def learnt_in(batch: dict[str, Tensor]) -> Tensor:
    """Count the tokens of a batch that are learnt."""
    return (batch["labels"] != NOT_LEARNT).sum()


@torch.no_grad()
def evaluate(
    trial: Trial,
    model: Any,
    tokenizer: Any,
    loader: Any,
    questions: Sequence[Question],
    completion_tokens: int,
    device: torch.device,
) -> None:
    """Log `eval/loss`, a mean over tokens, and what the model says to some questions, as `eval/samples`."""
    model.eval()
    try:
        with trial.evaluation(len(loader)) as evaluation:
            total, count = 0.0, 0
            for batch in evaluation.batches(loader):
                moved = {name: one.to(device) for name, one in batch.items()}
                total += float(summed_loss(model, moved))
                count += int(learnt_in(moved))
            evaluation.log({"eval/loss": total / count})
            rows = [_sample(model, tokenizer, one, completion_tokens, device) for one in questions]
            if rows:
                trial.samples(SAMPLES, rows)
    finally:
        model.train()


def _sample(model: Any, tokenizer: Any, asked: Question, most: int, device: torch.device) -> dict[str, Any]:
    prompt = torch.tensor([asked.tokens], device=device)
    said = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=most,
        do_sample=False,
        pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
    )[0, prompt.shape[1] :]
    text = tokenizer.decode(said, skip_special_tokens=True)
    scores = {"tokens": len(said), "exact": float(text.strip() == asked.answer.strip())}
    return {"prompt": asked.prompt, "completion": text, "scores": scores}
