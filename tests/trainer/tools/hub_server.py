"""A small server that answers as the hub does, and can fall silent in the middle of a file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0" * 40


class Hub(ThreadingHTTPServer):
    """One model: the files of a folder, under the name me/model."""

    daemon_threads = True

    def __init__(self, folder: Path, license_: str) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.license = license_
        self.cut_at: dict[str, int] = {}
        """File -> bytes after which the line is cut; then nothing is answered until `mend`."""
        self.silent = False
        self.ranges: list[str] = []
        """What of a file was asked for, where not all of it was."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def mend(self) -> None:
        self.cut_at, self.silent = {}, False


class Answer(BaseHTTPRequestHandler):
    """One question to the hub."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:  # http.server's name
        self._answer(body=False)

    def do_GET(self) -> None:  # http.server's name
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        pass

    @property
    def hub(self) -> Hub:
        assert isinstance(self.server, Hub)
        return self.server

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if self.hub.silent:
            self._send(403, b"", {}, body=body)
        elif path.startswith("/api/models/me/model"):
            self._send(
                200, json.dumps(self._about()).encode(), {"Content-Type": "application/json"}, body=body
            )
        elif path.startswith("/me/model/resolve/") and name in self.hub.files:
            self._file(name, body=body)
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body=body)

    def _about(self) -> dict[str, object]:
        files = [{"rfilename": name, "size": len(data)} for name, data in self.hub.files.items()]
        card = {"license": self.hub.license} if self.hub.license else {}
        return {"id": "me/model", "sha": COMMIT, "siblings": files, "cardData": card, "tags": []}

    def _file(self, name: str, *, body: bool) -> None:
        data, begin = self.hub.files[name], 0
        headers = {"ETag": f'"{sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if (wanted := self.headers.get("Range")) and body:
            self.hub.ranges.append(f"{name} {wanted}")
            begin = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self._send(206 if begin else 200, data[begin:], headers, body=body, cut=self.hub.cut_at.get(name))

    def _send(
        self, code: int, data: bytes, headers: dict[str, str], *, body: bool, cut: int | None = None
    ) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data[:cut])
        if body and cut is not None:
            self.hub.silent = True
            self.close_connection = True


@contextmanager
def hub(folder: Path, license_: str = "apache-2.0") -> Iterator[Hub]:
    """A hub that answers until the end of the block."""
    server = Hub(folder, license_)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
