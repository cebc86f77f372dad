"""Pin the images of deploy/ by digest: ask their registries what each tag is now, and write that behind it.

`make pin` does it, once before a deployment and again for an upgrade; the difference is committed like any other. With
`--verify` nothing is asked or written: it names what is not pinned, and fails if there is anything.

The repository has tags only: a digest that nobody looked up would be none. Images that are built here have the digest that
their push prints.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
OWN = frozenset({"milepost", "milepost-trainer"})
DOCKER_HUB = "registry-1.docker.io"
SECONDS = 30.0
# Of several platforms, or of one.
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_IMAGE = re.compile(
    r"^(?P<before>\s*image: |ARG BASE=)(?P<tag>[^\s@#]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?[ \t]*$", re.M
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class NotFound(Exception):
    """A registry does not say what a tag is; the message says why."""


def files(folder: Path) -> list[Path]:
    """List the files that name images."""
    return [folder / "compose.yaml", folder / "Dockerfile", *sorted((folder / "kubernetes" / "base").glob("*.yaml"))]


def images(text: str) -> list[tuple[str, str]]:
    """List the images of others that a file names, each with its digest; empty: it has none."""
    found = [(match["tag"], match["digest"] or "") for match in _IMAGE.finditer(text)]
    return [(tag, digest) for tag, digest in found if tag.partition(":")[0] not in OWN]


def pinned(text: str, digests: dict[str, str]) -> str:
    """Write the digest behind every image that has one."""

    def one(match: re.Match[str]) -> str:
        digest = digests.get(match["tag"])
        return f"{match['before']}{match['tag']}@{digest}" if digest else match[0]

    return _IMAGE.sub(one, text)


def digest_of(image: str) -> str:
    """Ask the registry of an image for the digest of its tag.

    Raises:
        NotFound: it does not answer, or has no such tag.
    """
    registry, repository, tag = _parts(image)
    scheme = "http" if registry.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    url = f"{scheme}://{registry}/v2/{repository}/manifests/{tag}"
    try:
        try:
            content = _get(url)
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            content = _get(url, _token(error.headers.get("www-authenticate", "")))
    except (OSError, ValueError, KeyError) as error:
        raise NotFound(f"{image}: {error}") from error
    # Whatever a header says: the digest is that of the bytes.
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _parts(image: str) -> tuple[str, str, str]:
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, name = first, rest
    else:
        registry, name = DOCKER_HUB, image if slash else f"library/{image}"
    repository, _, tag = name.partition(":")
    return registry, repository, tag or "latest"


def _token(challenge: str) -> str:
    """Get what a registry asks for before it answers anybody."""
    fields = dict(_CHALLENGE.findall(challenge))
    query = urllib.parse.urlencode({key: fields[key] for key in ("service", "scope") if key in fields})
    answer = json.loads(_get(f"{fields['realm']}?{query}"))
    return str(answer.get("token") or answer["access_token"])


def _get(url: str, token: str = "") -> bytes:
    headers = {"Accept": MANIFESTS} | ({"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS) as answer:
        return bytes(answer.read())


def main(arguments: Iterable[str], folder: Path = DEPLOY) -> int:
    parser = argparse.ArgumentParser(description="Pin the images of deploy/ by digest.")
    parser.add_argument("--verify", action="store_true", help="fail where an image is not pinned; ask nobody")
    verify = parser.parse_args(list(arguments)).verify
    texts = {path: path.read_text() for path in files(folder)}
    if verify:
        bare = sorted({tag for text in texts.values() for tag, digest in images(text) if not digest})
        if bare:
            print(f"not pinned: {', '.join(bare)}; run: make pin", file=sys.stderr)
        return 1 if bare else 0
    try:
        digests = {tag: digest_of(tag) for tag in sorted({t for text in texts.values() for t, _ in images(text)})}
    except NotFound as error:
        print(f"nothing was changed: {error}", file=sys.stderr)
        return 1
    for path, text in texts.items():
        path.write_text(pinned(text, digests))
    for tag, digest in digests.items():
        print(f"{tag}@{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
