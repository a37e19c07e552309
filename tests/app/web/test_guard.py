"""Who gets in: a real server, real sockets, the attacks of FACTS.md B §5."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import gradio as gr
import pytest
import uvicorn
from PIL import Image

import gui
from app.answers import Answers
from app.jobs.process import PASSWORD_VARIABLE
from app.jobs.store import Job, JobStore
from app.page.page import bridge
from app.web import connection, doors, password, server
from app.web.guard import LOCAL, Guard, wanted_language
from app.web.password import FREE_TRIES, Gate, PasswordLengthError, PasswordLettersError, Tries, household
from tests.app.conftest import FAKE, wait_for, wait_until
from trainer.settings import Settings

BOUNDARY = "xxBOUNDARYxx"


@dataclass
class Site:
    """A running server."""

    port: int
    store: JobStore
    config: Any

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> HTTPResponse:
        """Send one request exactly as said; header names with _ for -."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        told = {
            "Host": f"127.0.0.1:{self.port}",
            **{key.replace("_", "-"): value for key, value in headers.items()},
        }
        if body is not None:
            told["Content-Length"] = str(len(body))
        for name, value in told.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.text = answer.read().decode("utf-8", "replace")  # pyright: ignore[reportAttributeAccessIssue]  # kept for the test
        connection.close()
        return answer

    def say(self, *pieces: bytes, pause: float = 0) -> bytes:
        """Send bytes as they are, and read the head of an answer, or until the server hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as line:
            for piece in pieces:
                line.sendall(piece.replace(b"{host}", f"127.0.0.1:{self.port}".encode()))
                time.sleep(pause)
            heard = b""
            with suppress(ConnectionResetError):  # hung up with our words unread
                while b"\r\n\r\n" not in heard and (piece := line.recv(65536)):
                    heard += piece
        return heard

    def poll(self, **headers: str) -> HTTPResponse:
        """Call the live view's server function, as its script does."""
        live = next(part for part in self.config["components"] if part["props"].get("elem_id") == "la-bridge")
        data = {"data": {"lang": "en"}, "component_id": live["id"], "fn_name": "live", "session_hash": "s"}
        wanted = {"Content_Type": "application/json", **headers}
        return self.ask("/gradio_api/component_server", "POST", json.dumps(data).encode(), **wanted)

    def upload(self, **headers: str) -> HTTPResponse:
        """Send a file to Gradio's upload route."""
        part = 'Content-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhello'
        body = f"--{BOUNDARY}\r\n{part}\r\n--{BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.ask("/gradio_api/upload", "POST", body, Content_Type=kind, **headers)


def small_page(store: JobStore) -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as blocks:
        bridge({}, Answers(store))
        text = gr.Textbox()
        gr.Button().click(str.upper, text, text, api_name="shout")
    return blocks


async def built(store: JobStore, **how):
    """Blocks and app; inside a running loop Gradio does not leave loops of its own open."""
    blocks = small_page(store)
    return blocks, server.build_app(store, blocks, {}, **how)


