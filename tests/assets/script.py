"""A training script of somebody who has never heard of runtimes."""

import sys

import milepost

trial = milepost.init(name="mine", total_steps=20, parameters={"rate": 0.1})
print("hello from the script")
for step in range(20):
    trial.log({"train/loss": 1.0 / (step + 1)})
if "fail" in sys.argv:
    raise RuntimeError("no more data")
