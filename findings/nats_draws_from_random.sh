#!/usr/bin/env bash
# nats-py 2.16.0: looking for a server draws from the generator of the module `random`.
#
# With more than one address, `connect` shuffles them by `random.shuffle`, so a program that has called `random.seed` gets
# other numbers after it than without it, also where nothing answers, and where it connects in another thread at a moment
# of its own. The addresses that a server of a cluster names are shuffled in the same way. With `dont_randomize=True`, or
# one address, nothing is drawn.
# Seen: "one address: the same numbers", "three addresses: other numbers", "three, dont_randomize: the same numbers".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --retries 0 "nats-py==2.16.0" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import logging
import random

import nats

logging.getLogger("nats").setLevel(logging.CRITICAL)


async def look(servers, **options):
    try:
        await nats.connect(servers, connect_timeout=1, allow_reconnect=False, max_reconnect_attempts=1,
                           reconnect_time_wait=0, **options)
    except Exception as error:
        # Nothing listens there.
        assert type(error).__name__ in ("NoServersError", "ConnectionRefusedError", "OSError"), repr(error)


three = [f"nats://127.0.0.1:{port}" for port in (9, 10, 11)]
for label, servers, options, same in (
    ("one address", three[:1], {}, True),
    ("three addresses", three, {}, False),
    ("three, dont_randomize", three, {"dont_randomize": True}, True),
):
    random.seed(0)
    expected = random.getstate()
    asyncio.run(look(servers, **options))
    found = random.getstate() == expected
    print(f"{label}: {'the same' if found else 'other'} numbers")
    assert found is same, label
PYTHON