@contextmanager
def servers(store: JobStore) -> Iterator[Callable[..., Site]]:
    """Start servers; `gate`, `any_address` as for build_app."""
    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(**how) -> Site:
        server.be_quiet()
        blocks, app = asyncio.run(built(store, **how))
        listener = server.bind("127.0.0.1", 0)
        up = uvicorn.Server(server.configured(app))
        thread = threading.Thread(target=up.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not up.started:
            time.sleep(0.02)
        running.append((up, thread, listener))
        return Site(listener.getsockname()[1], store, blocks.get_config_file())

    yield start
    for up, thread, listener in running:
        up.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def serving(store: JobStore) -> Iterator[Callable[..., Site]]:
    """Start servers of a fresh workspace."""
    with servers(store) as start:
        yield start


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all tests that leave nothing behind."""
    with servers(JobStore(tmp_path_factory.mktemp("site"), FAKE)) as start:
        yield start()


def test_our_own_page_is_served(site: Site):
    page = site.ask("/", Sec_Fetch_Site="none", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document")
    assert page.status == 200
    assert site.poll(Origin=f"http://127.0.0.1:{site.port}", Sec_Fetch_Site="same-origin").status == 200
    assert site.poll().status == 200, "programs without an Origin, such as curl"
    assert site.ask("/", Host=f"localhost:{site.port}").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[", "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "192.168.0.9"},
        {"Host": "["},
        {"Host": ""},
        {"Host": "me@127.0.0.1:{port}"},
        {"Host": "evil.example@127.0.0.1:{port}", "Origin": "http://evil.example@127.0.0.1:{port}"},
        {"Host": "127.0.0.1:{port},evil.example"},
        {"Host": "127.0.0.1:{port} evil.example"},
        {"Host": "127.0.0.1:{port}/evil"},
        {"Host": "127.0.0.1:{port}?x"},
        {"Host": "127.0.0.1:{port}#x"},
        {"Host": "127.0.0.1:x"},
        {"Host": "127.0.0.1:"},
        {"Host": "127.1:{port}"},
        {"Host": "0x7f000001"},
        {"Host": "localhost.evil.example"},
        {"Host": "[::1"},
        {"Host": "[::1]x"},
        {"Origin": "http://127.0.0.1:{port}/"},
        {"Origin": "http://127.0.0.1:{port}, http://evil.example"},
        {"Origin": "http://me@127.0.0.1:{port}"},
        {"Origin": "ftp://127.0.0.1:{port}"},
        {"Origin": "//127.0.0.1:{port}"},
        {"Sec_Fetch_Site": "same-origin, cross-site"},
    ],
)
def test_other_pages_are_refused_everywhere(site: Site, headers: dict[str, Any]):
    headers = {name: value.replace("{port}", str(site.port)) for name, value in headers.items()}
    assert site.poll(**headers).status in (400, 403)
    assert site.upload(**headers).status in (400, 403)
    assert site.ask("/gradio_api/info", **headers).status in (400, 403)
    assert site.ask("/live/x/log", **headers).status in (400, 403)


def test_another_page_may_link_to_the_front_door_only(site: Site):
    link: dict[str, Any] = {
        "Sec_Fetch_Site": "cross-site",
        "Sec_Fetch_Mode": "navigate",
        "Sec_Fetch_Dest": "document",
    }
    frame: dict[str, Any] = {**link, "Sec_Fetch_Dest": "iframe"}
    assert site.ask("/", **link).status == 200
    assert site.ask("/", **frame).status == 403
    assert site.ask("/config", **link).status == 403
    assert site.ask("/", "POST", b"", **link).status == 403


def test_text_plain_post_without_preflight_is_refused(site: Site):
    assert site.poll(Origin="http://evil.example", Content_Type="text/plain").status == 403


def test_no_answer_may_be_read_by_other_origins(site: Site):
    answer = site.ask("/", Origin="http://evil.example")
    assert answer.getheader("access-control-allow-origin") is None


def test_security_headers_on_every_answer(site: Site):
    for path in ("/", "/config", "/live/x/log", "/nowhere"):
        answer = site.ask(path)
        assert answer.getheader("x-content-type-options") == "nosniff", path
        assert answer.getheader("x-frame-options") == "DENY", path
        assert "frame-ancestors 'none'" in (answer.getheader("content-security-policy") or ""), path


@pytest.mark.parametrize("header", ["Origin: http://evil.example", "Host: evil.example", "Cookie: a=b"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_a_header_that_stands_twice_is_refused(site: Site, header: str, first: bool):
    ours = "Host: {host}\r\nOrigin: http://{host}\r\nCookie: ui_lang=en\r\n"
    both = f"{header}\r\n{ours}" if first else f"{ours}{header}\r\n"
    for path in ("/", "/config", "/live/x/log"):
        told = site.say(f"GET {path} HTTP/1.1\r\n{both}Connection: close\r\n\r\n".encode())
        assert told.split()[1] in (b"400", b"403"), path


def test_what_a_proxy_would_say_is_not_believed(site: Site):
    evil = "evil.example"
    page = site.ask("/", X_Forwarded_Host=evil, X_Forwarded_Proto="https", Forwarded=f"host={evil}")
    assert page.status == 200
    assert evil not in page.text  # pyright: ignore[reportAttributeAccessIssue]  # see ask
    assert evil not in site.ask("/config", X_Forwarded_Host=evil).text  # pyright: ignore[reportAttributeAccessIssue]  # see ask


FILES = (
    "/etc/passwd",
    "pyproject.toml",
    "../../etc/passwd",
    "http://169.254.169.254/",
    "https://example.com/",
)
WAYS = (
    "/gradio_api/file={0}", "/gradio_api/file/{0}", "/gradio_api/file%3D{0}", "/gradio_api/file%3d{0}",
    "/gradio_api/%66ile={0}", "/gradio_api//file={0}", "/gradio_api/./file={0}", "/x/../gradio_api/file={0}",
    "/gradio_api/file=%20{0}", "/gradio_api/file=blob:{0}", "/gradio_api/proxy={0}", "/file={0}", "/file/{0}",
    "/static/{0}", "/assets/{0}", "/static/../{0}", "/gradio_api/stream/{0}/a/1/playlist.m3u8",
    "/gradio_api/file=HTTPS://EXAMPLE.com/{0}", "/gradio_api/file=ftp://{0}", "/gradio_api/file=//{0}",
    "/gradio_api/custom_component/{0}/client/x/y", "/svelte/{0}",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_gradio_serves_no_files_of_this_or_any_machine(site: Site, way: str, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    async def resolve(host: str, *_: object, **__: object) -> str:
        asked.append(host)
        return "203.0.113.1"

    monkeypatch.setattr("safehttpx.async_validate_url", resolve)
    for file in FILES:
        for told in (file, quote(file, safe=""), quote(quote(file, safe=""), safe=""), file + "?x=/y"):
            for method in ("GET", "HEAD"):
                assert site.ask(way.format(told), method).status in (403, 404, 405), told
    assert asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/openapi.json", "/docs", "/redoc", "/gradio_api/openapi.json",
        "/gradio_api/deep_link?session_hash=x", "/gradio_api/runs",
        "/monitoring", "/monitoring/summary", "/token", "/gradio_api/token", "/user",
        "/gradio_api/upload_progress?upload_id=x", "/manifest.json", "/gradio_api/mcp", "/login", "/logout",
        "/gradio_api/dev/reload", "/gradio_api/call/shout/x", "/gradio_api/queue/status", "/pwa_icon",
        "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/cancel", "/gradio_api/reset",
    ],
)  # fmt: skip
def test_routes_that_no_page_needs_are_shut(site: Site, path: str):
    assert site.ask(path).status == 404
    assert site.ask(path, "POST", b"{}", Content_Type="application/json").status == 404


@pytest.mark.parametrize(
    "path", ["/gradio_api/upload", "/gradio_api/call/shout", "/gradio_api/run/shout", "/login"]
)
def test_nothing_is_sent_to_routes_that_no_page_needs(site: Site, path: str):
    assert site.ask(path, "POST", b'{"data": ["x"]}', Content_Type="application/json").status == 404
    assert site.upload().status == 404


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain", "text/plain;application/json", "application/x-www-form-urlencoded", "",
        "application/jsonp", "multipart/form-data; boundary=x", "text/plain; charset=application/json",
    ],
)  # fmt: skip
def test_only_json_is_taken(site: Site, kind: str):
    """What a form of another page can send without asking first."""
    assert site.poll(Content_Type=kind).status == 415
    assert site.poll(Content_Type="Application/JSON; charset=utf-8").status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "POST", "BREW"])
def test_other_methods_are_refused(site: Site, method: str):
    assert site.ask("/", method, b"").status in (400, 405)
    assert site.ask("/live/x/log", method, b"").status in (400, 405)


@pytest.mark.parametrize("length", [20_000, 60_000, 120_000, 1_000_000])
def test_a_long_address_is_refused_as_such(site: Site, length: int):
    for path in ("/", "/live/", "/live/thumb?path=", "/gradio_api/file="):
        told = site.say(
            b"GET %b%b HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n" % (path.encode(), b"a" * length)
        )
        assert told.split()[1:2] == [b"414"] or (length > 500_000 and not told), told[:80]


@pytest.mark.parametrize("words", ["NaN", "-Infinity", "1e999", '"\\ud800"', "9" * 5000, "[" * 10_000])
def test_a_body_that_is_no_json_of_ours_is_refused(site: Site, words: str):
    """Its own fault, and said as such: FastAPI's answer repeats it, and broke where it cannot be written."""
    for body in (words, f'{{"data": {words}}}'):
        answer = site.ask(
            "/gradio_api/component_server", "POST", body.encode(), Content_Type="application/json"
        )
        assert answer.status == 400


@pytest.mark.parametrize("path", ["/gradio_api/component_server", "/gradio_api/component_server/"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"component_id": number} for number in (-1, 0, 99, 10**30, 2.0, True, "1", None, [1], {})
    ] + [
        {"fn_name": name} for name in ("lively", "__init__", "__class__", "as_example", "", 5, None, ["live"])
    ] + [{"session_hash": words} for words in (None, 7, ["s"], {})],
)  # fmt: skip
def test_a_question_that_the_page_does_not_have_is_refused(
    site: Site, path: str, wrong: dict[str, Any], capfd: pytest.CaptureFixture[str]
):
    """Gradio looks the component up without asking, and answered 500 with a traceback in the log."""
    live = next(part for part in site.config["components"] if part["props"].get("elem_id") == "la-bridge")
    right = {"data": {"lang": "en"}, "component_id": live["id"], "fn_name": "live", "session_hash": "s"}

    def answer(question: dict[str, Any]) -> int:
        return site.ask(path, "POST", json.dumps(question).encode(), Content_Type="application/json").status

    assert answer(right) == 200
    assert answer({**right, **wrong}) == 400
    for key in wrong:
        assert answer({name: value for name, value in right.items() if name != key}) == 400
    assert capfd.readouterr().err == ""


