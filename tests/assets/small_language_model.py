"""`python small_language_model.py FOLDER`: a language model of a configuration, a tokenizer that is trained here, and sums
to learn: `model/`, `train.jsonl`, `held-out.jsonl` (conversations), `texts.jsonl` (prompt and completion)."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]


def sums(count: int, seed: int) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    return [
        (f"{a} plus {b}?", f"It is {a + b}.")
        for a, b in ((draw.randrange(20), draw.randrange(20)) for _ in range(count))
    ]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    texts = [f"{asked} {said}" for asked, said in sums(400, seed=0)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    fast.chat_template = TEMPLATE
    configuration = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings="tied" in sys.argv[2:],
        bos_token_id=None, eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id,
    )  # fmt: skip
    fast.save_pretrained(folder / "model")
    LlamaForCausalLM(configuration).save_pretrained(folder / "model")
    for name, count, seed in (("train", 160, 1), ("held-out", 12, 2)):
        lines = [
            {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
            for asked, said in sums(count, seed)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pairs = [{"prompt": f"{asked} ", "completion": said} for asked, said in sums(160, seed=3)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in pairs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
