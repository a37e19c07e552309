"""A model of the hub: said before it is fetched, fetched after a yes, and gone on with after a break."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typing_extensions import Self

from tests.trainer.tools.hub_server import hub
from tests.trainer.tools.lookers import tagger
from trainer.tools import hub_models
from trainer.tools.hub_models import is_whole

DRIVER = """
import json, sys
from pathlib import Path
import huggingface_hub.constants
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1 << 14
from trainer.events import read_events
from trainer.files.job_folder import JobFolder
from trainer.jobs.run_tool import run_tool
from trainer.tools.checks import check_values
from trainer.tools.table import TOOLS
tool, workspace = TOOLS["tag"], Path(sys.argv[1])
for line in sys.stdin:
    values = json.loads(line)
    stop = values.pop("stop", False)
    form, problems = check_values(tool, values)
    told = {"problems": [[p.code, p.said("en").what, p.fix] for p in problems if p.blocks], "end": None}
    if form:
        job = JobFolder.create(workspace, form, "tag", "pictures")
        if stop:
            job.stop_file.touch()
        run_tool(job, listen=lambda event: None)
        events = [event for _, _, event in read_events(job.events_file)]
        told["end"] = [type(events[-1]).__name__, getattr(events[-1], "code", "")]
        told["work"] = [[e.done, e.total] for e in events if type(e).__name__ == "Phase" and e.name == "work"]
    print(json.dumps(told), flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One picture."""
    place = tmp_path / "pictures"
    place.mkdir()
    Image.new("RGB", (20, 10), (0, 0, 255)).save(place / "a.png")
    return place


class Person:
    """Someone at the tool "Tag" of a program whose hub is at `address`."""

    def __init__(self, tmp_path: Path, address: str, folder: Path) -> None:
        own = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        left_out = {"HF_HUB_OFFLINE", "HF_HUB_CACHE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY"}
        environment = {key: value for key, value in os.environ.items() if key not in left_out} | own
        self.values = {"folder": str(folder), "model": "me/model", "download": ""}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path / "workspace")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
        )  # fmt: skip

    def tag(self, **changes: Any) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({**self.values, **changes}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.communicate()


def test_it_is_said_fetched_interrupted_and_gone_on_with(tmp_path: Path, folder: Path):
    place = tagger(tmp_path / "model")
    with (place / "model.onnx").open("ab") as file:
        file.write(b"\xf2\x01\x80\x80\x0c" + bytes(3 << 16))  # a field of no meaning: a file of some size
    size = sum(path.stat().st_size for path in place.iterdir())
    with hub(place) as server, Person(tmp_path, server.address, folder) as person:
        [[code, what, fix]] = person.tag()["problems"]
        assert (code, fix) == ("tools.fetch", {"download": "me/model"})
        assert f"{size / 1e6:,.0f} MB" in what
        assert "apache-2.0" in what
        assert not list((tmp_path / "hf").rglob("*.onnx*")), "nothing is fetched before a yes"

        server.cut_at = {"model.onnx": 100_000}
        told = person.tag(download="me/model")
        assert told["end"] == ["Failed", "tools.hub_unreachable"]
        server.mend()
        assert [problem[0] for problem in person.tag()["problems"]] == ["tools.fetch"], "half a model is none"

        assert person.tag(download="me/model")["end"][0] == "Finished"
        [wanted] = server.ranges
        begin = int(wanted.removeprefix("model.onnx bytes=").rstrip("-"))
        assert 0 < begin <= 100_000, "what was there is not fetched again"

        server.silent = True  # from here on no network is needed
        told = person.tag()
        assert (told["problems"], told["end"][0]) == ([], "Finished")


def test_stop_ends_a_fetch_before_its_next_file(tmp_path: Path, folder: Path):
    place = tagger(tmp_path / "model")
    with hub(place, "") as server, Person(tmp_path, server.address, folder) as person:
        [[code, what, _]] = person.tag()["problems"]
        assert code == "tools.fetch_without_license"
        assert "no licence" in what
        assert person.tag(download="me/model", stop=True)["end"][0] == "Stopped"
        [[code, _, _]] = person.tag(model="me/other")["problems"]
        assert code == "tools.hub_unknown"


def test_a_model_in_parts_is_whole_with_all_its_parts(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    parts = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"weight_map": {"a": parts[0], "b": parts[1]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (tmp_path / parts[0]).touch()
    assert not is_whole(tmp_path, "caption")
    (tmp_path / parts[1]).touch()
    assert is_whole(tmp_path, "caption")
    (tmp_path / "model.safetensors.index.json").write_text("rubbish", encoding="utf-8")
    assert is_whole(tmp_path, "caption"), "then loading tells"
    assert hub_models.wanted(parts, "caption") == tuple(parts)
