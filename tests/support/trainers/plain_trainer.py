"""In place of `trainer.on_ray.ray_host`: the same with `TorchTrainer` as it comes, to measure what leaving out its helpers saves.

`python -m tests.support.trainers.plain_trainer` drives an attempt whose worker group is made in this way.
"""

from __future__ import annotations

import os
import sys


def drive() -> int:
    """Be the driver, with this module in the place of the one that drives Ray."""
    from trainer.__main__ import main
    from trainer.on_ray import ray_group

    ray_group.HOST_MODULE = "tests.support.trainers.plain_trainer"
    return main()


def drive_ray() -> int:
    """Be the process that drives Ray: no controller of its own, every service of Ray."""
    from trainer.on_ray import ray_host

    # Read when Ray is imported, which the next line does.
    os.environ.update(ray_host.settings_for(os.environ.get("RAY_ADDRESS", "")))
    from trainer.on_ray import lean_trainer

    lean_trainer.LEAN = False
    ray_host.NOT_STARTED = ()
    return ray_host.main()


if __name__ == "__main__":
    sys.exit(drive() if "--launch" in sys.argv else drive_ray())
