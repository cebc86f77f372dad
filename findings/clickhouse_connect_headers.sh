#!/usr/bin/env bash
# clickhouse-connect 1.12.0: importing it lets `http.client` take 10,000 headers of an answer, in the whole process.
#
# It sets `http.client._MAXHEADERS`, so what urllib, requests and every other library refuse ("got more than 100 headers")
# they take once anything has imported clickhouse_connect; a test of such an answer passes or fails by what ran before it.
# Seen: "before: 100", "after: 10000".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --retries 0 "clickhouse-connect==1.12.0" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import http.client

print("before:", before := http.client._MAXHEADERS)
import clickhouse_connect  # noqa: E402, F401

print("after:", http.client._MAXHEADERS)
assert (before, http.client._MAXHEADERS) == (100, 10_000)
PYTHON
