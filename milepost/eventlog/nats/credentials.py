"""Who may do what on the NATS server: keys, users and their permissions, as JWTs that the server verifies by itself.

Three keys, in the folder of keys. The *operator* is named in the server's configuration and signs
the account. The *account* holds the streams; it is known by its public key, which also names its folder on disk. A
*signing key* of the account signs users: one for each service, and one for each attempt, made at its launch. So a new
user needs neither a change of the server's configuration nor a service that must be up to let it in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nkeys

from milepost.eventlog import BUCKETS, EVENTS, LEASES_BUCKET, TELEMETRY
from milepost.security.tokens import make_private_directory, require_private, secret_file, write_private

AUTHORITY_FILE = "nats-authority.json"
SERVICES = ("runtime", "trials", "metrics", "rules", "mlflow")
# Users of earlier versions, whose files are removed where keys are made.
FORMER_USERS = ("gateway",)
# Credentials for the command line: backups, imports, repairs. Services never use them.
ADMIN = "admin"
# An attempt cannot go on for longer than this; its successor gets credentials of its own.
ATTEMPT_LIFETIME_SECONDS = 90 * 24 * 3600
# Attempts before it whose spools it may send. All of what a user may do must fit into the 4,096 bytes of the line with
# which it connects.
MAX_PREDECESSORS = 8

# Events of one chain that the runtime service may send to an attempt that asks.
CHAIN_ANSWERS = 1_000_000

_UNLIMITED = -1
_ACCOUNT = re.compile(r"A[A-Z2-7]{55}")


class InvalidCredentials(Exception):
    """A file of keys or credentials cannot be used. The message says which and why."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects a user may publish to and subscribe to. Everything else is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    # Of the subjects it may publish to, those it may not.
    refused: tuple[str, ...] = ()
    # How many messages it may send where somebody who asked it waits for an answer, within a minute. 0: none.
    answers: int = 0


def attempt_user(runtime_id: str, trial: int, attempt: int) -> str:
    return f"{runtime_id}_{trial}_{attempt}"


def inbox_prefix(user: str) -> str:
    """Where answers to a user go. Nobody else may listen there."""
    return f"_INBOX_{user}"


def attempt_permissions(runtime_id: str, trial: int, attempt: int) -> Permissions:
    """What an attempt may do: write its own subjects, read its own trial; make no stream and no consumer.

    It also sends the telemetry that earlier attempts have left.
    """
    attempts = range(max(1, attempt - MAX_PREDECESSORS), attempt + 1)
    read = f"$JS.API.DIRECT.GET.{EVENTS}"
    return Permissions(
        publish=(
            f"events.{runtime_id}.trial.{trial}.attempt-{attempt}",
            *(f"telemetry.{runtime_id}.{trial}.{number}.>" for number in attempts),
            f"heartbeat.{runtime_id}.{trial}.{attempt}.*",
            # The form with the subject in it: the one with a payload would read everything.
            f"{read}.events.{runtime_id}.trial.{trial}.*",
            f"{read}.events.{runtime_id}.runtime",
            # The history of its own trial, from the runtime service.
            f"chains.{runtime_id}.{trial}",
        ),
        subscribe=(
            f"{inbox_prefix(attempt_user(runtime_id, trial, attempt))}.>",
            f"committed.events.{runtime_id}.>",
            *(f"stored.{runtime_id}.{trial}.{number}" for number in attempts),
        ),
    )


def _reading(stream: str) -> tuple[str, ...]:
    api = "$JS.API"
    return (
        f"{api}.STREAM.INFO.{stream}",
        f"{api}.STREAM.MSG.GET.{stream}",
        f"{api}.DIRECT.GET.{stream}",
        f"{api}.DIRECT.GET.{stream}.>",
        f"{api}.CONSUMER.CREATE.{stream}.>",
        f"{api}.CONSUMER.MSG.NEXT.{stream}.>",
        f"{api}.CONSUMER.DELETE.{stream}.>",
    )


