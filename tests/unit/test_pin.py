"""Images are pinned by the digests that a registry gives, all of them or none."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy import pin

MANIFESTS = {"library/nats": b'{"of": "nats"}', "clickhouse/clickhouse-server": b'{"of": "clickhouse"}'}


class Handler(BaseHTTPRequestHandler):
    """Answers as a registry does that gives everybody a token, and nobody without one a manifest."""

    def do_GET(self) -> None:
        host = self.headers["host"]
        if self.path.startswith("/token?"):
            assert "service=here&scope=repository" in self.path
            self._answer(200, json.dumps({"token": "t"}).encode())
        elif self.headers.get("authorization") != "Bearer t":
            challenge = f'Bearer realm="http://{host}/token",service="here",scope="repository:x:pull"'
            self._answer(401, b"", {"www-authenticate": challenge})
        else:
            _, _, name = self.path.removesuffix("/manifests/2.15").partition("/v2/")
            assert "application/vnd.oci.image.index.v1+json" in self.headers["accept"]
            content = MANIFESTS.get(name)
            self._answer(404 if content is None else 200, content or b"")

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in pin.files(pin.DEPLOY):
        copy = tmp_path / path.relative_to(pin.DEPLOY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return tmp_path


def test_every_image_of_others_is_found_and_ours_are_left_alone(folder: Path) -> None:
    found = {tag.partition(":")[0] for path in pin.files(folder) for tag, _ in pin.images(path.read_text())}
    assert found == {"nats", "clickhouse/clickhouse-server", "nginx", "python"}
    lines = [line for path in pin.files(folder) for line in path.read_text().splitlines() if "image: " in line]
    ours = [line for line in lines if line.split("image: ")[1].partition(":")[0] in pin.OWN]
    assert len(ours) + sum(len(pin.images(p.read_text())) for p in pin.files(folder)) == len(lines) + 1


def test_a_tag_becomes_the_digest_of_what_the_registry_has(registry: str) -> None:
    for name, content in MANIFESTS.items():
        assert pin.digest_of(f"{registry}/{name}:2.15") == f"sha256:{hashlib.sha256(content).hexdigest()}"
    with pytest.raises(pin.NotFound, match="404"):
        pin.digest_of(f"{registry}/library/nothing:2.15")
    assert pin._parts("nats:2.15") == (pin.DOCKER_HUB, "library/nats", "2.15")
    assert pin._parts("clickhouse/clickhouse-server") == (pin.DOCKER_HUB, "clickhouse/clickhouse-server", "latest")


def test_all_are_pinned_or_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_text() for path in pin.files(folder)}

    def refused(image: str) -> str:
        if image.startswith("python"):
            raise pin.NotFound(f"{image}: not now")
        return digest("1")

    def digest(digit: str) -> str:
        return f"sha256:{digit * 64}"

    monkeypatch.setattr(pin, "digest_of", refused)
    assert pin.main([], folder) == 1
    assert {path: path.read_text() for path in pin.files(folder)} == before
    for digit in ("1", "2"):
        monkeypatch.setattr(pin, "digest_of", lambda image, digit=digit: digest(digit))
        assert pin.main([], folder) == 0
        assert pin.main(["--verify"], folder) == 0
        found = {d for path in pin.files(folder) for _, d in pin.images(path.read_text())}
        assert found == {digest(digit)}
    (folder / "compose.yaml").write_text(before[folder / "compose.yaml"])
    assert pin.main(["--verify"], folder) == 1
    assert "clickhouse/clickhouse-server" in capsys.readouterr().err
