"""Uploads to Hugging Face and states from there, with a small server of ours in its place."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from tests.trainer.found import expect
from tests.trainer.made import sound_settings
from tests.trainer.runs import events, short_settings, trained
from trainer.events import Notice, Step
from trainer.files.hub import HubPlace, place_of
from trainer.files.job_folder import JobFolder

ROOT = Path(__file__).parents[3]
SHA = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_aTokenThatNobodyMaySee"


class Hub(ThreadingHTTPServer):
    """As much of the hub's interface as its client uses for uploads and downloads."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.refuses = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]  # a narrower type
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002  # the name is the base class's
        """Say nothing."""

    def _answer(self, data: bytes | Any, code: int = 200, **headers: str) -> None:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.tokens.add(self.headers.get("Authorization", ""))
        if self.server.refuses:
            self._answer({"error": "no space left for you"}, 403)
        elif self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self._answer({"url": f"{self.server.address}/me/loras"})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self._answer({"files": files})
        else:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            self._answer({"commitUrl": f"{self.server.address}/me/loras/commit/{SHA}", "commitOid": SHA})

    def do_GET(self) -> None:
        if "/resolve/" in self.path:
            name = self.path.partition(f"/resolve/{SHA}/")[2]
            data = self.server.files[name]
            self._answer(data, X_Repo_Commit=SHA, ETag=f'"{hash(data):x}"')
        elif "/tree/" in self.path:
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": SHA}
                for name, data in self.server.files.items()
            ]
            self._answer(entries)
        else:
            siblings = [{"rfilename": name} for name in self.server.files]
            self._answer({"id": "me/loras", "sha": SHA, "siblings": siblings, "private": True, "tags": []})

    do_HEAD = do_GET  # noqa: N815  # the name is the base class's


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def train(hub: Hub, folder: Path, **changes: Any) -> JobFolder:
    """A run in a process of its own, whose hub is ours."""
    job = JobFolder.create(folder, short_settings(folder, huggingface_token=TOKEN, **changes))
    environment = {
        **os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN,
        "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "job", str(job.path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert TOKEN.encode() not in b"".join(file.read_bytes() for file in job.path.rglob("*") if file.is_file())
    return job


def notices(job: JobFolder) -> list[str]:
    return [
        event.code
        for event in events(job)
        if isinstance(event, Notice) and event.code.startswith("training.")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("in_background", [pytest.param(False, marks=pytest.mark.long), True])
def test_each_file_and_state_is_uploaded_and_a_run_continues_from_there(hub, tmp_path, in_background):
    job = train(
        hub, tmp_path / "first", max_train_steps=2, save_every_n_steps=1, save_state=True,
        huggingface_repo_id="me/loras", huggingface_path_in_repo="cats/one", save_state_to_huggingface=True,
        async_upload=in_background,
    )  # fmt: skip
    first = {path.name for path in (tmp_path / "first" / "out").iterdir()}
    sent = {name.split("/")[2] for name in hub.files}
    assert sent == first
    assert all(name.startswith("cats/one/") for name in hub.files)
    local = (tmp_path / "first" / "out" / "mascot.safetensors").read_bytes()
    assert hub.files["cats/one/mascot.safetensors"] == local
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert (hub.created[0]["name"], hub.created[0]["visibility"]) == ("loras", "private")
    assert notices(job).count("training.uploaded") == len(first)
    more = train(
        hub, tmp_path / "second", max_train_steps=3, resume_from_huggingface="me/loras/cats/one/mascot-state"
    )
    assert [event.step for event in events(more) if isinstance(event, Step)] == [3]


@pytest.mark.slow
def test_a_refused_upload_is_told_and_the_file_is_on_disk(hub, tmp_path):
    hub.refuses = True
    job = train(hub, tmp_path, max_train_steps=1, huggingface_repo_id="me/loras")
    assert notices(job) == ["training.upload_failed"]
    assert load((tmp_path / "out" / "mascot.safetensors").read_bytes())


@pytest.mark.long
def test_type_and_visibility_reach_the_hub(hub, tmp_path):
    train(
        hub, tmp_path, max_train_steps=1, huggingface_repo_id="me/loras", huggingface_repo_type="dataset",
        huggingface_repo_visibility="public", save_state=True,
    )  # fmt: skip
    assert hub.created[0]["type"] == "dataset"
    assert hub.created[0]["visibility"] == "public"
    assert list(hub.files) == ["mascot.safetensors"]  # states only where asked for


def test_nothing_is_uploaded_without_a_repository(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.files.hub.Uploader._send", lambda *_: pytest.fail("sent"))
    trained(tmp_path, max_train_steps=1)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("me/loras/cats/last-state", HubPlace("me/loras", "cats/last-state")),
        ("me/loras/last-state:v2", HubPlace("me/loras", "last-state", "v2")),
        ("me/loras/last-state:v2:dataset", HubPlace("me/loras", "last-state", "v2", "dataset")),
        ("me/loras", None),
        ("", None),
        ("me/loras/s:main:other", None),
        ("C:\\states\\last", None),
    ],
)
def test_a_state_on_the_hub_is_named_like_the_reference_does(text, place):
    assert place_of(text) == place


@pytest.mark.parametrize(
    ("code", "setting", "blocks", "values"),
    [
        ("preflight.hub_repo", "huggingface_repo_id", True, {"huggingface_repo_id": "loras"}),
        ("preflight.hub_choice", "huggingface_repo_type", True,
         {"huggingface_repo_id": "me/loras", "huggingface_repo_type": "lora"}),
        ("preflight.hub_choice", "huggingface_repo_visibility", True,
         {"huggingface_repo_id": "me/loras", "huggingface_repo_visibility": "secret"}),
        ("preflight.hub_state", "resume_from_huggingface", True, {"resume_from_huggingface": "True"}),
        ("preflight.hub_no_token", "huggingface_token", False, {"huggingface_repo_id": "me/loras"}),
    ],
)  # fmt: skip
def test_what_the_hub_would_refuse_is_said_before(tmp_path, monkeypatch, code, setting, blocks, values):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    expect(sound_settings(tmp_path, **values), code, setting=setting, blocks=blocks)