def service_permissions(service: str) -> Permissions:
    """What one of `SERVICES` may do. None may change or delete a stream: that would erase history."""
    streams = (EVENTS, TELEMETRY, *(f"KV_{bucket}" for bucket in BUCKETS))
    publish = [
        *_reading(EVENTS),
        *_reading(TELEMETRY),
        # Whichever service is first makes what is missing.
        *(f"$JS.API.STREAM.CREATE.{stream}" for stream in streams),
        *(f"$JS.API.STREAM.INFO.{stream}" for stream in streams[2:]),
        "events.platform.access",
    ]
    subscribe = [f"{inbox_prefix(service)}.>", "committed.events.>"]
    if service == "runtime":
        publish += ["events.*.runtime", "events.*.trial.*.control"]
        for bucket in BUCKETS:
            publish += [f"$KV.{bucket}.>", f"$JS.API.STREAM.MSG.GET.KV_{bucket}"]
        subscribe += ["heartbeat.>", "stored.>", "chains.*.*"]
    elif service == "trials":
        subscribe += ["heartbeat.>"]
    elif service == "metrics":
        # With a ClickHouse server several may run, of which one stores.
        publish += ["stored.>", f"$KV.{LEASES_BUCKET}.metrics", f"$JS.API.STREAM.MSG.GET.KV_{LEASES_BUCKET}"]
    elif service == "rules":
        # Which rules there are, and what they found; nothing that decides what runs.
        publish += ["events.*.rules", f"$KV.{LEASES_BUCKET}.rules", f"$JS.API.STREAM.MSG.GET.KV_{LEASES_BUCKET}"]
    elif service == "mlflow":
        # It speaks for the clients of MLflow, whose runs are attempts; what the runtime service decides it may not say.
        publish += ["events.*.trial.*.*", "telemetry.*.*.*.*", "heartbeat.*.*.*.*"]
        subscribe += ["stored.>"]
        return Permissions(tuple(publish), tuple(subscribe), refused=("events.*.trial.*.control",))
    else:
        raise ValueError(f"not a service: {service}")
    return Permissions(tuple(publish), tuple(subscribe), answers=CHAIN_ANSWERS if service == "runtime" else 0)


ADMIN_PERMISSIONS = Permissions((">",), (">",))


@dataclass(frozen=True, slots=True)
class Authority:
    """The keys that make users.

    Attributes:
        account: public key of the account that holds the streams.
        signing_seed: signs users of that account.
        operator_seed: signs the account itself; only where the server's configuration is written. Empty: elsewhere.
        system_account: public key of the account the server itself uses.
    """

    account: str
    signing_seed: str
    operator_seed: str = ""
    system_account: str = ""

    def credentials(self, user: str, permissions: Permissions, lifetime_seconds: float | None = None) -> str:
        """Make a user and return its credentials, in the form of a `.creds` file: they are a secret."""
        key = _new_key(nkeys.PREFIX_BYTE_USER)
        now = int(time.time())
        claims: dict[str, Any] = {
            "iat": now,
            "iss": _public(_key(self.signing_seed)),
            "name": user,
            "sub": _public(key),
            "nats": {
                "type": "user",
                "version": 2,
                "issuer_account": self.account,
                "pub": {"allow": list(permissions.publish)},
                "sub": {"allow": list(permissions.subscribe)},
                "subs": _UNLIMITED,
                "data": _UNLIMITED,
                "payload": _UNLIMITED,
            },
        }
        if permissions.refused:
            claims["nats"]["pub"]["deny"] = list(permissions.refused)
        if permissions.answers:
            claims["nats"]["resp"] = {"max": permissions.answers, "ttl": 60_000_000_000}
        if lifetime_seconds is not None:
            claims["exp"] = now + int(lifetime_seconds)
        token = _encode(claims, _key(self.signing_seed))
        seed = key.seed.decode()
        return (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )

    def attempt_credentials(self, runtime_id: str, trial: int, attempt: int) -> str:
        """Make the credentials of one attempt."""
        user = attempt_user(runtime_id, trial, attempt)
        return self.credentials(user, attempt_permissions(runtime_id, trial, attempt), ATTEMPT_LIFETIME_SECONDS)

    def server_configuration(self) -> list[str]:
        """Lines for the configuration of the server, by which it knows all users there will ever be."""
        operator = _key(self.operator_seed)
        now = int(time.time())
        own = _encode(
            {"iat": now, "iss": _public(operator), "name": "milepost", "sub": _public(operator),
             "nats": {"type": "operator", "version": 2, "system_account": self.system_account}},
            operator,
        )  # fmt: skip
        limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn"), _UNLIMITED)
        limits |= {"wildcards": True, "leaf": 0}
        storage = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), _UNLIMITED)

        def account(name: str, subject: str, more: Mapping[str, Any]) -> str:
            nats = {"type": "account", "version": 2, "limits": limits, **more}
            return _encode({"iat": now, "iss": _public(operator), "name": name, "sub": subject, "nats": nats}, operator)

        signing_keys = {"signing_keys": [_public(_key(self.signing_seed))], "limits": {**limits, **storage}}
        return [
            f"operator: {own}",
            f"system_account: {self.system_account}",
            "resolver: MEMORY",
            "resolver_preload: {",
            f"  {self.account}: {account('milepost', self.account, signing_keys)}",
            f"  {self.system_account}: {account('system', self.system_account, {})}",
            "}",
        ]


