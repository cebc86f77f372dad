"""Fine-tuning of a causal language model with a low-rank adapter (LoRA), from one configuration.

    entrypoint: milepost.recipes.fine_tuning:train
    parameters: {model: models/small, data: data/train.jsonl, evaluation_data: data/held-out.jsonl}

`docs/guides/language-models.md` says what may be set. It needs `pip install 'milepost[trainer,fine-tuning]'`.

- `entrypoint`: what is run; start here. `training`: the loop.
- `adapters`: the adapter, and merging it. `evaluation`: the loss on held-out examples, and what the model says.

Data comes by way of `milepost.recipes.examples`.
"""

try:
    from milepost.recipes.fine_tuning.entrypoint import train
except ModuleNotFoundError as error:
    if error.name not in ("peft", "transformers"):
        raise
    raise ModuleNotFoundError(
        f"fine-tuning needs {error.name}: pip install 'milepost[trainer,fine-tuning]'", name=error.name
    ) from error

__all__ = ["train"]
