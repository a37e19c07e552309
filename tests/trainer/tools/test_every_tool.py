"""Every tool's job on small files: it does its work, changes no original, speaks in words, stops cleanly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.checkpoints import random_model, write_checkpoint
from tests.trainer.tools.lookers import captioner, tagger
from trainer.events import Finished, Notice, Stopped, read_events
from trainer.files.job_folder import JobFolder
from trainer.jobs.run_tool import run_tool
from trainer.messages import LANGUAGES, Message, say
from trainer.network.lora_file import save_lora
from trainer.network.network import build_network
from trainer.settings import Network
from trainer.tools.places import NEW
from trainer.tools.table import TOOLS

tools = pytest.mark.parametrize("name", TOOLS)


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
