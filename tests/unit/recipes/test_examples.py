"""From lines of a file to batches: what is refused, what is learnt, and that nothing is lost or mixed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as draw

from milepost.recipes.examples.conversations import Continuation, Conversation, Message, read_examples
from milepost.recipes.examples.encoding import Document, encode, question
from milepost.recipes.examples.packing import NOT_LEARNT, collate, pack
from milepost.recipes.examples.prompts import read_prompts
from milepost.training.loop.parameters import BadParameter


class Words:
    """A tokenizer of words, with what a fast one of transformers offers. 0 ends a text, 1 begins one."""

    is_fast = True
    eos_token_id = 0

    def __init__(self, template: str | None = "plain") -> None:
        self.chat_template = template
        self.known = ["<end>", "<begin>"]

    def __call__(self, text: str, add_special_tokens: bool, return_offsets_mapping: bool = False) -> dict[str, Any]:
        found = list(re.finditer(r"<\w+>|\S+", text))
        for one in found:
            if one[0] not in self.known:
                self.known.append(one[0])
        tokens, offsets = [self.known.index(one[0]) for one in found], [one.span() for one in found]
        if add_special_tokens:
            tokens, offsets = [1, *tokens], [(0, 0), *offsets]
        return {"input_ids": tokens, "offset_mapping": offsets}

    def apply_chat_template(self, turns: list[dict[str, str]], tokenize: bool, add_generation_prompt: bool) -> str:
        if self.chat_template == "counts turns":
            turns = [{**turn, "content": f"{len(turns)} {turn['content']}"} for turn in turns]
        text = "".join(f"<{turn['role']}> {turn['content']} <end> " for turn in turns)
        return text + ("<assistant> " if add_generation_prompt else "")

    def learnt(self, document: Document) -> str:
        return " ".join(self.known[token] for token, is_learnt in zip(*_columns(document), strict=True) if is_learnt)


def _columns(document: Document) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    return document.tokens, document.learnt


def talk(*turns: str, learnt: int = 0) -> Conversation:
    roles = ["user", "assistant"] * len(turns)
    return Conversation(tuple(Message(role, text) for role, text in zip(roles, turns, strict=False)), learnt)


# --- lines


def test_lines_of_every_form_are_read_in_their_order(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "two?"}, {"role": "assistant", "content": "2", "more": 1}]
    lines = [{"messages": turns, "source": "x"}, {"prompt": "one", "completion": "1"},
             {"prompt": turns[:1], "completion": turns[1:]}]  # fmt: skip
    path = tmp_path / "lines.jsonl"
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    assert read_examples(path) == [talk("two?", "2"), Continuation("one", "1"), talk("two?", "2", learnt=1)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2"),
        ("[1]", "line 2: an example is an object"),
        ('{"text": "a"}', "line 2: an example has messages, or prompt and completion"),
        ('{"prompt": "a", "completion": ["b"]}', "both texts, or both lists"),
        ('{"prompt": "a", "completion": ""}', "completion is empty"),
        ('{"messages": []}', "messages is a list of messages"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "no message of the role assistant"),
        ('{"messages": [{"role": "assistant", "content": null}]}', "a role and a content, both texts"),
    ],
)
def test_a_line_that_is_no_example_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' + line)
    with pytest.raises(BadParameter, match=re.escape(said)):
        read_examples(path)


def test_a_file_that_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="cannot be read"):
        read_examples(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(BadParameter, match="has no examples"):
        read_examples(tmp_path / "empty.jsonl")


def test_prompts_keep_what_rewards_look_at(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "2 + 2?", "answer": 4}, {"prompt": [{"role": "user", "content": "1?"}], "answer": 1}]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert read_prompts(path) == lines


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"answer": 4}', "line 2: a line has a prompt"),
        ('{"prompt": ""}', "line 2: a line has a prompt"),
        ('{"prompt": "a"}', "line 2: its fields are not those of the lines before: answer, prompt"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "2 + 2?", "answer": 4}\n' + line)
    with pytest.raises(BadParameter, match=re.escape(said)):
        read_prompts(path)


# --- tokens


def test_what_the_assistant_says_is_learnt_with_the_end_of_its_turn() -> None:
    words = Words()
    document = encode(talk("one plus one", "is two", "and three", "is five"), words, 100)
    assert document is not None
    assert words.learnt(document) == "is two <end> is five <end>"
    last = encode(talk("one plus one", "is two", "and three", "is five", learnt=2), words, 100)
    assert last is not None and words.learnt(last) == "is five <end>"


def test_of_two_texts_the_second_is_learnt_and_the_end() -> None:
    words = Words()
    document = encode(Continuation("a b ", "c d"), words, 100)
    assert document is not None
    assert [words.known[token] for token in document.tokens] == ["<begin>", "a", "b", "c", "d", "<end>"]
    assert words.learnt(document) == "c d <end>"


def test_the_first_token_is_never_learnt() -> None:
    document = encode(talk("x", "a b"), Words(), 100)
    whole = encode(Continuation("", "a b"), Words(), 100)
    assert document is not None and whole is not None
    assert not document.learnt[0] and not whole.learnt[0]


def test_a_long_example_is_cut_and_left_out_where_nothing_to_learn_is_left() -> None:
    cut = encode(Continuation("a b ", "c d e"), Words(), 4)
    assert cut is not None and (len(cut.tokens), sum(cut.learnt)) == (4, 1)
    assert encode(Continuation("a b ", "c d e"), Words(), 3) is None


def test_a_chat_template_is_needed_and_must_leave_earlier_turns_alone() -> None:
    with pytest.raises(BadParameter, match="has no chat template"):
        encode(talk("a", "b"), Words(template=None), 100)
    with pytest.raises(BadParameter, match="writes earlier turns otherwise"):
        encode(talk("a", "b", "c", "d"), Words(template="counts turns"), 100)


def test_what_is_asked_is_all_before_the_last_answer() -> None:
    words = Words()
    asked = question(talk("a", "b", "c", "d"), words)
    assert (asked.prompt, asked.answer) == ("<user> a <end> <assistant> b <end> <user> c <end> <assistant> ", "d")
    assert [words.known[token] for token in asked.tokens] == asked.prompt.split()
    plain = question(Continuation("a b ", "c"), words)
    assert (plain.prompt, plain.answer, plain.tokens[0]) == ("a b ", "c", 1)


# --- rows


def document(length: int, first: int = 10) -> Document:
    return Document(tuple(range(first, first + length)), (False, *[True] * (length - 1)))


@settings(max_examples=60, deadline=None)
@given(draw.lists(draw.integers(1, 20), min_size=1, max_size=80), draw.integers(20, 40))
def test_rows_have_every_document_once_and_no_two_rows_would_fit_into_one(lengths: list[int], context: int) -> None:
    documents = [document(length, first) for first, length in enumerate(lengths)]
    rows = pack(documents, context)
    assert sorted(one.tokens for row in rows for one in row) == sorted(one.tokens for one in documents)
    sizes = sorted(sum(len(one.tokens) for one in row) for row in rows)
    assert sizes[-1] <= context
    assert len(sizes) == 1 or sizes[0] + sizes[1] > context
    assert rows == pack(documents, context)


def test_a_batch_says_where_documents_begin_and_what_is_padding() -> None:
    batch = collate([(document(3), document(2, 20)), (document(4, 30),)], padding=7)
    assert batch["tokens"].tolist() == [[10, 11, 12, 20, 21], [30, 31, 32, 33, 7]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]
    none = NOT_LEARNT
    assert batch["labels"].tolist() == [[none, 11, 12, none, 21], [none, 31, 32, 33, none]]
    assert torch.equal(batch["real"], torch.tensor([5, 4]))


# --- without the libraries


@pytest.mark.parametrize("missing", ["peft", "transformers"])
def test_the_recipe_says_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name.startswith("milepost.recipes.fine_tuning")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("peft", "transformers"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else type(sys)(name))
    with pytest.raises(ImportError):
        import milepost.recipes.fine_tuning  # noqa: F401