def open_authority(keys_dir: Path, store_directory: Path | None = None) -> Authority:
    """Read the keys of a folder, after making them where there are none.

    If `store_directory` holds the streams of an account already, new keys take that account over: with the keys lost,
    the history is not. Keys that are damaged are set aside, and count as lost.

    Raises:
        TokenError: the file cannot be read or made, or others can read it.
        InvalidCredentials: it is not a file of keys.
    """
    path = keys_dir / AUTHORITY_FILE
    return _parse(path, secret_file(path, lambda: _make_authority(store_directory), _is_authority))


def find_authority(keys_dir: Path) -> Authority | None:
    """Read the keys of a folder. None: it has none, so users of its server need no credentials.

    Raises: as `open_authority`.
    """
    path = keys_dir / AUTHORITY_FILE
    if not path.exists():
        return None
    require_private(path)
    return _parse(path, path.read_text())


def _make_authority(store_directory: Path | None) -> str:
    found = [
        path.name
        for path in (store_directory / "jetstream").glob("A*")
        if _ACCOUNT.fullmatch(path.name) and (path / "streams" / EVENTS).is_dir()
    ] if store_directory is not None else []  # fmt: skip
    return json.dumps(
        {
            "account": found[0] if len(found) == 1 else _public(_new_key(nkeys.PREFIX_BYTE_ACCOUNT)),
            "signing_seed": _new_key(nkeys.PREFIX_BYTE_ACCOUNT).seed.decode(),
            "operator_seed": _new_key(nkeys.PREFIX_BYTE_OPERATOR).seed.decode(),
            "system_account": _public(_new_key(nkeys.PREFIX_BYTE_ACCOUNT)),
        },
        indent=2,
    )


def _is_authority(text: str) -> bool:
    try:
        _parse(Path(AUTHORITY_FILE), text)
    except InvalidCredentials:
        return False
    return True


def _parse(path: Path, text: str) -> Authority:
    try:
        authority = Authority(**json.loads(text))
        _key(authority.signing_seed)
    except (ValueError, TypeError, nkeys.NkeysError) as error:
        raise InvalidCredentials(f"{path} is no file of NATS keys; restore it from a backup") from error
    if not _ACCOUNT.fullmatch(authority.account):
        raise InvalidCredentials(f"{path} names no account")
    return authority


def write_service_credentials(keys_dir: Path) -> None:
    """Write the credentials of each service that speaks with NATS, and of the command line, beside the keys."""
    authority = open_authority(keys_dir)
    make_private_directory(keys_dir)
    users = {service: service_permissions(service) for service in SERVICES} | {ADMIN: ADMIN_PERMISSIONS}
    for user, permissions in users.items():
        write_private(credentials_path(keys_dir, user), authority.credentials(user, permissions).encode())
    for user in FORMER_USERS:
        credentials_path(keys_dir, user).unlink(missing_ok=True)


def credentials_path(keys_dir: Path, user: str) -> Path:
    return keys_dir / f"nats-{user}.creds"


def find_credentials(keys_dir: Path, user: str) -> Path | None:
    """Find the credentials of a service or of the command line. None: there are none, so the server asks for none."""
    path = credentials_path(keys_dir, user)
    return path if path.exists() else None


def inbox_prefix_of(path: Path) -> str:
    """Say where answers to the user of a file of credentials go.

    Raises:
        InvalidCredentials: it cannot be read, or is no such file.
    """
    try:
        return inbox_prefix(user_of(path.read_text()))
    except OSError as error:
        raise InvalidCredentials(f"{path} cannot be read: {error.strerror}") from error


def user_of(credentials: str) -> str:
    """Name the user that credentials are for.

    Raises:
        InvalidCredentials: they are none.
    """
    match = re.search(r"-----BEGIN NATS USER JWT-----\s+(\S+)\s", credentials)
    try:
        payload = match[1].split(".")[1] if match else ""
        return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["name"])
    except (ValueError, KeyError, IndexError) as error:
        raise InvalidCredentials("these are no NATS credentials") from error


def _new_key(prefix: int) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), prefix))


def _key(seed: str) -> nkeys.KeyPair:
    return nkeys.from_seed(bytearray(seed.encode()))


def _public(key: nkeys.KeyPair) -> str:
    return key.public_key.decode()


def _encode(claims: Mapping[str, Any], signer: nkeys.KeyPair) -> str:
    """Sign claims as a JWT of NATS: Ed25519 over header and payload, the id a digest of the claims."""
    digest = hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).digest()
    body = {**claims, "jti": base64.b32encode(digest).decode().rstrip("=")}
    signed = ".".join(_base64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body))
    return f"{signed}.{_base64(signer.sign(signed.encode()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