def test_what_is_no_http_is_refused(site: Site):
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
        b"GET\r\n\r\n",
        b"\xff\xfe / HTTP/1.1\r\n\r\n",
    ):
        assert site.say(nonsense + b"\r\n\r\n")[:12] == b"HTTP/1.1 400"
    assert site.ask("/").status == 200


# ── slow and large ──────────────────────────────────────────────────────────────────────────────────

POST = b"POST %b HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
COMPONENT = b"/gradio_api/component_server/"


def test_a_body_that_does_not_come_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doors, "PATIENCE", 0.2)
    assert site.say(POST % (COMPONENT, 100), b'{"a":')[:12] == b"HTTP/1.1 408"
    assert site.poll().status == 200


def test_a_body_that_trickles_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doors, "LONGEST_WAIT", 0.5)
    pieces = [b"x"] * 20
    with suppress(ConnectionError):  # it may hang up while we speak
        assert site.say(POST % (COMPONENT, 10_000), *pieces, pause=0.1)[:12] == b"HTTP/1.1 408"
    assert site.poll().status == 200


def hung_up(line: socket.socket) -> bool:
    try:
        line.sendall(b"x")
    except ConnectionError:
        return True
    return False


def test_a_refused_body_does_not_trickle_on(gated: Site, monkeypatch: pytest.MonkeyPatch):
    """After 401 the connection ends, however the rest of the body comes."""
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", gated.port), timeout=60) as line:
        line.sendall((POST % (COMPONENT, 10**6)).replace(b"{host}", f"127.0.0.1:{gated.port}".encode()))
        assert line.recv(65536)[:12] == b"HTTP/1.1 401"
        wait_for(lambda: hung_up(line))


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: {host}\r\nX: "])
def test_a_request_that_does_not_come_is_given_up(site: Site, said: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.3)
    assert site.say(said) == b""
    with suppress(ConnectionError):
        assert site.say(b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 20, pause=0.1) == b""
    assert site.ask("/").status == 200


