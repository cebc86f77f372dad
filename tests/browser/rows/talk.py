"""A training loop without a model that logs what one might say: a function of the step. For browser tests."""

from __future__ import annotations

import random
import time

import milepost

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202eevil\u202c\u0000 **end**"


def train(trial: milepost.Trial) -> None:
    """Go through 60 steps, with samples at every tenth and a histogram at each."""
    trial.plan(total_steps=60)
    trial.restore()
    for step in range(trial.step + 1, 61):
        time.sleep(0.005)
        trial.log({"train/loss": 2 / step})
        chance = random.Random(step)
        trial.histogram("weights", [chance.gauss(step / 30, 1) for _ in range(400)], bins=32)
        if step % 10 == 0:
            trial.samples("eval/samples", rows_at(step))
            trial.table("eval/table", [{"letter": "a", "count": step}, {"letter": "b\u202e", "count": 2.5}])


def rows_at(step: int) -> list[dict[str, object]]:
    """Four completions of one prompt, with rewards; and one of another that tries to do harm."""
    members: list[dict[str, object]] = [
        {
            "prompt": "How much is 17 + 25? Think first, then answer.",
            "completion": f"I add {'the tens' if step > 30 else 'everything'}: that is {42 - max(0, 50 - step) // 10 * member}.",
            "scores": {"reward": round(step / 60 - member / 10, 3), "advantage": round(1.5 - member, 2)},
            "group": "q-1",
            "tags": ["math"],
        }
        for member in range(4)
    ]
    return [*members, {"prompt": "Say something.", "completion": f"{HOSTILE} {step}", "scores": {"reward": -1.0}}]
