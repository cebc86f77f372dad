"""Whether runs start on the machine of the runtime service, and as whom: decided once, from its settings, before it starts."""

from __future__ import annotations

import sys
from pathlib import Path

from milepost.installation.settings import Settings
from services.access.exposure import asks_for_tokens
from services.runtime.launchers.attempt_user import AttemptUser
from services.runtime.launchers.local import LocalPolicy

ON, OFF, READABLE_KEYS = "on", "off", "on-with-readable-keys"

SWITCHED_OFF = (
    "the launcher local is switched off here: use launcher ray, or let whoever runs the installation switch it on "
    "(MILEPOST_LOCAL_LAUNCHER, docs/isolation.md)"
)
NOT_SWITCHED_ON = (
    "the launcher local is off here, because tokens are asked for and a run could read the keys of the installation: use "
    "launcher ray, or let whoever runs the installation give runs a user of their own (MILEPOST_LOCAL_USER, docs/isolation.md)"
)


def local_policy(settings: Settings) -> LocalPolicy:
    """Read whether and as whom attempts are started on this machine.

    Raises:
        SystemExit: attempts could read the keys of an installation that asks for tokens, without anybody having said that
            they may; or the user for them is of no use. The message says what to do.
    """
    mode, user = settings["local_launcher"], settings["local_user"]
    if mode not in ("", ON, OFF, READABLE_KEYS):
        raise SystemExit(f"local_launcher is {ON}, {OFF} or {READABLE_KEYS}, not {mode!r}")
    if mode == OFF:
        return LocalPolicy(off=SWITCHED_OFF)
    if user:
        if mode == READABLE_KEYS:
            raise SystemExit(
                f"local_user keeps keys from runs, which local_launcher={READABLE_KEYS} gives them: drop one"
            )
        return LocalPolicy(user=_confined(settings, user))
    if mode == READABLE_KEYS or not asks_for_tokens(settings):
        return LocalPolicy()
    if mode == ON:
        raise SystemExit(
            "local_launcher=on where tokens are asked for: as the user of this service every run could read "
            f"{settings.keys_dir} and make itself admin. Give runs a user of their own (--local-user NAME; this service must "
            f"then be root), or switch the launcher off, or, if everybody who may start a run may do everything, say so: "
            f"--local-launcher {READABLE_KEYS}"
        )
    return LocalPolicy(off=NOT_SWITCHED_ON)


def _confined(settings: Settings, name: str) -> AttemptUser:
    """Return a user that reads no keys, and can run the trainer. Raises SystemExit."""
    try:
        user = AttemptUser.of(name)
    except ValueError as error:
        raise SystemExit(f"local_user: {error}") from error
    if asks_for_tokens(settings) and settings["authentication"] != "required":
        raise SystemExit(
            "local_user: a run could still do everything by calling this machine itself, where nobody is asked for a token. "
            "Set --authentication required"
        )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    user.prepare(settings.data_dir)
    readable = user.readable(_secret(settings))
    if readable:
        raise SystemExit(f"local_user: {name} can read {', '.join(map(str, readable))}; run: chmod -R go-rwx on it")
    needed = [*reversed(settings.data_dir.parents), settings.data_dir, Path(sys.executable)]
    unreachable = user.unreachable(needed)
    if unreachable:
        raise SystemExit(
            f"local_user: {name} cannot get to {unreachable[0]}, which runs need: let others enter it (chmod o+x), or move "
            "the data directory and the installation to where they can be reached"
        )
    return user


def _secret(settings: Settings) -> list[Path]:
    """List the files of which a run must not read one."""
    found = [settings.tokens_file, settings.keys_dir, settings.data_dir / "secrets"]
    found += [file for folder in found[1:] if folder.is_dir() for file in folder.rglob("*")]
    found += [Path(settings[name]) for name in ("tls_key", "ray_token_file") if settings[name]]
    return [path for path in found if path.exists()]