def test_a_body_that_is_too_large_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch):
    assert site.say(POST % (COMPONENT, 10**12))[:12] == b"HTTP/1.1 413"
    monkeypatch.setattr(doors, "MOST_BODY", 1000)
    head = POST.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked") % COMPONENT
    with suppress(ConnectionError):
        assert site.say(head, b"800\r\n" + b"x" * 0x800 + b"\r\n")[:12] == b"HTTP/1.1 413"
    assert site.poll().status == 200


def test_language_is_in_the_page_before_its_scripts(site: Site):
    japanese = site.ask("/", Accept_Language="ja-JP,ja;q=0.9,en;q=0.8").text  # pyright: ignore[reportAttributeAccessIssue]  # see ask
    assert japanese.index("'language','ja'") < japanese.index("src=")
    chosen = site.ask("/", Accept_Language="ja", Cookie="ui_lang=en").text  # pyright: ignore[reportAttributeAccessIssue]  # see ask
    assert "lang='en'" in chosen


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "en"),
        ({"accept-language": "de-DE,de"}, "en"),
        ({"accept-language": "de,ja;q=0.5,en;q=0.4"}, "ja"),
        ({"accept-language": "en-GB,ja"}, "en"),
        ({"accept-language": "en;q=0.1,ja;q=x"}, "ja"),
        ({"cookie": "ui_lang=ja"}, "ja"),
        ({"cookie": "ui_lang=<script>"}, "en"),
        ({"cookie": "a=b; =; ;;\x00", "accept-language": "ja"}, "ja"),
    ],
)
def test_language_of_a_request(headers: dict[str, str], language: str):
    assert wanted_language(headers) == language


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


def finished(site: Site, out: Path) -> Job:
    """A run that has ended, with a sample and a file."""
    values = {"output_dir": str(out), "output_name": "mascot 1 é", "max_train_steps": 20}
    job = site.store.start(Settings.from_flat({**values, "sample_prompts": "a red circle"}))
    wait_until(job, "finished")
    return job


