"""`python -m trainer --launch <attempt folder>/attempt.json`: drive one attempt."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from google.protobuf import json_format

from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.installation import observability
from milepost.installation.json_logs import JsonFormatter
from trainer.driver import Driver
from trainer.isolation import JOB_PROCESS_VARIABLE, confine, die_with_job


def main() -> int:
    die_with_job(os.environ.pop(JOB_PROCESS_VARIABLE, ""))
    confine()
    parser = argparse.ArgumentParser(prog="trainer", description="Drive one attempt. Started by the launcher.")
    parser.add_argument("--launch", required=True, type=Path, help="attempt.json of the attempt's folder")
    arguments = parser.parse_args()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter("trainer"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    launch_file = arguments.launch.absolute()
    launch = json_format.Parse(launch_file.read_text(), AttemptLaunch(), ignore_unknown_fields=True)
    shutdown = observability.configure("trainer", attributes={"milepost.runtime": launch.runtime_id})
    try:
        with observability.span("attempt.drive", launch.traceparent, "consumer", {"attempt": launch.attempt}):
            return asyncio.run(Driver(launch, launch_file).run())
    finally:
        shutdown()


if __name__ == "__main__":
    sys.exit(main())
