"""Every tool's job on small files: it does its work, changes no original, speaks in words, stops cleanly."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path, PosixPath
from shutil import copytree
from typing import Any

import pytest
import torch
from PIL import Image

from tests.checkpoints import random_model, write_checkpoint
from tests.trainer.tools.lookers import captioner, tagger
from tests.trainer.tools.made import lora, tensors
from trainer.errors import StopRequested
from trainer.events import Event, Failed, Finished, Notice, Phase, Stopped, read_events
from trainer.files import safetensors_writer
from trainer.files.job_folder import JobFolder
from trainer.files.safetensors_header import read_header
from trainer.jobs.run import STOPPED
from trainer.jobs.run_tool import run_tool
from trainer.jobs.tool_command import command
from trainer.messages import LANGUAGES, Message, say
from trainer.network.lora_file import save_lora
from trainer.network.network import build_network
from trainer.settings import Network
from trainer.tools import into_checkpoint, lora_files
from trainer.tools.places import NEW
from trainer.tools.table import TOOLS
from trainer.tools.tool import Work

tools = pytest.mark.parametrize("name", TOOLS)
ONE_FILE = ("merge", "merge_into", "resize", "extract", "convert", "metadata")
"""Tools that make one file, which can be large."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of one family, two LoRAs for them that say they are DyLoRAs, pictures, lookers."""
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    model = random_model("sd1")
    write_checkpoint(folder / "base.safetensors", model)
    network = build_network(model, Network(network_dim=4, network_alpha=2))
    module, arguments = "networks.dylora", '{"unit": 2}'
    about = {"ss_base_model_version": "sd_v1", "ss_network_module": module, "ss_network_args": arguments}
    for name in ("a", "b"):
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
        save_lora(folder / f"{name}.safetensors", network.state_dict(), about)
    torch.manual_seed(0)
    tuned = random_model("sd1")
    with torch.no_grad():
        for part in (tuned.denoiser, *tuned.text_encoders):
            for weight in part.parameters():
                weight.add_(torch.randn_like(weight) * 0.05)
    write_checkpoint(folder / "tuned.safetensors", tuned)
    (folder / "pictures").mkdir()
    for number in range(2):
        Image.new("RGB", (32, 24), (90 * number, 40, 200)).save(folder / "pictures" / f"{number}.png")
    tagger(folder / "tagger")
    captioner(folder / "captioner")
    return folder


def values_of(name: str, made: Path, root: Path, out: Path) -> dict[str, Any]:
    """A form that can run."""
    lora, loras = {"lora": made / "a.safetensors"}, f"{made}/a.safetensors:0.7\n{made}/b.safetensors:-0.5"
    file = {"output": out / "new.safetensors"}
    forms: dict[str, dict[str, Any]] = {
        "prepare": {
            "pictures": made / "pictures", "output": out / "training", "instance_prompt": "sks",
            "class_prompt": "owl", "reg_pictures": made / "pictures", "format": "webp", "longest_side": 16,
        },
        "tag": {"folder": made / "pictures", "model": made / "tagger"},
        "caption": {"folder": made / "pictures", "model": made / "captioner", "max_tokens": 5},
        "regularisation": {
            "model": root / "presets" / "demo" / "model", "class_prompt": "owl", "count": 1, "width": 64,
            "height": 64, "steps": 1, "output": out / "reg", "mixed_precision": "no",
        },
        "merge": {"loras": loras, **file},
        "merge_into": {"model": made / "base.safetensors", "loras": loras, **file},
        "resize": {**lora, **file, "rank": 2},
        "extract": {
            "base": made / "base.safetensors", "tuned": made / "tuned.safetensors", **file, "rank": 2,
        },
        "split": {**lora, **file, "rank": 2},
        "convert": {**lora, **file},
        "metadata": {**lora, **file, "title": "Owl", "without_history": True},
        "verify": {**lora},
    }  # fmt: skip
    return {key: str(value) if isinstance(value, Path) else value for key, value in forms[name].items()}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(tmp_path: Path, name: str, values: dict[str, Any], *, stop: bool = False) -> list[Any]:
    job = JobFolder.create(tmp_path / "workspace", TOOLS[name].schema.read(values), name, name)
    if stop:
        job.stop_file.touch()
    run_tool(job, listen=lambda _event: None)
    return [event for _, _, event in read_events(job.events_file)]


