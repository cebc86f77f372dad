#!/usr/bin/env bash
# transformers 5.24.0: a Trainer that resumes in the second pass over a stream begins the stream anew.
#
# With an IterableDataset and `max_steps` the Trainer passes over the stream as often as it needs to. At a resume it takes
# the whole training for one epoch and skips as many batches as steps were done, from the start of the stream. With 12
# batches and a checkpoint after step 15 there is nothing left to skip to: it goes on, without a word, with the first batch
# of the next pass instead of the fourth. So three batches are read twice in a pass, and `ignore_data_skip` is not set.
# Seen: "unbroken, steps 16 to 20: [3, 4, 5, 6, 7]", "resumed, steps 16 to 20: [0, 1, 2, 3, 4]".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --retries 0 \
    --extra-index-url https://download.pytorch.org/whl/cpu \
    "torch==2.13.0+cpu" transformers==5.24.0 accelerate==1.15.0 numpy==2.4.6 2>/dev/null
cd "$folder"
CUDA_VISIBLE_DEVICES="" "$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import torch
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments


class Stream(IterableDataset):
    def __iter__(self):
        return iter({"x": torch.tensor([float(number)])} for number in range(12))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)
        self.read = []

    def forward(self, x):
        self.read.append(int(x[0, 0]))
        return {"loss": self.net(x).square().mean() * 0}


def train(checkpoint=None):
    model = Model()
    arguments = TrainingArguments(
        output_dir="out", max_steps=20, per_device_train_batch_size=1, use_cpu=True, report_to="none", save_steps=15,
        disable_tqdm=True, logging_strategy="no",
    )
    Trainer(model=model, args=arguments, train_dataset=Stream()).train(resume_from_checkpoint=checkpoint)
    return model.read


unbroken, resumed = train()[15:], train("out/checkpoint-15")
print("unbroken, steps 16 to 20:", unbroken)
print("resumed, steps 16 to 20:", resumed)
assert unbroken == [3, 4, 5, 6, 7] and resumed == [0, 1, 2, 3, 4]
PYTHON
