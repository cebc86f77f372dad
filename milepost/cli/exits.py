"""Exit statuses of the command line: part of its interface, listed in docs/cli.md."""

from __future__ import annotations

from enum import IntEnum

from milepost import errors


class Exit(IntEnum):
    """What a command ends with."""

    OK = 0
    # The run that was waited for is Failed, a check found something, or not all could be imported.
    FAILED = 1
    # Wrong usage, a path that cannot be opened, or the server calls the input invalid.
    USAGE = 2
    NOT_FOUND = 3
    # The state does not allow it, or somebody else was faster.
    PRECONDITION = 4
    # Nothing answers, or not in time.
    UNAVAILABLE = 5
    DENIED = 6
    # This server does not have it yet.
    UNIMPLEMENTED = 7
    EXHAUSTED = 8
    # The local stack cannot start: a port or the data directory is in use, a part is missing or does not get ready.
    STACK = 9
    # `--timeout` ended before what was waited for.
    TIMEOUT = 10
    # The run that was waited for is Aborted.
    ABORTED = 11
    INTERNAL = 70
    # What was to be printed, or written to a file, could not be: the disk is full.
    WRITE = 74
    INTERRUPTED = 130


_OF_ERRORS: dict[type[errors.MilepostError], Exit] = {
    errors.InvalidArgument: Exit.USAGE,
    errors.NotFound: Exit.NOT_FOUND,
    errors.AlreadyExists: Exit.PRECONDITION,
    errors.FailedPrecondition: Exit.PRECONDITION,
    errors.Aborted: Exit.PRECONDITION,
    errors.OutOfRange: Exit.PRECONDITION,
    errors.ResourceExhausted: Exit.EXHAUSTED,
    errors.Unauthenticated: Exit.DENIED,
    errors.PermissionDenied: Exit.DENIED,
    errors.Unavailable: Exit.UNAVAILABLE,
    errors.DeadlineExceeded: Exit.UNAVAILABLE,
    errors.Unimplemented: Exit.UNIMPLEMENTED,
}


def exit_of(error: errors.MilepostError) -> Exit:
    """Choose the exit status of an error; one that has no entry is a fault of the server."""
    for kind in type(error).__mro__:
        if kind in _OF_ERRORS:
            return _OF_ERRORS[kind]
    return Exit.INTERNAL
