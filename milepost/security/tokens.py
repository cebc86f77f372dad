"""Who may call: tokens of people and programs, kept as hashes in a file, `tokens.json` of the data directory.

Five kinds, told apart by their first letters:

- `mp_<id>_<secret>`: made by `milepost token create`. The file holds the SHA-256 of the whole token.
- `mps_<secret>`: what services show each other. One secret, in a file that only their user can read.
- `mpt_<claims>.<signature>`: bound to one attempt; signed with a secret of the services, so nothing is stored.
- `mpl_<claims>.<signature>`: a job of a cluster, which may fetch the launch of one attempt with it, once; signed too.
- `mpw_<claims>.<signature>`: a browser that signed in with a token of the first kind, and ends with it; signed too.

A secret has 256 random bits, so one round of SHA-256 is as good as a slow hash.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from milepost import files

SERVICE_TOKEN_FILE = "service.token"
TRAINER_KEY_FILE = "trainer-tokens.key"
SESSION_KEY_FILE = "sessions.key"
SECRET_BYTES = 32
MAX_TOKENS = 10_000
MAX_TOKEN_CHARACTERS = 512
DEFAULT_ACTIVE_RUNTIMES = 1_000
TRAINER_TOKEN_LIFETIME = timedelta(days=90)
SESSION_LIFETIME = timedelta(hours=12)
# A job may wait for room in its cluster; Ray itself gives up after 15 minutes, unless told otherwise.
LAUNCH_TICKET_LIFETIME = timedelta(days=1)

# No colon: names with one (`local:ann`, `service:runtime`) are given by Milepost.
# A text that may stand in a header.
_SECRET = re.compile(r"[!-~]+")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$")
_RESERVED_NAMES = frozenset({"anonymous@loopback", "unauthenticated"})

Clock = Callable[[], datetime]


class Role(StrEnum):
    """What a token lets its holder do. Each of the first three may do what those before it may."""

    # Read everything.
    VIEWER = "viewer"
    # Start, stop, resume, clone.
    OPERATOR = "operator"
    # Delete and verify too.
    ADMIN = "admin"
    # Read the runtime it is bound to. Given to attempts, never to people.
    TRAINER = "trainer"
    # Fetch one launch. Given to jobs of a cluster, never to people.
    LAUNCH = "launch"
    # What services ask of each other. Given to services, never to people.
    SERVICE = "service"
    # Everything: whoever calls over loopback where no token is asked for could do it without us too.
    LOCAL = "local"


PEOPLE_ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)


class TokenError(Exception):
    """A token cannot be made, found or read. The message says why and what to do."""


class InvalidToken(Exception):
    """The token is unknown, malformed, revoked or expired. Callers are not told which."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is known about a token of a person or a program. Times are RFC 3339 in UTC; empty: never."""

    id: str
    name: str
    role: Role
    sha256: str
    created_time: str
    created_by: str
    expire_time: str = ""
    revoked_time: str = ""
    # Runtimes in progress that its holder may have at once.
    max_active_runtimes: int = DEFAULT_ACTIVE_RUNTIMES

    def is_live(self, now: datetime) -> bool:
        return not self.revoked_time and not (self.expire_time and datetime.fromisoformat(self.expire_time) <= now)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a verified token belongs to.

    Attributes:
        actor: the name that goes into events.
        runtime_id: the runtime a trainer is bound to; empty for everybody else.
    """

    actor: str
    role: Role
    token_id: str = ""
    runtime_id: str = ""
    # Which of the sessions of a token this is; empty: the token itself.
    session_id: str = ""
    max_active_runtimes: int = DEFAULT_ACTIVE_RUNTIMES


def now_utc() -> datetime:
    return datetime.now(UTC)


class TokenStore:
    """The tokens of a file. Changes of the file by others are seen at the next call."""

    def __init__(self, path: Path, clock: Clock = now_utc) -> None:
        self._path = path
        self._clock = clock
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def create(
        self,
        name: str,
        role: Role,
        *,
        created_by: str,
        lifetime: timedelta | None = None,
        max_active_runtimes: int = DEFAULT_ACTIVE_RUNTIMES,
    ) -> tuple[Token, str]:
        """Make a token. Returns what is kept of it, and the token itself, which is shown this once only.

        Raises:
            TokenError: the name is taken by a live token or not allowed, or the role is not one for people.
        """
        if not _NAME.fullmatch(name) or name in _RESERVED_NAMES:
            raise TokenError("a name has 1 to 63 letters, digits or . _ @ -, begins with a letter or digit")
        if role not in PEOPLE_ROLES:
            raise TokenError(f"tokens for people have one of the roles {', '.join(PEOPLE_ROLES)}")
        if max_active_runtimes < 1:
            raise TokenError("the number of runtimes in progress must be at least 1")
        now = self._clock()
        with self._exclusively() as tokens:
            if any(token.name == name and token.is_live(now) for token in tokens.values()):
                raise TokenError(
                    f"there is a token named {name} already; revoke it first: milepost token revoke {name}"
                )
            if len(tokens) >= MAX_TOKENS:
                raise TokenError(f"there are {MAX_TOKENS} tokens already")
            token_id = secrets.token_hex(6)
            text = f"mp_{token_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
            token = Token(
                id=token_id,
                name=name,
                role=role,
                sha256=_hash(text),
                created_time=_format(now),
                created_by=created_by,
                expire_time=_format(now + lifetime) if lifetime is not None else "",
                max_active_runtimes=max_active_runtimes,
            )
            tokens[token_id] = token
        return token, text

    def list(self) -> list[Token]:
        """Return all tokens, revoked and expired ones included, oldest first."""
        self._reload()
        return sorted(self._tokens.values(), key=lambda token: (token.created_time, token.id))

    def has_live_tokens(self) -> bool:
        now = self._clock()
        return any(token.is_live(now) for token in self.list())

    def revoke(self, name_or_id: str) -> Token:
        """End a token at once, by its id or the name of its holder. Returns it.

        Raises:
            TokenError: no live token has that name or id.
        """
        now = self._clock()
        with self._exclusively() as tokens:
            for token in tokens.values():
                if name_or_id in (token.id, token.name) and token.is_live(now):
                    tokens[token.id] = replace(token, revoked_time=_format(now))
                    return tokens[token.id]
        raise TokenError(f"there is no live token {name_or_id}; see: milepost token list")

    def verify(self, text: str) -> Identity:
        """Say whose token this is.

        Raises:
            InvalidToken: nobody's, or it is revoked or expired.
            TokenError: the file of tokens cannot be read.
        """
        self._reload()
        parts = text.split("_", 2)
        token = self._tokens.get(parts[1]) if len(parts) == 3 and parts[0] == "mp" else None
        # An unknown id takes as long as a wrong secret.
        known = hmac.compare_digest(_hash(text), token.sha256 if token else "0" * 64)
        if token is None or not known:
            raise InvalidToken
        return self._identity(token)

    def identity(self, token_id: str) -> Identity:
        """Say whose token has an id. Raises as `verify`."""
        self._reload()
        token = self._tokens.get(token_id)
        if token is None:
            raise InvalidToken
        return self._identity(token)

    def holder(self, name: str) -> Identity:
        """Say who has a name: whoever holds the live token of that name. Raises as `verify`."""
        self._reload()
        now = self._clock()
        found = [token for token in self._tokens.values() if token.name == name and token.is_live(now)]
        if len(found) != 1:
            raise InvalidToken
        return self._identity(found[0])

    def _identity(self, token: Token) -> Identity:
        if not token.is_live(self._clock()):
            raise InvalidToken
        return Identity(token.name, token.role, token.id, max_active_runtimes=token.max_active_runtimes)

    def _reload(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._tokens = None, {}
            return
        except OSError as error:
            raise TokenError(f"{self._path} cannot be read: {error.strerror}") from error
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            require_private(self._path)
            self._tokens = _read(self._path)
            self._stamp = stamp

    @contextmanager
    def _exclusively(self) -> Iterator[dict[str, Token]]:
        """Change the tokens: nobody else does meanwhile, and readers see all of the change or none."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._stamp = None
            self._reload()
            tokens = dict(self._tokens)
            yield tokens
            content = json.dumps({"tokens": [asdict(token) for token in tokens.values()]}, indent=2) + "\n"
            write_private(self._path, content.encode())
        finally:
            os.close(lock)


