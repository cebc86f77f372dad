"""Takes secrets out of what is about to be recorded: parameters, labels and command lines.

The event log is kept for ever and read by many, so a value whose name or form says that it is a secret never gets
there: `REDACTED` stands in its place. For passwords and keys the name decides. `token` is also a word of language
models (`max_tokens`, `eos_token`); there the name must not be one of theirs, and the value must be able to be one.

Everything here is pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

REDACTED = "[redacted: looks like a secret]"
_REDACTED_BEFORE = "[redacted:"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# One of these words in a name is enough.
_SECRET_WORDS = _words(
    "password passwords passwd passphrase passcode secret secrets credential credentials apikey apikeys "
    "authtoken accesstoken accesskey secretkey privatekey clientsecret authorization"
)
# What a key must be called to be one: a `text_key`, a `sort_key` and a `public_key` are none.
_KEYS = _words(
    "api access secret private auth encryption signing account ssh license subscription service shared master "
    "deploy storage wandb openai anthropic mistral cohere groq azure aws gcp google comet hf huggingface "
    "neptune kaggle"
)
_PASSES = _words("db database user smtp imap ftp proxy redis mysql postgres pg mongo admin root login")
# Whose token it is. With other words before `token` the value is looked at, too.
_TOKENS = _words(
    "access api auth authentication bearer bot client csrf deploy github gitlab hf hub huggingface id jwt "
    "login oauth personal private refresh secret security service session slack wandb"
)
# Tokens of vocabularies, and counts of them.
_VOCABULARY = _words(
    "additional assistant audio begin blank bos byte class cls context current decoder delimiter end eod eom "
    "eos eot extra fill first forced image instruction lang language last latent mask memory new newline next "
    "object pad padding patch per prefix previous prompt query register response sep separator special speech "
    "start stop suffix system target task text think time unk unknown video vision word"
)
# Last words of names that speak of a secret without holding it.
_ABOUT = _words(
    "file filename path dir directory folder name env environment var variable type kind id ids index count "
    "num number len length size limit budget position embedding embeddings dropout ratio rate mask weight "
    "weights prob loss expiry expires ttl required enabled provider backend store manager field column header"
)
_COUNTING = _words("num n max min count total use has is no with require requires")
_SPECIAL_TOKEN = re.compile(r"<.*>?|\[.*\]|\{.*\}|\|.*\||\(.*\)|#+.*", re.DOTALL)
_MIN_TOKEN = 4
_PATH = re.compile(r"(/|\./|\.\./|~|[A-Za-z]:\\).*", re.DOTALL)
_COUNT = re.compile(r"[+-]?\d{1,9}|[+-]?\d*\.\d*(e[+-]?\d+)?", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# Forms that credentials are known by, wherever they stand.
_CREDENTIAL = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{22,}"
    r"|\bglpat-[\w-]{20,}|\bxox[abeoprs]-[\w-]{10,}|\bAIza[\w-]{35}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
# Looked at once where letters begin, and no more often: from each `eyJ` on, a long text without an end would be read again.
_WEB_TOKEN = re.compile(
    r"(?<![\w-])(?=[\w-]*+\.eyJ[\w-]{10,}+\.[\w-])([\w-]*?)\beyJ[\w-]{10,}+\.eyJ[\w-]{10,}+\.[\w-]++"
)
_AUTHORIZATION = re.compile(
    r"(\bauthorization[\"']?\s*[:=]\s*[\"']?(?:\w+\s+)?+|\bbearer\s+)([\w.~+/=-]{4,})", re.IGNORECASE
)
_URL_PASSWORD = re.compile(r"([A-Za-z][\w+.-]{0,40}://[^\s/:@'\"]*:)([^\s/'\"]+)(?=@)")
_URL_QUERY = re.compile(r"([?&])([\w.-]+)(=)([^&\s#'\"]+)")
_URL_SIGNATURES = frozenset({"sig", "signature", "x-amz-signature", "x-goog-signature"})
_VALUE = r"""("(?:[^"\\]|\\.)*"|'[^']*'|[^\s"'&;|]+)"""
# `--name value`, `--name=value` and `NAME=value` inside of a longer text, and `"name": "value"`.
_OPTION = re.compile(rf"(?<![\w-])(--?)([A-Za-z][\w.-]*)(=|\s+)(?!-){_VALUE}")
_ASSIGNED = re.compile(rf"(?<![\w?&.-])()([A-Za-z_][\w.-]*)(=){_VALUE}")
_JSON = re.compile(r"""(["'])([\w.-]+)(\1\s*:\s*)("(?:[^"\\]|\\.)*"|'[^']*')""")
_HEADER = re.compile(r"()([A-Za-z][\w-]*)(:\s*)(\S+)")
# A word of a command line that has name and value; `+` and `~` are Hydra's.
_WORD = re.compile(r"([-+~]*)([A-Za-z_][\w./@-]*)(=)(.*)", re.DOTALL)
# The option before a line for a shell, or for Python.
_SHELL_LINE = re.compile(r"[a-z]*c")


