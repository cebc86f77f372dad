"""The key by which an installation signs the bundles that it gives out: Ed25519 (RFC 8032), in its folder of keys.

Public keys are written `ed25519:` and their 32 bytes in base64. What is signed is the manifest of a bundle, byte for byte.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from milepost.security.tokens import secret_file

KEY_FILE = "bundles.key"
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_KIND = "ed25519:"


class NotAKey(ValueError):
    """A text is no public key."""


class BundleKey:
    """The key of a folder of keys, made where there is none. One that is damaged is set aside and made anew.

    Raises:
        TokenError: the file cannot be read or made, or others can read it.
    """

    def __init__(self, keys_dir: Path) -> None:
        text = secret_file(keys_dir / KEY_FILE, lambda: base64.b64encode(os.urandom(_KEY_BYTES)).decode(), _is_seed)
        self._key = SigningKey(base64.b64decode(text))

    @property
    def public(self) -> str:
        return _KIND + base64.b64encode(bytes(self._key.verify_key)).decode()

    def sign(self, content: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return bytes(self._key.sign(content).signature)


def is_signed(public: str, content: bytes, signature: bytes) -> bool:
    """Return whether a signature of this content was made with the key that belongs to a public one.

    Raises:
        NotAKey: that is none.
    """
    try:
        key = base64.b64decode(public.removeprefix(_KIND), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotAKey(
            f"{public!r} is no public key: those are like ed25519:... and printed by milepost audit keys"
        ) from error
    if len(key) != _KEY_BYTES or not public.startswith(_KIND):
        raise NotAKey(f"{public!r} is no public key: those are like ed25519:... and printed by milepost audit keys")
    if len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        VerifyKey(key).verify(content, signature)
    except BadSignatureError:
        return False
    return True


def _is_seed(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
