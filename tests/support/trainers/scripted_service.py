"""The runtime service in a process of its own, with scripted trainers, to be killed by tests.

`python tests/support/trainers/scripted_service.py <data dir> <nats url> <port> [<address of the metric service>]`
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from services.rpc.telemetry import configure_logging
from services.runtime.application import Application, Options
from services.runtime.policies.placement import Capacity
from services.server import wait_for_signal

TRAINER = (sys.executable, str(Path(__file__).resolve().parent / "scripted_trainer.py"))


async def serve(data_dir: Path, nats_url: str, port: int, metrics: str = "127.0.0.1:1") -> None:
    application = Application(
        Options(
            listen=f"127.0.0.1:{port}",
            data_dir=data_dir,
            nats_url=nats_url,
            metrics_address=metrics,
            trials_address="127.0.0.1:1",
            capacity=Capacity("test-host", 8.0, 32.0),
            trainer_command=TRAINER,
        )
    )
    await application.start()
    try:
        await application.run_until(wait_for_signal())
    finally:
        await application.stop()


if __name__ == "__main__":
    configure_logging("runtime")
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