@pytest.fixture(scope="module")
def done(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """One for all tests that only ask."""
    return finished(site, tmp_path_factory.mktemp("out"))


def test_samples_results_and_log_of_a_job_are_served(site: Site, done: Job):
    base = f"/live/{quote(done.id)}"
    picture = site.ask(f"{base}/sample/00000000_00.png")
    assert (picture.status, picture.getheader("content-type")) == (200, "image/png")
    result = site.ask(f"{base}/result/mascot%201%20%C3%A9.safetensors")
    assert result.status == 200
    assert "attachment" in (result.getheader("content-disposition") or "")
    assert site.ask(f"{base}/log").status == 200
    assert site.ask(f"{base}/samples.zip").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "sample/..%2Fsettings.json",
        "sample/..%2F..%2Fsettings.json",
        "sample/settings.json",
        "sample/%2Fetc%2Fpasswd",
        "result/settings.json",
        "result/..%2F..%2Fetc%2Fpasswd",
        "result/state",
        "settings.json",
        "events.jsonl",
        "../jobs/x/log",
    ],
)
def test_nothing_else_of_a_job_is_served(site: Site, done: Job, path: str):
    assert site.ask(f"/live/{quote(done.id)}/{path}").status == 404


def test_a_lying_event_does_not_open_other_files(site: Site, tmp_path: Path):
    """A job folder from somewhere else may claim to have saved anything: only its Output folder counts."""
    secret, out = tmp_path / "secret.safetensors", tmp_path / "out"
    secret.write_bytes(b"x")
    out.mkdir()
    done = finished(site, out)
    (out / "link.safetensors").symlink_to(secret)
    with done.folder.events_file.open("a") as file:
        for path in (secret, out / "link.safetensors", "/etc/passwd"):
            event = {"event": "saved", "time": 1, "step": 1, "epoch": 1, "path": str(path), "size": 1}
            file.write(json.dumps(event) + "\n")
        lie = {"event": "sampled", "time": 1, "step": 1, "index": 0, "prompt": "", "path": "../settings.json"}
        file.write(json.dumps(lie) + "\n")
    for name in ("secret.safetensors", "link.safetensors", "passwd"):
        assert site.ask(f"/live/{quote(done.id)}/result/{name}").status == 404
    assert site.ask(f"/live/{quote(done.id)}/sample/settings.json").status == 404


def test_small_views_only_of_pictures_in_allowed_folders(serving, store: JobStore, tmp_path: Path):
    pictures = store.workspace / "pictures"
    pictures.mkdir()
    Image.new("RGBA", (600, 300), "#f008").save(pictures / "a.png")
    (pictures / "b.png").write_text("no picture")
    outside = tmp_path / "outside.png"
    Image.new("RGB", (9, 9)).save(outside)
    (pictures / "link.png").symlink_to(outside)
    hidden = store.workspace / ".hidden"
    hidden.mkdir()
    Image.new("RGB", (9, 9)).save(hidden / "c.png")
    site = serving()
    good = site.ask(f"/live/thumb?path={pictures / 'a.png'}")
    assert (good.status, good.getheader("content-type")) == (200, "image/jpeg")
    for bad in (
        pictures / "b.png",
        outside,
        pictures / "link.png",
        hidden / "c.png",
        "/etc/passwd",
        "a.png",
        "",
    ):
        assert site.ask(f"/live/thumb?path={bad}").status == 404, bad


# ── password ────────────────────────────────────────────────────────────────────────────────────────


WORDS = "open sesame"


def login(site: Site, words: str) -> HTTPResponse:
    kind = "application/x-www-form-urlencoded"
    return site.ask("/login", "POST", f"password={quote(words)}".encode(), Content_Type=kind)


@pytest.fixture
def gated(serving, store: JobStore) -> Site:
    return serving(gate=Gate.for_workspace(store.workspace, WORDS))


