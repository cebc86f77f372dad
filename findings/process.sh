#!/usr/bin/env bash
# CPython 3.11.7, 3.12.1 and 3.13.0, no packages. A script that Ctrl-C interrupts ends by SIGINT (a shell sees 130), so
# that loops of a shell end too. If anything evaluates a text as code on the way out, such as a handler of `atexit` that
# imports a module with a dataclass or a named tuple, the same script ends with exit status 1: the interpreter keeps
# "interrupted" in a flag that the start of any such evaluation clears.
# Seen: "plain: 130", then "with eval at exit: 1". Exits with another status than 0 where that is no longer so.
set -u
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf 'raise KeyboardInterrupt\n' > "$folder/plain.py"
printf 'import atexit\natexit.register(lambda: eval("0"))\nraise KeyboardInterrupt\n' > "$folder/evaluates.py"
python3 "$folder/plain.py" 2> "$folder/log"; plain=$?
python3 "$folder/evaluates.py" 2>> "$folder/log"; evaluates=$?
echo "plain: $plain"
echo "with eval at exit: $evaluates"
[ "$plain" = 130 ] && [ "$evaluates" = 1 ]
