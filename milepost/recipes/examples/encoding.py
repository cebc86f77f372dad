"""Examples as numbers: which tokens a model reads, and which of them it learns.

A tokenizer is one of `transformers`, a fast one: it says which characters a token stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from milepost.recipes.examples.conversations import ASSISTANT, Continuation, Conversation, Example, Message
from milepost.training.loop.parameters import BadParameter


@dataclass(frozen=True, slots=True)
class Document:
    """An example as a model reads it.

    Attributes:
        tokens: their numbers.
        learnt: of each whether it is learnt. The first never is: nothing comes before it.
    """

    tokens: tuple[int, ...]
    learnt: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked in an evaluation.

    Attributes:
        tokens: of the prompt.
        prompt: the same as text.
        answer: what the example says.
    """

    tokens: tuple[int, ...]
    prompt: str
    answer: str


def encode(example: Example, tokenizer: Any, context: int) -> Document | None:
    """Write an example in numbers, its first `context` tokens. None: nothing to be learnt is left of it.

    Raises:
        BadParameter: the tokenizer has no chat template for a conversation, or one that rewrites earlier turns.
    """
    text, spans = _written(example, tokenizer)
    is_plain = isinstance(example, Continuation)
    # A chat template writes the special tokens itself.
    encoded = tokenizer(text, add_special_tokens=is_plain, return_offsets_mapping=True)
    tokens = list(encoded["input_ids"])
    learnt = [any(first < end and begin >= first and end <= last for first, last in spans) and end > begin
              for begin, end in encoded["offset_mapping"]]  # fmt: skip
    if is_plain and tokens[-1:] != [tokenizer.eos_token_id]:
        tokens.append(tokenizer.eos_token_id)
        learnt.append(True)
    elif is_plain:
        learnt[-1] = True
    learnt[0] = False
    if not any(learnt[:context]):
        return None
    return Document(tuple(tokens[:context]), tuple(learnt[:context]))


def question(example: Example, tokenizer: Any) -> Question:
    """Return what leads to the last thing that an example says, and that."""
    if isinstance(example, Continuation):
        tokens = tokenizer(example.prompt, add_special_tokens=True)["input_ids"]
        if tokens[-1:] == [tokenizer.eos_token_id]:
            tokens = tokens[:-1]
        return Question(tuple(tokens), example.prompt, example.completion)
    last = max(index for index, message in enumerate(example.messages) if message.role == ASSISTANT)
    prompt = _render(example.messages[:last], tokenizer, before_answer=True)
    tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return Question(tuple(tokens), prompt, example.messages[last].content)


def check_tokenizer(tokenizer: Any) -> None:
    """Check that a tokenizer can do what is asked of it here.

    Raises:
        BadParameter: it does not say which characters a token stands for, or has no token for the end of a text.
    """
    if not tokenizer.is_fast:
        raise BadParameter("the tokenizer does not say which characters a token stands for: a fast one is needed")
    if tokenizer.eos_token_id is None:
        raise BadParameter("the tokenizer has no token for the end of a text (eos_token)")


def _written(example: Example, tokenizer: Any) -> tuple[str, list[tuple[int, int]]]:
    """Return the whole text, and which characters of it are learnt: from, to."""
    if isinstance(example, Continuation):
        text = example.prompt + example.completion
        return text, [(len(example.prompt), len(text))]
    text, spans = _render(example.messages, tokenizer), []
    for index in _learnt(example):
        before = _render(example.messages[:index], tokenizer, before_answer=True)
        upto = _render(example.messages[: index + 1], tokenizer)
        if not upto.startswith(before) or not text.startswith(upto):
            raise BadParameter(
                "the chat template writes earlier turns otherwise once more follow, so what the assistant says cannot be "
                "found in the text: give each turn as an example of its own, or another chat_template"
            )
        spans.append((len(before), len(upto)))
    return text, spans


def _learnt(conversation: Conversation) -> list[int]:
    return [
        index
        for index, message in enumerate(conversation.messages)
        if index >= conversation.learnt and message.role == ASSISTANT
    ]


def _render(messages: Sequence[Message], tokenizer: Any, before_answer: bool = False) -> str:
    if not tokenizer.chat_template:
        raise BadParameter(
            "the tokenizer has no chat template, which conversations need: name a file with one in chat_template"
        )
    if not messages:
        return ""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=before_answer))