def test_password_covers_every_route(gated: Site):
    for path in (
        "/config",
        "/gradio_api/info",
        "/live/x/log",
        "/assets/x.js",
        "/gradio_api/file=/etc/passwd",
        "/nowhere",
        "//",
        "/login/",
    ):
        assert gated.ask(path).status == 401, path
    assert gated.poll().status == 401
    assert gated.upload().status == 401
    assert gated.ask("/", "POST", b"").status == 401
    front = gated.ask("/")
    assert front.status == 200
    assert "gradio" not in front.text.lower()  # pyright: ignore[reportAttributeAccessIssue]  # see ask
    assert "<main>" in front.text  # a screen reader finds the form  # pyright: ignore[reportAttributeAccessIssue]  # see ask
    assert login(gated, "wrong").status == 401
    entered = login(gated, WORDS)
    assert entered.status == 303
    session = (entered.getheader("set-cookie") or "").partition(";")[0]
    assert gated.ask("/config", Cookie=session).status == 200
    assert gated.poll(Cookie=session).status == 200
    assert gated.ask("/gradio_api/file=https://example.com/", Cookie=session).status == 404
    assert gated.ask("/login", Cookie=session).status == 303
    assert gated.ask("/config", Cookie=session + "x").status == 401
    name = session.partition("=")[0]
    for forged in ("9999999999.x.", "9999999999.x", "", "x", ".", "..", "1e9.x." + "0" * 64, "é.é.é"):
        assert gated.ask("/config", Cookie=f"{name}={forged}".encode().decode("latin-1")).status == 401, (
            forged
        )


def test_logging_out_ends_the_session_on_the_server(serving, store: JobStore):
    site = serving(gate=Gate.for_workspace(store.workspace, WORDS))
    beside = serving(gate=Gate.for_workspace(store.workspace))
    mine, other = ((login(site, WORDS).getheader("set-cookie") or "").partition(";")[0] for _ in range(2))
    assert beside.ask("/config", Cookie=mine).status == 200
    foreign = site.ask("/logout", "POST", b"", Cookie=mine, Origin="http://evil.example")
    assert foreign.status == 403
    assert site.ask("/logout", Cookie=mine).status in (401, 404)
    assert site.ask("/config", Cookie=mine).status == 200
    out = site.ask("/logout", "POST", b"", Cookie=mine)
    assert (out.status, out.getheader("location")) == (303, "/")
    assert "Max-Age=0" in (out.getheader("set-cookie") or "")
    restarted = serving(gate=Gate.for_workspace(store.workspace))
    for place in (site, beside, restarted):
        assert place.ask("/config", Cookie=mine).status == 401
        assert place.ask("/config", Cookie=other).status == 200
    assert site.ask("/logout", "POST", b"").status == 303
    kept = store.workspace / "logged_out.json"
    assert mine.partition("=")[2] not in kept.read_text()
    assert os.name == "nt" or kept.stat().st_mode & 0o077 == 0
    kept.write_text("no list")
    assert site.ask("/config", Cookie=mine).status == 401


@pytest.mark.parametrize(
    "theirs",
    ['x={"a": 1}', "theme=dark light", "=x", "Path=/", 'x="', "a[b]=1", "\xe9=1", "x", ";;", "a=b=c"],
)
def test_cookies_of_other_servers_on_this_host_do_not_lock_out(gated: Site, theirs: str):
    session = (login(gated, WORDS).getheader("set-cookie") or "").partition(";")[0]
    name = session.partition("=")[0]
    for sent in (f"{theirs}; {session}", f"{session}; {theirs}", f"{name}=old; {theirs};{session}"):
        assert gated.ask("/config", Cookie=sent).status == 200, sent
    assert gated.ask("/config", Cookie=theirs).status == 401


def test_pages_of_two_workspaces_on_one_host_keep_their_sessions(serving, tmp_path: Path):
    """A browser sends both pages' cookies to each, and the later one of a name replaces the earlier."""
    jar: dict[str, str] = {}
    sites: list[Site] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sites.append(serving(gate=Gate.for_workspace(tmp_path / name, WORDS)))
        key, _, value = (
            (login(sites[-1], WORDS).getheader("set-cookie") or "").partition(";")[0].partition("=")
        )
        jar[key] = value
    for site in sites:
        assert (
            site.ask("/config", Cookie="; ".join(f"{key}={value}" for key, value in jar.items())).status
            == 200
        )
    [first, second] = jar.values()
    [key, other] = jar
    assert sites[0].ask("/config", Cookie=f"{key}={second}").status == 401, "the other's session, our name"
    assert sites[0].ask("/config", Cookie=f"{other}={first}").status == 401


@pytest.mark.parametrize("leap", [-(10**8), 10**8])
def test_setting_the_clock_ends_no_wait_and_makes_it_no_longer(
    serving, store: JobStore, monkeypatch: pytest.MonkeyPatch, leap: int
):
    gate = Gate.for_workspace(store.workspace, WORDS)
    site = serving(gate=gate)
    gate._tries_of("127.0.0.1").until = time.monotonic() + 900
    moved = SimpleNamespace(time=lambda: time.time() + leap, monotonic=time.monotonic)
    monkeypatch.setattr(password, "time", moved)
    refused = login(site, WORDS)
    assert refused.status == 429
    [seconds] = re.findall(r"Wait (\d+) seconds", refused.text)  # pyright: ignore[reportAttributeAccessIssue]  # see ask
    assert 0 < int(seconds) <= 900


