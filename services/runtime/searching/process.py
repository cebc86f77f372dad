"""The process of the sampler: answers lines of JSON on standard input with lines of JSON on standard output.

It keeps the studies of the searches that it was asked for. It ends when its input does, so with the service that started
it, and has nothing that the log has not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import optuna

from services.runtime.searching.parameters import importances
from services.runtime.searching.study import VERSION, Study


class Studies:
    """All studies of one process."""

    def __init__(self) -> None:
        self._studies: dict[str, Study] = {}

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request of `sampler.Sampler`.

        `forget` forgets a study. Else its history is extended by `entries`, which come after the first `after` ones, and
        with `propose` the next point is answered. `has` is how many entries it has where that is not so many: nothing was
        done. With `importances`, which are points and their values, it is answered what follows from each parameter.
        """
        name = request["study"]
        if "importances" in request:
            shares, method = importances(request["definition"], request["importances"])
            return {"shares": shares, "method": method}
        if request.get("forget"):
            self._studies.pop(name, None)
            return {}
        study = self._studies.get(name)
        entries = request["entries"]
        if study is None or study.definition != request["definition"] or not study.continues(entries):
            # Made anew, from the beginning.
            study = self._studies[name] = Study(request["definition"])
        if len(study.entries) != request["after"]:
            return {"has": len(study.entries)}
        study.extend(entries)
        answer: dict[str, Any] = {"version": VERSION, "differing": study.differing}
        if request["propose"]:
            answer["parameters"] = study.propose()
        return answer

    def serve(self, requests: BinaryIO, answers: BinaryIO) -> None:
        """Answer until there are no more requests."""
        for line in requests:
            request = json.loads(line)
            try:
                answer = self.answer(request)
            except Exception as error:  # the outermost loop: what Optuna raises for one search is told to whoever asked
                self._studies.pop(request["study"], None)
                answer = {"error": f"{type(error).__name__}: {error}"[:500]}
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # What a library prints is no answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        Studies().serve(sys.stdin.buffer, answers)
    except (BrokenPipeError, KeyboardInterrupt):
        # Whoever asked is gone.
        return


if __name__ == "__main__":
    main()
