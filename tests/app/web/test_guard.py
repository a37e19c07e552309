"""Who gets in: a real server, real sockets, the attacks of FACTS.md B §5."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import pytest
import uvicorn
from PIL import Image

from app.answers import Answers
from app.jobs.store import Job, JobStore
from app.page.live_view import build_monitor
from app.web import server
from app.web.guard import LOCAL, Guard, wanted_language
from app.web.password import Gate, Tries
from tests.app.conftest import FAKE, wait_until
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
        answer.text = answer.read().decode("utf-8", "replace")  # type: ignore[attr-defined]  # kept for the test
        connection.close()
        return answer

    def poll(self, **headers: str) -> HTTPResponse:
        """Call the live view's server function, as its script does."""
        live = next(part for part in self.config["components"] if part["props"].get("elem_id") == "live")
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
        build_monitor(Answers(store))
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
        up = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1))
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
    assert site.upload(Origin=f"http://127.0.0.1:{site.port}").status == 200
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
    ],
)
def test_other_pages_are_refused_everywhere(site: Site, headers: dict[str, Any]):
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


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=pyproject.toml",
        "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file=http://169.254.169.254/",
        "/file=/etc/passwd",
    ],
)
def test_gradio_serves_no_files_of_the_machine(site: Site, path: str):
    assert site.ask(path).status in (403, 404)


def test_language_is_in_the_page_before_its_scripts(site: Site):
    japanese = site.ask("/", Accept_Language="ja-JP,ja;q=0.9,en;q=0.8").text  # type: ignore[attr-defined]  # see ask
    assert japanese.index("'language','ja'") < japanese.index("src=")
    chosen = site.ask("/", Accept_Language="ja", Cookie="ui_lang=en").text  # type: ignore[attr-defined]  # see ask
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


@pytest.fixture
def done(site: Site, settings: Callable[..., Settings]) -> Job:
    job = site.store.start(settings(sample_prompts="a red circle", output_name="mascot 1 é"))
    wait_until(job, "finished")
    return job


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


def test_a_lying_event_does_not_open_other_files(site: Site, done: Job, tmp_path: Path):
    """A job folder from somewhere else may claim to have saved anything: only its Output folder counts."""
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes(b"x")
    out = Path(done.settings()["output_dir"])
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


def login(site: Site, password: str) -> HTTPResponse:
    kind = "application/x-www-form-urlencoded"
    return site.ask("/login", "POST", f"password={password}".encode(), Content_Type=kind)


def test_password_covers_every_route(serving, store: JobStore):
    site = serving(gate=Gate.for_workspace(store.workspace, "open sesame"))
    for path in (
        "/config",
        "/gradio_api/info",
        "/live/x/log",
        "/assets/x.js",
        "/gradio_api/file=/etc/passwd",
    ):
        assert site.ask(path).status == 401, path
    assert site.poll().status == 401
    assert site.upload().status == 401
    front = site.ask("/")
    assert front.status == 200
    assert "gradio" not in front.text.lower()  # type: ignore[attr-defined]  # see ask
    assert login(site, "wrong").status == 401
    entered = login(site, "open+sesame")
    assert entered.status == 303
    session = (entered.getheader("set-cookie") or "").partition(";")[0]
    assert site.ask("/config", Cookie=session).status == 200
    assert site.poll(Cookie=session).status == 200
    assert site.ask("/config", Cookie=session + "x").status == 401
    assert site.ask("/config", Cookie="la_session=9999999999.x.").status == 401


def test_password_is_hashed_and_for_the_owner_only(store: JobStore):
    Gate.for_workspace(store.workspace, "open sesame")
    path = store.workspace / "password.json"
    assert "sesame" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_session_survives_a_restart_and_ends_with_the_password(store: JobStore):
    session = Gate.for_workspace(store.workspace, "one").session(1000.0)
    again = Gate.for_workspace(store.workspace)
    assert again.knows(session, 1001.0)
    assert not again.knows(session, 1000.0 + 31 * 24 * 3600)
    assert Gate.for_workspace(store.workspace, "one").knows(session, 1001.0), "the same password again"
    assert not Gate.for_workspace(store.workspace, "two").knows(session, 1001.0)


def test_without_a_password_no_listening(store: JobStore):
    with pytest.raises(PermissionError):
        Gate.for_workspace(store.workspace)


def test_guessing_is_slowed_down(serving, store: JobStore):
    site = serving(gate=Gate.for_workspace(store.workspace, "right"))
    answers = [login(site, "wrong").status for _ in range(6)]
    assert answers == [401] * 5 + [429]
    assert login(site, "right").status == 429
    tries = Tries()
    for _ in range(30):
        tries.failed(0.0)
    assert tries.until == 900.0


# ── addresses ───────────────────────────────────────────────────────────────────────────────────────


def test_listening_knows_addresses_but_no_foreign_names():
    guard = Guard(None, (*LOCAL, "mypc"), any_address=True)  # type: ignore[arg-type]  # only `knows` is asked
    assert guard.knows("192.168.0.9:7860")
    assert guard.knows("[fe80::1]:7860")
    assert guard.knows("MyPC:7860")
    assert not guard.knows("evil.example:7860")
    assert not Guard(None).knows("192.168.0.9:7860")  # type: ignore[arg-type]  # see above


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