def test_password_is_hashed_and_for_the_owner_only(store: JobStore):
    Gate.for_workspace(store.workspace, WORDS)
    path = store.workspace / "password.json"
    assert "sesame" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_session_survives_a_restart_and_ends_with_the_password(store: JobStore):
    session = Gate.for_workspace(store.workspace, "the first").session(1000.0)
    again = Gate.for_workspace(store.workspace)
    assert again.knows(session, 1001.0)
    assert not again.knows(session, 1000.0 + 31 * 24 * 3600)
    assert Gate.for_workspace(store.workspace, "the first").knows(session, 1001.0), "the same password again"
    assert not Gate.for_workspace(store.workspace, "the second").knows(session, 1001.0)


def test_without_a_password_no_listening(store: JobStore):
    with pytest.raises(PermissionError):
        Gate.for_workspace(store.workspace)


@pytest.mark.parametrize("words", ["1234567", "ひみつのことば", " ", "x" * 257])
def test_a_password_has_eight_letters_at_least(store: JobStore, words: str):
    with pytest.raises(PasswordLengthError):
        Gate.for_workspace(store.workspace, words)
    assert not (store.workspace / "password.json").exists()


@pytest.mark.parametrize(
    "words", ["sesame open\n", "sesame\topen", "\x7fsesame open", "sesame \udce4pen", "\ud83dsesame open"]
)
def test_a_password_is_something_that_can_be_entered(store: JobStore, words: str):
    """A file with a line break at its end; an environment in another encoding."""
    with pytest.raises(PasswordLettersError):
        Gate.for_workspace(store.workspace, words)
    assert not (store.workspace / "password.json").exists()


@pytest.mark.parametrize(
    "words", ["ひみつのことばだ", "𠮷野家で牛丼を食べた" * 25, "a+b&c=d%20;e", "  eight  "]
)
def test_any_letters_make_a_password(serving, store: JobStore, words: str):
    site = serving(gate=Gate.for_workspace(store.workspace, words))
    assert login(site, words).status == 303
    assert login(site, words + "x").status == 401


def test_guessing_is_slowed_down(gated: Site):
    answers = [login(gated, "wrong").status for _ in range(6)]
    assert answers == [401] * 5 + [429]
    assert login(gated, WORDS).status == 429
    tries = Tries()
    for _ in range(30):
        tries.failed(0.0)
    assert tries.until == 900.0


LOGIN = b"POST /login HTTP/1.1\r\nHost: {host}\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("headers_first", [True, False])
def test_many_guesses_at_once_are_no_more_than_a_few(gated: Site, headers_first: bool):
    """All headers first, so that every try passes what is asked before the body; or all at one blow."""
    bodies = [f"password=guess{number:04}".encode() for number in range(40)] + [f"password={WORDS}".encode()]
    lines = [socket.create_connection(("127.0.0.1", gated.port), timeout=120) for _ in bodies]
    heads = [(LOGIN % len(body)).replace(b"{host}", f"127.0.0.1:{gated.port}".encode()) for body in bodies]
    for line, head in zip(lines, heads, strict=True):
        if headers_first:
            line.sendall(head)
    if headers_first:
        time.sleep(0.5)
    for line, head, body in zip(lines, heads, bodies, strict=True):
        line.sendall(body if headers_first else head + body)
    answers = [line.recv(200).split()[1].decode() for line in lines]
    for line in lines:
        line.close()
    assert answers.count("401") <= FREE_TRIES
    assert answers.count("303") == 0
    assert answers.count("429") == len(bodies) - answers.count("401")


