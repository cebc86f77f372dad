"""Who may write to a runtime whose attempts Milepost does not launch: who started it, and admins."""

from __future__ import annotations

from milepost.errors import PermissionDenied
from milepost.security.tokens import Role
from services.access.authentication import current_caller
from services.runtime.readmodel.view import RuntimeView


def may_write(view: RuntimeView) -> bool:
    """Return whether the caller may write as the runtime's attempt."""
    caller = current_caller()
    mine = view.created is not None and view.created.actor == caller.actor
    return mine or caller.role in (Role.ADMIN, Role.LOCAL)


def check_owner(view: RuntimeView) -> None:
    """Raise PermissionDenied when the caller may not."""
    if not may_write(view):
        raise PermissionDenied(
            f"{current_caller().actor} did not start this runtime; who did, or an admin, may write to it",
            reason="NOT_THE_OWNER",
        )
