#!/usr/bin/env bash
# openapi-python-client 0.29.1: a property that is any text or the constant "" can be read as the constant only.
#
# `anyOf: [{type: string}, {const: ""}]` allows every text. The generated `from_dict` asks of whatever is a text whether it
# is the constant, and raises ValueError where it is not, before it thinks of the other alternative. Written as
# `enum: [""]`, which JSON Schema defines to be the same, every text is read. The generator warns of nothing.
# Seen: "enum: read 'python'", "const: must match const ''".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check openapi-python-client==0.29.1 2>/dev/null
export PATH="$folder/venv/bin:$PATH"
cd "$folder"
for word in enum const; do
    [ "$word" = enum ] && same='{"type": "string", "enum": [""]}' || same='{"const": ""}'
    cat > "$word.json" <<JSON
{"openapi": "3.1.0", "info": {"title": "$word", "version": "1"},
 "paths": {"/": {"get": {"operationId": "get", "responses": {"200": {"description": "done", "content": {
   "application/json": {"schema": {"\$ref": "#/components/schemas/Thing"}}}}}}}},
 "components": {"schemas": {"Thing": {"type": "object", "required": ["name"],
   "properties": {"name": {"anyOf": [{"type": "string"}, $same]}}}}}}
JSON
    openapi-python-client generate --path "$word.json" --output-path "$word" > "$word.log" 2>&1
    ! grep -q WARNING "$word.log"
    cd "$word"
    python - "$word" <<'PYTHON'
import importlib
import sys

word = sys.argv[1]
sys.path.insert(0, ".")
thing = importlib.import_module(f"{word}_client.models").Thing
try:
    print(f"{word}: read {thing.from_dict({'name': 'python'}).name!r}")
    assert word == "enum"
except ValueError as error:
    assert word == "const" and "must match const ''" in str(error), error
    print(f"{word}: must match const ''")
PYTHON
    cd ..
done