def test_the_page_is_served_while_a_password_is_judged(gated: Site, monkeypatch: pytest.MonkeyPatch):
    """The hash is computed beside the event loop."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(_gate: Gate, _words: str) -> bool:
        begun.set()
        return not go_on.wait(60)

    monkeypatch.setattr(Gate, "right", slow)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(login(gated, "whatever").status))
    thread.start()
    assert begun.wait(60)
    assert gated.ask("/").status == 200
    go_on.set()
    thread.join(60)
    assert answers == [401]


def test_a_login_that_does_not_come_is_given_up(gated: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(password, "BODY_SECONDS", 0.2)
    assert gated.say(LOGIN % 100, b"password=")[:12] == b"HTTP/1.1 408"
    assert gated.say(LOGIN % 10**9, b"password=" + b"x" * 30_000)[:12] == b"HTTP/1.1 408"
    assert login(gated, WORDS).status == 303


def test_addresses_are_told_apart_by_household():
    assert household("192.168.0.9") != household("192.168.0.10")
    assert household("2001:db8:1:2:3::4") == household("2001:db8:1:2:ffff::1") != household("2001:db8:1:3::1")
    assert household("::ffff:192.168.0.9") == household("192.168.0.9")
    assert household("fe80::1%eth0") == household("fe80::2")
    assert household("?") == "?"


def test_quiet_addresses_are_forgotten(store: JobStore):
    gate = Gate.for_workspace(store.workspace, WORDS)
    for number in range(50):
        gate._tries_of(f"10.0.0.{number}").last = -2 * password.FORGOTTEN
    gate._tries_of("10.1.0.0").failed(time.monotonic())
    gate._tries_of("10.2.0.0")
    assert sorted(gate.tries) == ["10.1.0.0", "10.2.0.0"]


def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, locale: str = "C.UTF-8") -> int:
    """Start the page as a person does who has put the password into the environment."""
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", "")  # set by the program: put back afterwards
    monkeypatch.setenv(PASSWORD_VARIABLE, words)
    monkeypatch.setenv("LC_ALL", locale)
    options = ["gui.py", "--listen", "--no-browser", "--workspace", str(tmp_path / "w")]
    monkeypatch.setattr(sys, "argv", options)
    return gui.main()


def test_no_process_that_the_page_starts_knows_the_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    seen: list[Any] = []
    monkeypatch.setattr(server, "serve", lambda *_, **how: seen.extend([how["password"], dict(os.environ)]))
    assert start(monkeypatch, tmp_path, WORDS) == 0
    assert seen[0] == WORDS
    assert WORDS not in seen[1].values()


def test_nor_one_of_a_store_whose_process_has_the_variable(
    store: JobStore, tmp_path: Path, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(PASSWORD_VARIABLE, WORDS)
    wait_until(store.start(settings("environment")), "finished")
    assert WORDS not in (tmp_path / "out" / "environment.json").read_text()


@pytest.mark.parametrize(("words", "told"), [("short", "8"), ("", "--password"), ("open sesame\n", "UTF-8")])
@pytest.mark.parametrize("locale", ["C.UTF-8", "ja_JP.UTF-8"])
def test_why_the_page_does_not_start_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    words: str, told: str, locale: str,
):  # fmt: skip
    assert start(monkeypatch, tmp_path, words, locale) == 2
    said = capsys.readouterr().err
    assert told in said
    assert ("パスワード" in said) == (locale[:2] == "ja")


# ── addresses ───────────────────────────────────────────────────────────────────────────────────────


def test_listening_knows_addresses_but_no_foreign_names():
    guard = Guard(None, (*LOCAL, "mypc"), any_address=True)  # pyright: ignore[reportArgumentType]  # only `knows` is asked
    assert guard.knows("192.168.0.9:7860")
    assert guard.knows("[fe80::1]:7860")
    assert guard.knows("MyPC:7860")
    assert not guard.knows("evil.example:7860")
    assert not Guard(None).knows("192.168.0.9:7860")  # pyright: ignore[reportArgumentType]  # see above


@pytest.mark.parametrize(
    ("asked", "host"),
    [("127.0.0.2", "127.0.0.2:7860"), ("::1", "[::1]:7860"), ("Atelier.lan", "atelier.lan:7860"),
     ("192.168.7.2", "192.168.7.2:7860"), ("localhost", "127.0.0.1:7860")],
)  # fmt: skip
def test_the_address_that_was_asked_for_opens_the_page(asked: str, host: str):
    guard = Guard(None, (*LOCAL, *server.names_of(asked)))  # pyright: ignore[reportArgumentType]  # only `knows` is asked
    assert guard.knows(host)
    assert not guard.knows("evil.example")


def test_a_taken_port_is_passed_over_or_said():
    first = server.bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    with pytest.raises(OSError):  # noqa: PT011  # the system's own words
        server.bind("127.0.0.1", port)
    second = server.bind("127.0.0.1", None)
    assert second.getsockname()[1] != port
    first.close()
    second.close()
    assert server.address("0.0.0.0", 1) == "http://127.0.0.1:1/"
    assert server.address("::1", 1) == "http://[::1]:1/"
