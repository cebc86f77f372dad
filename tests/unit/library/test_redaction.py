"""What looks like a secret is not recorded; what only sounds like one is."""

from __future__ import annotations

import json
import shlex

import pytest

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.configuration import comments_are_secret
from milepost.security.redaction import REDACTED, Redactor, is_secret

SECRETS = [
    ("api_key", "abc"), ("api-key", "abc"), ("apiKey", "abc"), ("APIKEY", "abc"), ("OPENAI_API_KEY", "abc"),
    ("password", "1234"), ("db_password", "x"), ("PGPASSWORD", "x"), ("passwd", "x"), ("mysql_pwd", "x"), ("db_pass", "x"),
    ("passphrase", "x y"), ("secret", "x"), ("client_secret", "x"), ("AWS_SECRET_ACCESS_KEY", "/x+y"), ("private_key", "x"),
    ("wandb_key", "x"), ("token", "abcdef"), ("my_token", "abcd"), ("hub_token", "x"), ("HF_TOKEN", "x"), ("hfToken", "x"),
    ("access_token", "x"), ("auth_tokens", "x"), ("session.token", "abcdef"), ("trainer.hub_token", "x"), ("github_pat", "x"),
    ("credentials", "x"), ("secrets.wandb", "x"), ("api_keys.openai", "x"), ("api_key_2", "x"), ("token1", "abcdef"),
    ("jwt", "x"), ("authorization", "x"), ("telegram_token", "123456:ABC-DEF"),
]  # fmt: skip
NOT_SECRETS = [
    ("max_tokens", "512"), ("num_tokens", "3"), ("token_count", "3"), ("tokenizer", "gpt2"), ("tokenizer_name", "gpt2"),
    ("eos_token", "<|endoftext|>"), ("eos_token", "stop"), ("pad_token", "[PAD]"), ("pad_token_id", "0"),
    ("bos_token", "hello"), ("mask_token", "mask"), ("decoder_start_token", "start"), ("image_token", "image"),
    ("tokens_per_second", "12.5"), ("ms_per_token", "1.5"), ("time_to_first_token", "0.2"), ("max_new_tokens", "64"),
    ("reward_token", "<reward>"), ("good_token", "+"), ("stop_tokens", "abcd"), ("special_tokens", "abcd"), ("my_token", "17"),
    ("token", "true"), ("use_auth_token", "True"), ("api_key", ""), ("hub_token", "None"), ("token_embedding", "sum"),
    ("key", "abc"), ("text_key", "content"), ("sort_key", "loss"), ("public_key", "x"), ("num_key_value_heads", "8"),
    ("api_key_file", "key.txt"), ("HF_TOKEN_PATH", "x"), ("token_file", "x"), ("api_key_env", "OPENAI_API_KEY"),
    ("ssh_key", "~/.ssh/id_rsa"), ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/gcp.json"), ("PWD", "/home/me"),
    ("num_secrets", "3"), ("secret_name", "hf"), ("monkey", "x"), ("keyboard", "x"), ("bypass", "x"), ("forward_pass", "x"),
    ("pass", "x"), ("author", "me"), ("learning_rate", "0.1"), ("hidden_size", "8"), ("pattern", "abcdef"), ("path", "abcdef"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_a_secret_is_known_by_its_name(name: str, value: str) -> None:
    assert is_secret(name, value)


@pytest.mark.parametrize(("name", "value"), NOT_SECRETS)
def test_a_name_that_only_sounds_like_a_secret_is_none(name: str, value: str) -> None:
    assert not is_secret(name, value)


COMMANDS = [
    ("train --api-key abc --lr 1", "train --api-key @ --lr 1"),
    ("train --api-key=abc --lr 1", "train --api-key=@ --lr 1"),
    ("train --api_key --lr 1", "train --api_key --lr 1"),
    ("env HF_TOKEN=abc python train.py", "env HF_TOKEN=@ python train.py"),
    ("train +trainer.hub_token=abc ++seed=1", "train +trainer.hub_token=@ ++seed=1"),
    ("train --max_tokens 12 --eos_token stop", "train --max_tokens 12 --eos_token stop"),
    ("train --data https://me:abc@host/x?a=1", "train --data https://me:@@host/x?a=1"),
    ("train --data=postgres://me:a@c@host/x", "train --data=postgres://me:@@host/x"),
    ("train 'https://host/x?sv=2&sig=abc&token=abcd'", "train 'https://host/x?sv=2&sig=@&token=@'"),
    ("git clone ssh://git@host/x", "git clone ssh://git@host/x"),
    ("bash -c 'HF_TOKEN=abc train --password \"a b\" --lr 1'", "bash -c 'HF_TOKEN=@ train --password \"@\" --lr 1'"),
    ("train 'note.password=a b'", "train note.password=@"),
    ("curl -H 'Authorization: Bearer abcdefgh'", "curl -H 'Authorization: Bearer @'"),
    ("curl -H 'X-Api-Key: abc'", "curl -H 'X-Api-Key: @'"),
    ('train --config \'{"api_key": "abc", "lr": 1}\'', 'train --config \'{"api_key": "@", "lr": 1}\''),
    (f"train hf_{'a' * 34}", "train @"),
    (f"train --x=sk-{'a' * 34}", "train --x=@"),
    ("train --note 'a token: see below'", "train --note 'a token: see below'"),
    ("train --lr=1e-3 s3://bucket/key?x=1", "train --lr=1e-3 s3://bucket/key?x=1"),
]


@pytest.mark.parametrize(("line", "left"), COMMANDS)
def test_a_command_line_is_recorded_without_its_secrets(line: str, left: str) -> None:
    """`@` stands for what is put in their place, except before a host."""
    redactor = Redactor()
    words = redactor.command(shlex.split(line))
    assert [word.replace(REDACTED, "@") for word in words] == shlex.split(left)
    assert bool(redactor.said) == (line != left)
    assert Redactor().text(" ".join(words)) == " ".join(words), "what is redacted stays so"


def test_parameters_keep_their_kinds_and_say_what_was_taken_out() -> None:
    redactor = Redactor(keep=["reward_token"])
    given = {"api_key": '"abc"', "pin_password": "1234", "max_tokens": "12", "reward_token": '"good"', "note": '"é"'}
    left = redactor.scalars(given)
    assert left == {**given, "api_key": json.dumps(REDACTED), "pin_password": json.dumps(REDACTED)}
    assert redactor.said.startswith("redacted: api_key, pin_password look like secrets")
    again = Redactor()
    assert again.scalars(left) == {**left, "reward_token": json.dumps(REDACTED)}, "what is redacted stays so"
    assert again.found == ["reward_token"]


@pytest.mark.parametrize("piece", ["a-", "eyJ-", "--a ", "a=", "a://"])
def test_a_long_text_of_beginnings_is_read_once(piece: str) -> None:
    """Each piece may begin a secret. Read from each of them to the end, this would take longer than a test may."""
    Redactor().value("note", piece * (500_000 // len(piece)))


def test_web_tokens_are_found_wherever_they_begin() -> None:
    token = f"eyJ{'a' * 12}.eyJ{'b' * 12}.c-d"
    for before in ("", "x=", "x.", "note-", "eyJ-", "a b-eyJ-", f"eyJ{'-' * 20} "):
        assert token not in Redactor().text(before + token), before
        assert Redactor().text(before + token).endswith(REDACTED)


@pytest.mark.parametrize(
    ("comment", "tells"),
    [
        ("# password: abc", True),
        ("lr: 1  # HF_TOKEN=abcd", True),
        (f"# hf_{'a' * 34}", True),
        ("# the learning_rate: 0.1 was worse", False),
        ("# max_tokens: 512", False),
        ("# reward_token: <good>", False),
        ("lr: 1", False),
    ],
)
def test_a_comment_may_hold_what_was_taken_out(comment: str, tells: bool) -> None:
    assert comments_are_secret(f"name: a\n{comment}\n", RuntimeConfiguration(name="a")) == tells
