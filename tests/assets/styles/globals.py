"""One big script with globals: settings on top, batches drawn at random, gradients accumulated, a schedule of its own."""

import math
import os
import time
from contextlib import nullcontext

import torch
from torch.nn import functional

# settings
batch_size, block_size, width = 8, 12, 16
max_iters, eval_interval, eval_iters = 40, 10, 3
gradient_accumulation_steps = 2
learning_rate, min_lr, warmup_iters = 1e-2, 1e-3, 5
dropout = 0.1
seed = 1337
pause = float(os.environ.get("PAUSE", "0"))
config_keys = [k for k, v in globals().items() if not k.startswith("_") and isinstance(v, int | float | str)]
config = {k: globals()[k] for k in config_keys}

torch.manual_seed(seed)
text = "to be or not to be, that is the question: " * 20
letters = sorted(set(text))
data = torch.tensor([letters.index(c) for c in text])
splits = {"train": data[:700], "val": data[700:]}


def get_batch(split):
    source = splits[split]
    starts = torch.randint(len(source) - block_size, (batch_size,))
    x = torch.stack([source[i : i + block_size] for i in starts])
    y = torch.stack([source[i + 1 : i + 1 + block_size] for i in starts])
    return x, y


model = torch.nn.Sequential(
    torch.nn.Embedding(len(letters), width),
    torch.nn.Dropout(dropout),
    torch.nn.Linear(width, width),
    torch.nn.ReLU(),
    torch.nn.Linear(width, len(letters)),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)


@torch.no_grad()
def estimate_loss():
    model.eval()
    losses = torch.zeros(eval_iters)
    for k in range(eval_iters):
        x, y = get_batch("val")
        losses[k] = functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
    model.train()
    return losses.mean()


def get_lr(it):
    if it < warmup_iters:
        return learning_rate * (it + 1) / warmup_iters
    return min_lr + 0.5 * (1 + math.cos(math.pi * it / max_iters)) * (learning_rate - min_lr)


iter_num = 0
best_val_loss = 1e9
x, y = get_batch("train")
while iter_num < max_iters:
    for group in optimizer.param_groups:
        group["lr"] = get_lr(iter_num)
    if iter_num % eval_interval == 0:
        with nullcontext():
            val_loss = estimate_loss()
        best_val_loss = min(best_val_loss, val_loss.item())
    for _ in range(gradient_accumulation_steps):
        loss = functional.cross_entropy(model(x).flatten(0, 1), y.flatten()) / gradient_accumulation_steps
        x, y = get_batch("train")
        loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    iter_num += 1
    lossf = loss.item() * gradient_accumulation_steps
    print(f"iter {iter_num}: loss {lossf!r}")
    time.sleep(pause)
print("weights", sum(p.double().sum().item() for p in model.parameters()), "best", best_val_loss)
