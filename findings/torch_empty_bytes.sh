#!/usr/bin/env bash
# torch 2.13.0: torch.save writes empty bytes in a way that torch.load(weights_only=True), its default, refuses.
#
# `b"x"` comes back, `bytearray()` comes back, an empty text comes back; `b""` alone raises "Unsupported global: GLOBAL
# bytes was not an allowed global by default". Pickle protocol 2, which torch.save uses, has no opcode for bytes: it
# writes `_codecs.encode(text, "latin1")`, which the restricted reader allows, but for nothing it writes a call of
# `bytes` itself, which it does not. So a checkpoint is readable or not by the length of one of its values.
# Seen: "b'x': read back", "bytearray(b''): read back", "'': read back", "b'': refused".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --retries 0 \
    --extra-index-url https://download.pytorch.org/whl/cpu "torch==2.13.0+cpu" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import io

import torch

expected = {"b'x'": True, "bytearray(b'')": True, "''": True, "b''": False}
for value in (b"x", bytearray(), "", b""):
    file = io.BytesIO()
    torch.save({"value": value}, file)
    file.seek(0)
    try:
        same = torch.load(file, weights_only=True)["value"] == value
    except Exception as error:
        assert "GLOBAL bytes was not an allowed global" in str(error), error
        same = False
    print(f"{value!r}: {'read back' if same else 'refused'}")
    assert same is expected[repr(value)], value
PYTHON
