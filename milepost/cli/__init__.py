"""The `milepost` command. Data goes to stdout, messages to stderr; exit statuses are in `milepost.cli.exits`."""

from __future__ import annotations

import os
import signal
import sys

import click

from milepost import errors
from milepost.cli import audit, backup, command, doctor, exchange, metrics, runtimes, stack, sync, tokens, trials
from milepost.cli.exits import Exit, exit_of
from milepost.cli.output import say


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="milepost", message="%(version)s")
def cli() -> None:
    """Run training jobs, and remember everything that happened to them."""


cli.add_command(stack.up)
cli.add_command(stack.demo)
cli.add_command(doctor.config)
cli.add_command(doctor.doctor)
cli.add_command(runtimes.runtime)
cli.add_command(trials.trial)
cli.add_command(metrics.metrics)
cli.add_command(audit.audit)
cli.add_command(tokens.token)
cli.add_command(sync.sync)
cli.add_command(backup.backup)
cli.add_command(backup.restore)
cli.add_command(command.run)
cli.add_command(exchange.imports)
cli.add_command(exchange.exports)


def main() -> None:
    """Run the command line and leave with its exit status."""
    # Reading ends early in `milepost ... | head`: no traceback then.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(run())


def run() -> int:
    """Run the command line; returns the exit status and has said what went wrong."""
    try:
        result = cli.main(prog_name="milepost", standalone_mode=False)
        return int(result) if isinstance(result, int) else Exit.OK
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
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
