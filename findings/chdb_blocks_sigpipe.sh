#!/usr/bin/env bash
# chdb 4.4.0 (chdb-core 26.9.0): `import chdb` blocks SIGPIPE in the thread that imports it, and it stays blocked.
#
# Nothing is opened and nothing asked yet. Every program that the process starts afterwards inherits the mask, for
# `subprocess` restores handlers, not masks: `yes | head -1`, which ends silently by a signal anywhere else, says "Broken
# pipe" and has status 1. An import in another thread than the one that starts programs leaves them alone.
# Seen: "before: 141", "import_in_a_thread: 141", "import: 1".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check chdb==4.4.0 chdb-core==26.9.0 2>/dev/null
cat > "$folder/look.py" <<'PYTHON'
import subprocess
import sys
import threading


def status_of_yes() -> int:
    line = "(yes; echo $? >&2) | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1])


def engine() -> None:
    import chdb  # noqa: F401


word, way = sys.argv[1:]
if way == "here":
    engine()
elif way == "thread":
    thread = threading.Thread(target=engine)
    thread.start()
    thread.join()
print(f"{word}: {status_of_yes()}")
PYTHON
seen=$(for way in "before none" "import_in_a_thread thread" "import here"; do
    # shellcheck disable=SC2086
    "$folder/venv/bin/python" "$folder/look.py" $way
done)
echo "$seen"
[ "$(tr '\n' ' ' <<<"$seen")" = "before: 141 import_in_a_thread: 141 import: 1 " ]