def _read(path: Path) -> dict[str, Token]:
    """Read the tokens. A file that is none is set aside: none of its tokens is valid any more."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TokenError(f"{path} cannot be read: {error.strerror}") from error
    try:
        entries = json.loads(content)["tokens"]
        tokens = [Token(**{**entry, "role": Role(entry["role"])}) for entry in entries]
        for token in tokens:
            token.is_live(now_utc())
    except (ValueError, TypeError, KeyError) as error:
        try:
            files.set_aside(path, f"it is no file of tokens ({type(error).__name__}); none of them is valid any more")
        except OSError as failure:
            raise TokenError(f"{path} is not a file of tokens; restore it from a backup") from failure
        return {}
    return {token.id: token for token in tokens}


class ServiceToken:
    """The secret that services show each other, in `service.token` of their folder of keys."""

    def __init__(self, keys_dir: Path) -> None:
        text = secret_file(keys_dir / SERVICE_TOKEN_FILE, lambda: secrets.token_urlsafe(SECRET_BYTES))
        self.text = f"mps_{text}"

    def verify(self, text: str) -> Identity:
        """Raises InvalidToken unless it is this token."""
        if not hmac.compare_digest(_hash(text), _hash(self.text)):
            raise InvalidToken
        return Identity("service", Role.SERVICE)


class _Signed:
    """Tokens that carry their claims, `<first letters><claims>.<signature>`, the last claim being when they expire."""

    def __init__(self, prefix: str, key_file: Path, clock: Clock) -> None:
        self._prefix = prefix
        self._key = secret_file(key_file, lambda: secrets.token_urlsafe(SECRET_BYTES)).encode()
        self._clock = clock

    def sign(self, claims: tuple[str, ...], lifetime: timedelta) -> str:
        expires = str(int((self._clock() + lifetime).timestamp()))
        text = base64.urlsafe_b64encode("/".join((*claims, expires)).encode()).decode()
        return f"{self._prefix}{text}.{self._signature(text)}"

    def open(self, text: str) -> list[str]:
        """Return the claims. Raises InvalidToken: it is not signed with our key, or expired."""
        claims, _, signature = text.removeprefix(self._prefix).rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(claims).encode()):
            raise InvalidToken
        *values, expires = base64.urlsafe_b64decode(claims).decode().split("/")
        if int(expires) <= self._clock().timestamp():
            raise InvalidToken
        return values

    def _signature(self, claims: str) -> str:
        # The first letters are signed too: one kind is never taken for another.
        return hmac.new(self._key, (self._prefix + claims).encode(), hashlib.sha256).hexdigest()


class TrainerTokens:
    """Tokens bound to one attempt."""

    def __init__(self, keys_dir: Path, clock: Clock = now_utc) -> None:
        self._signed = _Signed("mpt_", keys_dir / TRAINER_KEY_FILE, clock)

    def create(self, runtime_id: str, trial: int, attempt: int, lifetime: timedelta = TRAINER_TOKEN_LIFETIME) -> str:
        return self._signed.sign((runtime_id, str(trial), str(attempt)), lifetime)

    def verify(self, text: str) -> Identity:
        """Raises InvalidToken: it is not signed with our key, or expired."""
        runtime_id, trial, attempt = self._signed.open(text)
        actor = f"trainer:{runtime_id}/{trial}/{attempt}"
        return Identity(actor, Role.TRAINER, actor, runtime_id, max_active_runtimes=0)


class LaunchTickets:
    """Tokens with which a job fetches the launch of the attempt it was submitted for.

    They are seen by everybody who may look at the jobs of the cluster, so each is good for one claim only.
    """

    def __init__(self, keys_dir: Path, clock: Clock = now_utc) -> None:
        self._signed = _Signed("mpl_", keys_dir / TRAINER_KEY_FILE, clock)

    def create(self, runtime_id: str, trial: int, attempt: int, lifetime: timedelta = LAUNCH_TICKET_LIFETIME) -> str:
        return self._signed.sign((runtime_id, str(trial), str(attempt)), lifetime)

    def verify(self, text: str) -> Identity:
        """Raises InvalidToken: it is not signed with our key, or expired."""
        runtime_id, trial, attempt = self._signed.open(text)
        key = f"{runtime_id}/{trial}/{attempt}"
        return Identity(f"launch:{key}", Role.LAUNCH, key, runtime_id, max_active_runtimes=0)


class SessionTokens:
    """What a browser gets in exchange for a token: valid for some hours, and no longer than that token."""

    def __init__(self, keys_dir: Path, store: TokenStore, clock: Clock = now_utc) -> None:
        self._signed = _Signed("mpw_", keys_dir / SESSION_KEY_FILE, clock)
        self._store = store

    def create(self, identity: Identity, lifetime: timedelta = SESSION_LIFETIME) -> str:
        return self._signed.sign((identity.token_id, secrets.token_hex(8)), lifetime)

    def verify(self, text: str) -> Identity:
        """Raises InvalidToken: it is not signed with our key, or it or its token has ended."""
        token_id, session_id = self._signed.open(text)
        return replace(self._store.identity(token_id), session_id=session_id)


class Verifier:
    """Says whose token something is, whatever its kind."""

    def __init__(
        self,
        store: TokenStore,
        service: ServiceToken,
        trainers: TrainerTokens,
        sessions: SessionTokens,
        launches: LaunchTickets,
    ) -> None:
        self.store = store
        self.sessions = sessions
        self._service = service
        self._trainers = trainers
        self._launches = launches

    @classmethod
    def of(cls, tokens_file: Path, keys_dir: Path) -> Verifier:
        """Verify by the files of an installation. Makes the secrets of the services where they are missing."""
        store = TokenStore(tokens_file)
        sessions = SessionTokens(keys_dir, store)
        return cls(store, ServiceToken(keys_dir), TrainerTokens(keys_dir), sessions, LaunchTickets(keys_dir))

    def verify(self, text: str) -> Identity:
        """Say whose token this is.

        Raises:
            InvalidToken: nobody's, or it is revoked or expired.
            TokenError: the file of tokens cannot be read.
        """
        if len(text) > MAX_TOKEN_CHARACTERS or not text.isascii():
            raise InvalidToken
        if text.startswith("mps_"):
            return self._service.verify(text)
        if text.startswith("mpt_"):
            return self._trainers.verify(text)
        if text.startswith("mpl_"):
            return self._launches.verify(text)
        if text.startswith("mpw_"):
            return self.sessions.verify(text)
        return self.store.verify(text)


def secret_file(path: Path, make: Callable[[], str], is_whole: Callable[[str], bool] | None = None) -> str:
    """Read a secret from a file, after making it where there is none. Of several makers at once one wins.

    One that is damaged is set aside, and made anew: what was signed with it is not valid any more.

    Args:
        is_whole: tells whether a text is such a secret. Default: that may stand in a header: printable, without spaces.

    Raises:
        TokenError: the file cannot be read or made, or others can read it.
    """
    try:
        make_private_directory(path.parent)
        text = _read_secret(path, is_whole or _is_secret) if path.exists() else None
        if text is None:
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
            write_private(temporary, (make() + "\n").encode())
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
            files.sync(path.parent)
            text = _read_secret(path, is_whole or _is_secret)
    except OSError as error:
        raise TokenError(f"{path} cannot be read or made: {error.strerror}") from error
    if text is None:
        raise TokenError(f"{path} is damaged again, right after it was made: look at its disk")
    return text


def _read_secret(path: Path, is_whole: Callable[[str], bool]) -> str | None:
    """Read a secret. None: what was there is damaged, and set aside."""
    require_private(path)
    content = path.read_bytes()
    text = content.decode(errors="replace").strip()
    if is_whole(text):
        return text
    files.set_aside(path, "it is empty" if not text else "it is not what it was made as")
    return None


def _is_secret(text: str) -> bool:
    return _SECRET.fullmatch(text) is not None


def make_private_directory(path: Path) -> None:
    """Make a folder that only this user can enter. One of somebody else, as containers are handed secrets, stays as it is."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = path.stat()
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        path.chmod(0o700)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file that only this user can read. After a power cut it is the old one or the new one."""
    files.write(path, content, mode=0o600)


def require_private(path: Path) -> None:
    """Raise TokenError if others may read or write the file.

    A file of somebody else that a group may read is one that was handed to this process, as Kubernetes does it.
    """
    status = path.stat()
    if status.st_mode & (0o077 if status.st_uid == os.geteuid() else 0o037):
        raise TokenError(f"{path} can be read by others; run: chmod 600 {path}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _format(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
