"""The `milepost` command. Data goes to stdout, messages to stderr; exit statuses are in `milepost.cli.exits`.

- `runs/`, `searching/`: commands about runs and searches; `audit/`: about the log; `local/`: about the stack on this machine;
  `tokens`: who may call it.
- `connection`: how all of them connect, and what users may type; `output`: tables or JSON; `completion`: of a shell.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
from contextlib import suppress

import click
from click.shell_completion import shell_complete

from milepost import errors
from milepost.cli import completion, tokens
from milepost.cli.audit import commands as audit
from milepost.cli.exits import Exit, exit_of
from milepost.cli.local import backup, doctor, stack
from milepost.cli.output import as_any_terminal_can, say
from milepost.cli.runs import (
    branches,
    command,
    exchange,
    metrics,
    notifications,
    rules,
    runtimes,
    samples,
    snapshots,
    sync,
    trials,
)
from milepost.cli.searching import simulate

# What is wrong with a path that somebody has named.
_BAD_PATH = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EACCES,
        errno.EPERM,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EEXIST,
    }
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="milepost", message="%(version)s")
def cli() -> None:
    """Run training jobs, and remember everything that happened to them."""


cli.add_command(stack.up)
cli.add_command(stack.demo)
cli.add_command(doctor.config)
cli.add_command(doctor.doctor)
cli.add_command(runtimes.runtime)
for one in (*snapshots.COMMANDS, *branches.COMMANDS, samples.samples):
    runtimes.runtime.add_command(one)
cli.add_command(trials.trial)
cli.add_command(simulate.search)
cli.add_command(metrics.metrics)
cli.add_command(rules.rule)
for one in notifications.COMMANDS:
    rules.rule.add_command(one)
cli.add_command(audit.audit)
cli.add_command(tokens.token)
cli.add_command(sync.sync)
cli.add_command(backup.backup)
cli.add_command(backup.restore)
cli.add_command(command.run)
cli.add_command(exchange.imports)
cli.add_command(exchange.exports)
cli.add_command(completion.completion)


def main() -> None:
    """Run the command line and leave with its exit status."""
    as_any_terminal_can()
    # A command says itself what it could not do; the names of log lines would say nothing to who has typed it.
    logging.getLogger("milepost.eventlog").addHandler(logging.NullHandler())
    sys.exit(run())


def run() -> int:
    """Run the command line; returns the exit status and has said what went wrong."""
    try:
        return _run()
    except BrokenPipeError:
        # Reading ends early in `milepost ... | head`: it ends as any program does then, but for what it had to put away.
        _write_no_more()
        return command.end_by(signal.SIGPIPE)
    except OSError as error:
        if error.errno is None:
            raise
        _write_no_more()
        # Where that cannot be written either the status says it.
        with suppress(OSError):
            say(f"error: {error.filename or 'the output cannot be written'}: {error.strerror}")
        return Exit.USAGE if error.filename and error.errno in _BAD_PATH else Exit.WRITE


def _write_no_more() -> None:
    """Give up what could not be written: it would be tried again at the end of the process, and fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _run() -> int:
    try:
        if wanted := os.environ.get(completion.VARIABLE):
            return shell_complete(cli, {}, "milepost", completion.VARIABLE, wanted)
        # Not `cli.main`: that answers a broken pipe with a status of its own.
        with cli.make_context("milepost", sys.argv[1:]) as context:
            result = cli.invoke(context)
        return int(result) if isinstance(result, int) else Exit.OK
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        words = io.StringIO()
        error.show(words)
        say(words.getvalue().rstrip("\n"))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        # Ends the line on which a terminal shows ^C.
        say("")
        return Exit.INTERRUPTED
    except errors.InvalidArgument as error:
        if not error.violations:
            say(f"error: {error.message}")
        for violation in error.violations:
            say(f"error: {violation.field}: {violation.description}")
        return exit_of(error)
    except errors.Unimplemented as error:
        say(f"error: this server does not have that yet ({error.message})")
        return exit_of(error)
    except errors.MilepostError as error:
        say(f"error: {error.message}")
        if error.reason and os.environ.get("MILEPOST_DEBUG"):
            say(f"reason: {error.reason} {error.metadata or ''}")
        return exit_of(error)
