"""Tokens: made once, kept as hashes, ended at once."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from milepost.security.tokens import (
    Identity,
    InvalidToken,
    Role,
    ServiceToken,
    SessionTokens,
    TokenError,
    TokenStore,
    TrainerTokens,
    Verifier,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def create(store: TokenStore, name: str = "ann", role: Role = Role.OPERATOR, **more: object) -> str:
    return store.create(name, role, created_by="local:test", **more)[1]  # type: ignore[arg-type]


def test_a_token_names_its_holder(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / "tokens.json")
    text = create(store)
    identity = store.verify(text)
    assert (identity.actor, identity.role) == ("ann", Role.OPERATOR)


def test_the_file_holds_no_token_and_is_for_its_owner_only(tmp_path: Path) -> None:
    text = create(TokenStore(tmp_path / "tokens.json"))
    path = tmp_path / "tokens.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert text.split("_", 2)[2] not in path.read_text()
    assert len(text.split("_", 2)[2]) >= 43


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "x", lambda t: t.upper(), lambda t: "", lambda t: "mp_"]
)
def test_anything_else_is_nobodys(tmp_path: Path, change: object) -> None:
    store = TokenStore(tmp_path / "tokens.json")
    text = create(store)
    with pytest.raises(InvalidToken):
        store.verify(change(text))  # type: ignore[operator]


def test_a_revoked_token_ends_at_once_for_readers_that_know_it(tmp_path: Path) -> None:
    reader, writer = TokenStore(tmp_path / "tokens.json"), TokenStore(tmp_path / "tokens.json")
    text = create(writer)
    assert reader.verify(text).actor == "ann"
    writer.revoke("ann")
    with pytest.raises(InvalidToken):
        reader.verify(text)


def test_an_expired_token_is_not_valid(tmp_path: Path) -> None:
    now = NOW
    store = TokenStore(tmp_path / "tokens.json", lambda: now)
    text = create(store, lifetime=timedelta(hours=1))
    store.verify(text)
    now = NOW + timedelta(hours=1)
    with pytest.raises(InvalidToken):
        store.verify(text)
    assert not store.has_live_tokens()


def test_a_name_belongs_to_one_live_token(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / "tokens.json")
    create(store)
    with pytest.raises(TokenError, match="revoke it first"):
        create(store)
    store.revoke("ann")
    create(store)
    assert [token.name for token in store.list()] == ["ann", "ann"]


@pytest.mark.parametrize("name", ["", "local:ann", "a b", "x" * 64, "anonymous@loopback", "a\n", "../x"])
def test_names_that_could_be_taken_for_others_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TokenError):
        create(TokenStore(tmp_path / "tokens.json"), name)


@pytest.mark.parametrize("role", [Role.TRAINER, Role.SERVICE, Role.LOCAL])
def test_people_get_roles_of_people(tmp_path: Path, role: Role) -> None:
    with pytest.raises(TokenError):
        create(TokenStore(tmp_path / "tokens.json"), role=role)


def test_a_file_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    create(TokenStore(tmp_path / "tokens.json"))
    (tmp_path / "tokens.json").chmod(0o644)
    with pytest.raises(TokenError, match="chmod 600"):
        TokenStore(tmp_path / "tokens.json").list()


def test_concurrent_creators_lose_nothing(tmp_path: Path) -> None:
    def work(number: int) -> None:
        create(TokenStore(tmp_path / "tokens.json"), f"user-{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(TokenStore(tmp_path / "tokens.json").list()) == 8


def test_services_of_one_data_directory_share_a_secret(tmp_path: Path) -> None:
    first, second = ServiceToken(tmp_path / "keys"), ServiceToken(tmp_path / "keys")
    assert first.text == second.text
    assert second.verify(first.text) == Identity("service", Role.SERVICE)
    assert (tmp_path / "keys" / "service.token").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    with pytest.raises(InvalidToken):
        ServiceToken(tmp_path / "other").verify(first.text)


def test_a_trainers_token_is_bound_to_its_runtime_and_expires(tmp_path: Path) -> None:
    now = NOW
    trainers = TrainerTokens(tmp_path / "keys", lambda: now)
    text = trainers.create("rt-a", 1, 2)
    identity = trainers.verify(text)
    assert (identity.actor, identity.role, identity.runtime_id) == ("trainer:rt-a/1/2", Role.TRAINER, "rt-a")
    claims, signature = text.rsplit(".", 1)
    for forged in (f"{claims}A.{signature}", f"{claims}.{signature[:-1]}0x", claims, f"{claims}."):
        with pytest.raises(InvalidToken):
            trainers.verify(forged)
    now = NOW + timedelta(days=91)
    with pytest.raises(InvalidToken):
        trainers.verify(text)


def test_a_session_ends_with_its_token(tmp_path: Path) -> None:
    now = NOW
    store = TokenStore(tmp_path / "tokens.json", lambda: now)
    sessions = SessionTokens(tmp_path / "keys", store, lambda: now)
    identity = store.verify(create(store))
    text, other = sessions.create(identity), sessions.create(identity)
    assert sessions.verify(text).actor == "ann"
    assert sessions.verify(text).session_id != sessions.verify(other).session_id
    now = NOW + timedelta(hours=12)
    with pytest.raises(InvalidToken):
        sessions.verify(text)
    text = sessions.create(identity)
    store.revoke("ann")
    with pytest.raises(InvalidToken):
        sessions.verify(text)


def test_one_kind_is_never_taken_for_another(tmp_path: Path) -> None:
    verifier = Verifier.of(tmp_path / "tokens.json", tmp_path / "keys")
    trainer = TrainerTokens(tmp_path / "keys").create("rt-a", 1, 1)
    (tmp_path / "keys" / "sessions.key").write_text((tmp_path / "keys" / "trainer-tokens.key").read_text())
    with pytest.raises(InvalidToken):
        Verifier.of(tmp_path / "tokens.json", tmp_path / "keys").verify("mpw_" + trainer.removeprefix("mpt_"))
    assert verifier.verify(trainer).role is Role.TRAINER


@pytest.mark.parametrize(
    "text", ["mpw_", "mpw_a.b", "mps_", "mpt_", "mpt_.", "mp__", "é", "x" * 1000, "mpt_é.0", "\x00"]
)
def test_no_kind_of_token_is_fooled_by_nonsense(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidToken):
        Verifier.of(tmp_path / "tokens.json", tmp_path / "keys").verify(text)


def test_keys_that_a_container_is_handed_are_read_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder and its files are somebody else's, open to a group: a service cannot change that, and need not."""
    keys = tmp_path / "secrets"
    Verifier.of(tmp_path / "tokens.json", keys)
    (tmp_path / "tokens.json").write_text('{"tokens": []}')
    for path in (*keys.iterdir(), tmp_path / "tokens.json"):
        path.chmod(0o440)
    keys.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: keys.stat().st_uid + 1)
    Verifier.of(tmp_path / "tokens.json", keys)
    assert keys.stat().st_mode & 0o7777 == 0o1777
