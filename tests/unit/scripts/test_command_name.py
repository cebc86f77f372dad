"""Runs of `milepost run` are named for what they run."""

from __future__ import annotations

import shlex

import pytest

from milepost.training.script.command_name import name_of


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("python train.py --epochs 3", "train.py"),
        ("/usr/bin/python3.11 -u -X dev -W ignore src/train.py conf.py", "train.py"),
        ("./train.py", "train.py"),
        ("python -m pkg.train --config conf.py", "pkg.train"),
        ("python -um pkg.train", "pkg.train"),
        ("python -uc 'train()'", "python"),
        ("torchrun --nproc-per-node=2 train.py", "train.py"),
        ("torchrun --nproc-per-node 2 -m pkg.train", "pkg.train"),
        ("python -m torch.distributed.run --standalone train.py", "train.py"),
        ("accelerate launch --config_file cfg.yaml train.py --lr 1", "train.py"),
        ("accelerate launch --module pkg.train", "pkg.train"),
        ("deepspeed --num_gpus 2 train.py --deepspeed_config ds.json", "train.py"),
        ("bash run.sh", "run.sh"),
        ("bash -x scripts/run --fast", "run"),
        ("bash -c 'HF_HOME=/x python train.py'", "train.py"),
        ("bash -lc 'cd src && python -m pkg.train | tee log'", "pkg.train"),
        ("sh -c 'echo \"'", "sh"),
        ("env CUDA_VISIBLE_DEVICES=0 python train.py", "train.py"),
        ("A=1 B=2 python train.py", "train.py"),
        ("A=1 ./work", "work"),
        ("nohup nice -n 10 python train.py", "train.py"),
        ("uv run --with x train.py", "train.py"),
        ("conda run -n base python train.py", "train.py"),
        ("srun -N 2 torchrun train.py", "train.py"),
        ("nsys profile -o out python train.py", "train.py"),
        ("python -m cProfile -o out.prof train.py", "train.py"),
        ("python -c 'print(1)'", "python"),
        ("python", "python"),
        ("./build/train --config conf.py", "train"),
        ("make train", "make"),
    ],
)
def test_a_command_is_named_for_its_script(line: str, name: str) -> None:
    assert name_of(shlex.split(line)) == name