def is_secret(name: str, value: str) -> bool:
    """Return whether a value looks like a secret, by its name and its form.

    Args:
        name: of a parameter, an option or a variable; in a dotted one all parts count.
        value: as text, also of a number or a boolean.
    """
    if not value or value.startswith(_REDACTED_BEFORE) or value.lower() in ("true", "false", "none", "null"):
        return False
    *outer, words = [[word.lower() for word in _WORDS.findall(part)] for part in name.split(".")]
    if not words or (len(words) > 1 and words[-1] in _ABOUT):
        return False
    if words[0] in _COUNTING and _COUNT.fullmatch(value):
        return False
    if _PATH.fullmatch(value) and not any("pass" in word or word.startswith("secret") for word in words):
        return False
    return _is_strong(words) or any(_is_strong(part) for part in outer) or _is_token(words, value)


def _is_strong(words: Sequence[str]) -> bool:
    """Return whether a name alone says that it is a secret's."""
    if any(word in _SECRET_WORDS or word.endswith(("password", "passwd", "apikey")) for word in words):
        return True
    pairs = list(pairwise(words))
    if any(after in ("key", "keys") and before in _KEYS for before, after in pairs):
        return True
    # PWD alone may be the folder that a shell is in; that one is a path.
    return words[-1:] == ["pwd"] or any(after == "pass" and before in _PASSES for before, after in pairs)


def _is_token(words: Sequence[str], value: str) -> bool:
    before, last = words[-2] if len(words) > 1 else "", words[-1]
    if last not in ("token", "tokens", "pat", "jwt") or _COUNT.fullmatch(value):
        return False
    if before in _TOKENS or last == "jwt":
        return True
    plausible = len(value) >= _MIN_TOKEN and not re.search(r"\s", value) and not _SPECIAL_TOKEN.fullmatch(value)
    return last == "token" and before not in _VOCABULARY and plausible


class Redactor:
    """Takes out secrets, and remembers of which names."""

    def __init__(self, keep: Collection[str] = ()) -> None:
        """`keep`: names whose values are no secrets, whatever they look like."""
        self._keep = frozenset(keep)
        self.found: list[str] = []

    @property
    def said(self) -> str:
        """What was taken out, in words; empty when nothing was."""
        names = list(dict.fromkeys(self.found))
        if not names:
            return ""
        verb = "looks like a secret" if len(names) == 1 else "look like secrets"
        return f"redacted: {', '.join(names)} {verb} (`not_secret` names what is none)"

    def value(self, name: str, text: str) -> str:
        """Take the secret out of a named text."""
        if name in self._keep:
            return text
        if is_secret(name, text):
            self.found.append(name)
            return REDACTED
        return self.text(text)

    def scalars(self, values: Mapping[str, str]) -> dict[str, str]:
        """Take secrets out of parameters, which are JSON scalars as text."""
        return {name: self._scalar(name, scalar) for name, scalar in values.items()}

    def _scalar(self, name: str, scalar: str) -> str:
        if not scalar.startswith('"'):
            return json.dumps(REDACTED) if self.value(name, scalar) == REDACTED else scalar
        text = json.loads(scalar)
        left = self.value(name, text)
        return scalar if left == text else json.dumps(left, ensure_ascii=False)

    def texts(self, values: Mapping[str, str]) -> dict[str, str]:
        """Take secrets out of labels or variables."""
        return {name: self.value(name, text) for name, text in values.items()}

    def text(self, text: str) -> str:
        """Take secrets out of a text: options and variables in it, URLs with a password, credentials of known forms."""
        if "-" in text or "=" in text or ":" in text:
            for pattern in (_JSON, _OPTION, _ASSIGNED, _URL_QUERY):
                text = pattern.sub(self._named, text)
            text = self._whole(_AUTHORIZATION, "authorization", text)
            text = self._whole(_URL_PASSWORD, "the password in a URL", text)
        return self._whole(_WEB_TOKEN, "a credential", self._whole(_CREDENTIAL, "a credential", text))

    def _named(self, match: re.Match[str]) -> str:
        lead, name, middle, given = match.groups()
        quote = given[0] if given[0] in "\"'" and given[-1] == given[0] and len(given) > 1 else ""
        bare = given[1:-1] if quote else given
        signature = match.re is _URL_QUERY and name.lower() in _URL_SIGNATURES
        if name in self._keep or given.startswith(_REDACTED_BEFORE) or not (signature or is_secret(name, bare)):
            return match[0]
        self.found.append(name)
        return f"{lead}{name}{middle}{quote}{REDACTED}{quote}"

    def _whole(self, pattern: re.Pattern[str], name: str, text: str) -> str:
        def take(match: re.Match[str]) -> str:
            self.found.append(name)
            return f"{match[1] if match.re.groups else ''}{REDACTED}"

        return pattern.sub(take, text)

    def command(self, words: Sequence[str]) -> list[str]:
        """Take secrets out of the words of a command line."""
        left: list[str] = []
        option = ""
        for word in words:
            left.append(self._word(word, option))
            option = word.lstrip("-") if word.startswith("-") and "=" not in word else ""
        return left

    def _word(self, word: str, option: str) -> str:
        if option and not word.startswith("-") and option not in self._keep and is_secret(option, word):
            self.found.append(option)
            return REDACTED
        if _SHELL_LINE.fullmatch(option):
            return self.text(word)
        given = _WORD.fullmatch(word)
        if given is not None:
            return f"{given[1]}{given[2]}={self.value(given[2], given[4])}"
        header = _HEADER.fullmatch(word)
        return self._named(header) if header is not None and "//" not in word else self.text(word)
