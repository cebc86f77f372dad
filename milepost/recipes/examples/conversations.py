"""What a model is taught: examples from files of JSON lines. Pure.

A line is one of

    {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}
    {"prompt": "2 + 2 = ", "completion": "4"}
    {"prompt": [{"role": "user", "content": "2 + 2?"}], "completion": [{"role": "assistant", "content": "4"}]}

Other fields are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milepost.recipes.examples.lines import read_lines

ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """A turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns, which the tokenizer's chat template writes as text.

    Attributes:
        learnt: from this message on, what the assistant says is learnt.
    """

    messages: tuple[Message, ...]
    learnt: int = 0


@dataclass(frozen=True, slots=True)
class Continuation:
    """A text, and what follows it. Only what follows is learnt."""

    prompt: str
    completion: str


Example = Conversation | Continuation


def read_examples(path: Path) -> list[Example]:
    """Read a file of JSON lines; empty lines are passed over. Return its examples in their order.

    Raises:
        BadParameter: there is no such file, it has no examples, or a line is none. The line is named.
    """
    return read_lines(path, _example)


def _example(given: Any) -> Example:
    if not isinstance(given, Mapping):
        raise ValueError("an example is an object with messages, or with prompt and completion")
    if "messages" in given:
        return _conversation(_messages(given["messages"], "messages"), 0)
    prompt, completion = given.get("prompt"), given.get("completion")
    if isinstance(prompt, str) and isinstance(completion, str):
        if not completion:
            raise ValueError("completion is empty, so there is nothing to learn")
        return Continuation(prompt, completion)
    if isinstance(prompt, list) and isinstance(completion, list):
        before = _messages(prompt, "prompt")
        return _conversation((*before, *_messages(completion, "completion")), len(before))
    raise ValueError("an example has messages, or prompt and completion: both texts, or both lists of messages")


def _conversation(messages: Sequence[Message], learnt: int) -> Conversation:
    if not any(message.role == ASSISTANT for message in messages[learnt:]):
        raise ValueError(f"no message of the role {ASSISTANT}, so there is nothing to learn")
    return Conversation(tuple(messages), learnt)


def _messages(given: Any, field: str) -> tuple[Message, ...]:
    if not isinstance(given, list) or not given:
        raise ValueError(f"{field} is a list of messages")
    found = []
    for one in given:
        role, content = (one.get("role"), one.get("content")) if isinstance(one, Mapping) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            raise ValueError(f"each of {field} has a role and a content, both texts")
        found.append(Message(role, content))
    return tuple(found)