@tools
def test_it_does_its_work_and_changes_no_original(name: str, made: Path, root: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    before = content(made)
    values = values_of(name, made, root, out)
    *told, last = run(tmp_path, name, values)
    assert isinstance(last, Finished), last
    assert content(made) == before
    if any(setting.spec.widget in NEW for setting in TOOLS[name].schema.values()):
        assert Path(last.path) == Path(values["output"])
        assert Path(last.path).exists()
    notices = [event for event in told if isinstance(event, Notice)]
    for notice in notices:
        assert all(say(Message(notice.code, notice.values), language).what for language in LANGUAGES)
    assert notices or name in {"split", "extract"}
    assert not list(tmp_path.rglob("*.partial*"))


@tools
def test_stopped_it_leaves_nothing_half(name: str, made: Path, root: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    before = content(made)
    *_, last = run(tmp_path, name, values_of(name, made, root, out), stop=True)
    assert isinstance(last, Stopped), last
    assert content(made) == before
    assert content(out) == {}


def silent(_event: Event) -> None:
    """Nobody listens."""


class Asked:
    """Says Stop at the so-many-th question."""

    def __init__(self, last: int = 0) -> None:
        self.count, self.last = 0, last

    def __call__(self) -> bool:
        self.count += 1
        return self.count == self.last


@pytest.mark.parametrize("name", ONE_FILE)
def test_stop_is_heard_within_a_file_and_while_it_is_written(
    name: str, made: Path, root: Path, tmp_path: Path
):
    tool, before = TOOLS[name], content(made)

    def work(place: str, asked: Asked) -> Path:
        out = tmp_path / place
        out.mkdir()
        form = tool.schema.read(values_of(name, made, root, out))
        tool.run(form, Work(silent, asked, tmp_path))
        return out / "new.safetensors"

    whole = Asked()
    tensors_written = len(read_header(work("whole", whole)).entries)
    assert whole.count >= tensors_written
    for number in (whole.count // 2, whole.count - 1):
        with pytest.raises(StopRequested):
            work(str(number), Asked(number))
        assert content(tmp_path / str(number)) == {}
    assert content(made) == before


def test_stop_is_heard_within_a_large_file_that_is_copied(root: Path, tmp_path: Path, monkeypatch):
    model, tool = tmp_path / "model", TOOLS["merge_into"]
    copytree(root / "presets" / "demo" / "model", model)
    (model / "safety_checker").mkdir()
    (model / "safety_checker" / "model.bin").write_bytes(bytes(range(256)) * 40)
    one = {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q": (64, 64, 0)}
    values = {"model": str(model), "loras": str(lora(tmp_path / "a.safetensors", tensors(2, 1, modules=one)))}
    monkeypatch.setattr(into_checkpoint, "COPIED", 1000)
    asked = Asked()
    tool.run(tool.schema.read({**values, "output": f"{tmp_path}/new"}), Work(silent, asked, tmp_path))
    assert content(tmp_path / "new" / "safety_checker") == {
        f"{tmp_path}/new/safety_checker/model.bin": bytes(range(256)) * 40
    }
    assert asked.count > 10
    for number in (2, 6, 11, asked.count):
        with pytest.raises(StopRequested):
            tool.run(
                tool.schema.read({**values, "output": f"{tmp_path}/next"}),
                Work(silent, Asked(number), tmp_path),
            )
        assert {path.name for path in tmp_path.iterdir()} == {"model", "a.safetensors", "new"}


CHILD = """
import sys
from pathlib import Path, PosixPath
from trainer.events import Phase
from trainer.files.job_folder import JobFolder
from trainer.files.safetensors_header import read_header
from trainer.jobs.run_tool import run_tool
from trainer.jobs.tool_command import command
from trainer.tools import tool

def listen(event):
    if isinstance(event, Phase) and event.name == "work" and event.done == max(1, event.total // 3):
        print(event.done, event.total, flush=True)
        sys.stdin.readline()

tool.EVERY = 0
for path in sys.argv[1:]:
    run_tool(JobFolder(Path(path)), listen=listen)
"""
"""Runs jobs; in the middle of each it waits for a line, so that no test hangs on who is quicker."""


def test_a_process_in_the_middle_of_a_file_stops_and_leaves_nothing(made: Path, root: Path, tmp_path: Path):
    out, before = tmp_path / "out", content(made)
    out.mkdir()
    jobs = [
        JobFolder.create(
            tmp_path / "workspace", TOOLS[name].schema.read(values_of(name, made, root, out)), name, name
        )
        for name in ONE_FILE
    ]
    child = [sys.executable, "-c", CHILD, *(str(job.path) for job in jobs)]
    with subprocess.Popen(
        child, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        for job in jobs:
            done, total = map(int, process.stdout.readline().split())
            assert 0 < done < total
            job.request_stop()
            process.stdin.write("\n")
            process.stdin.flush()
    for job in jobs:
        events = [event for _, _, event in read_events(job.events_file)]
        assert isinstance(events[-1], Stopped), events[-1]
        last = max(event.done for event in events if isinstance(event, Phase))
        assert last < max(event.total for event in events if isinstance(event, Phase))
    assert content(out) == {}
    assert content(made) == before


@pytest.fixture(scope="module")
def reader(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of docs/tools.md can be given, under their names."""
    folder = tmp_path_factory.mktemp("reader")
    for name, source in {"model": "base", "tuned": "tuned", "style": "a"}.items():
        (folder / f"{name}.safetensors").symlink_to(made / f"{source}.safetensors")
    (folder / "pictures").symlink_to(made / "pictures")
    nested = {"ss_network_module": "networks.dylora", "ss_base_model_version": "sd_v1"}
    lora(folder / "momo.safetensors", tensors(16, 8), **nested)
    return folder


def commands(page: str) -> list[list[str]]:
    return [shlex.split(line)[2:] for line in page.splitlines() if line.startswith("./launch.sh tool ")]


@pytest.mark.parametrize("page", ["tools.md", "tools.ja.md"])
def test_the_commands_of_the_docs_are_taken(page: str, made: Path, root: Path, reader: Path, monkeypatch):
    """By the command line itself up to the job, which is not run; what it would fetch is here."""
    monkeypatch.chdir(reader)
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(reader / "workspace"))
    here = {"tag": ["--model", str(made / "tagger")], "caption": ["--model", str(made / "captioner")]}
    jobs: list[JobFolder] = []

    def run_job(folder: JobFolder, *, quiet: bool) -> int:
        jobs.append(folder)
        return int(quiet)

    given = commands((root / "docs" / page).read_text(encoding="utf-8"))
    assert [words[0] for words in given] == list(TOOLS)
    for words in given:
        assert command([*words, *here.get(words[0], [])], "en", run_job) == 0, words
    for job, (name, *words) in zip(jobs, given, strict=True):
        form = job.form(TOOLS[name].schema)
        for option, value in zip(words[::2], words[1::2], strict=True):
            assert value in str(form.get(option.removeprefix("--"))) or name in here, option


@pytest.mark.parametrize("name", ["merge", "merge_into", "split", "convert", "metadata"])
def test_what_a_killed_process_has_left_of_a_file_is_removed(
    name: str, made: Path, root: Path, tmp_path: Path
):
    out = tmp_path / "out"
    out.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    (out / f".new.safetensors.{gone.pid}.tmp").write_bytes(b"half")
    (out / f".other.safetensors.{gone.pid}.tmp").write_bytes(b"somebody else's")
    *_, last = run(tmp_path, name, values_of(name, made, root, out))
    assert isinstance(last, Finished), last
    assert sorted(path.name for path in out.iterdir()) == [
        f".other.safetensors.{gone.pid}.tmp", "new.safetensors",
    ]  # fmt: skip


def test_ctrl_c_leaves_standard_output_json(made: Path, root: Path, tmp_path: Path):
    """A program that reads it gets the end as JSON; what is said to the person stands on stderr."""
    values = values_of("caption", made, root, tmp_path)
    words = [word for key, value in values.items() for word in (f"--{key}", str(value))]
    for number in range(40):
        picture = Image.new("RGB", (512, 512), (number, 40, 200))
        picture.save(tmp_path / f"{number}.png")
    words[words.index("--folder") + 1] = str(tmp_path)
    command = [sys.executable, "-c", INTERRUPTED, "tool", "caption", *words, "--json"]
    environment = {**os.environ, "LORA_ATELIER_WORKSPACE": str(tmp_path / "workspace"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["state"] == "stopped", done.stderr
    assert done.returncode == STOPPED
    assert "nothing half-made is left" in done.stderr


INTERRUPTED = """
import os, signal, sys
from trainer.tools import proposals

proposed = proposals._proposed

def interrupted(*words):
    os.kill(os.getpid(), signal.SIGINT)
    return proposed(*words)

proposals._proposed = interrupted
from trainer.__main__ import main
main()
"""
"""The command line, in which Ctrl-C is pressed at the first picture."""


@pytest.mark.parametrize("name", ["merge", "merge_into", "split"])
def test_a_full_disk_is_told_in_a_tools_words(name: str, made: Path, root: Path, tmp_path: Path, monkeypatch):
    """The system's own answer: /dev/full takes nothing."""
    out = tmp_path / "out"
    out.mkdir()
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("only Linux has a device that is always full")
    monkeypatch.setattr(lora_files.tempfile, "TemporaryFile", lambda **_: full.open("w+b"))
    monkeypatch.setattr(safetensors_writer, "partial_of", lambda path: FullFile(path.with_name(".partial")))
    *_, last = run(tmp_path, name, values_of(name, made, root, out))
    assert isinstance(last, Failed)
    assert (last.code, last.values["path"]) == ("tools.disk_full", str(out / "new.safetensors"))
    assert content(out) == {}


class FullFile(PosixPath):
    """A file on a full disk."""

    def open(self, *_how: Any, **_more: Any) -> Any:
        return Path("/dev/full").open("w+b")
