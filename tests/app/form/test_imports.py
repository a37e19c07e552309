"""What the page reads for a person, and the report it shows: nothing of a file is left unsaid."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import pytest

from app.answers import Answers
from app.form import imports
from app.form import values as form
from app.paths import Roots
from tests.app.conftest import ask
from trainer.settings import TRAINING

BROWSER = "0123456789abcdef0123456789abcdef"
PRESETS: dict = json.loads(
    (Path(__file__).parents[2] / "data" / "kohya" / "kohya_presets.json").read_text(encoding="utf-8")
)
COMMAND = (
    "accelerate launch --num_cpu_threads_per_process 1 train_network.py --network_module networks.lora "
    "--network_dim 24 --learning_rate 3e-5 --resolution 768,768 --made_up 3"
)


@pytest.fixture
def answers(store, tmp_path: Path) -> Answers:
    return Answers(store, Roots((tmp_path.resolve(),)))


def load(answers: Answers, language: str = "en", **request):
    return ask(answers, "load", lang=language, **request)


def lora_header(metadata: dict[str, str]) -> tuple[bytes, int, int]:
    """Start of a LoRA file of rank 4 without its tensors, its whole size, and where its alpha stands."""
    tensors = {
        "lora_unet_mid_block_x.lora_down.weight": {"dtype": "F32", "shape": [4, 8], "data_offsets": [4, 132]},
        "lora_unet_mid_block_x.alpha": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
    }
    text = json.dumps({**({"__metadata__": metadata} if metadata else {}), **tensors}).encode()
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + 132, 8 + len(text)


def piece(at: int, data: bytes) -> list:
    return [at, base64.b64encode(data).decode()]


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_key_of_a_kohya_preset_is_in_the_report(answers, name):
    content = PRESETS[name]
    loaded = load(answers, text=json.dumps(content), name=f"{name}.json")
    shown = [line for kind in loaded["report"]["en"]["kinds"] for line in kind["entries"]]
    told = " ".join(line["line"] for line in shown)
    labels = {TRAINING[key].spec.label for key in content if key in TRAINING}
    assert all(label in told for label in labels)
    assert all(key in told for key in content if key not in TRAINING and not key.startswith("#"))
    assert set(loaded["values"]) == set(TRAINING)


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_kohya_preset_is_the_same_after_save_and_load(answers, tmp_path, name):
    first = load(answers, text=json.dumps(PRESETS[name]), name=f"{name}.json")
    path = str(tmp_path / "saved.json")
    ask(answers, "save", path=path, values=first["values"], carried=first["carried"])
    again = load(answers, path=path)
    assert again["values"] == first["values"]
    added = {key: value for key, value in again["carried"].items() if key not in first["carried"]}
    assert again["carried"] == {**first["carried"], **added}
    assert all(key.endswith("_checkbox") and value is False for key, value in added.items())
    changed = [kind for kind in again["report"]["en"]["kinds"] if kind["kind"] in imports.NOT_AS_IN_THE_FILE]
    assert all("saving writes that back" in str(entry) for kind in changed for entry in kind["entries"])


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_pasted_command_is_read_and_what_it_cannot_mean_is_said(answers, language):
    loaded = load(answers, language, text=COMMAND)
    assert loaded["values"]["network_dim"] == 24
    assert loaded["values"]["learning_rate"] == "3e-5"
    assert loaded["values"]["max_resolution"] == "768,768"
    assert not loaded["report"]["en"]["quiet"]
    assert any("made_up" in entry["line"] for entry in loaded["report"]["en"]["attention"])


def test_a_lora_file_is_read_from_its_header(answers):
    start, size, _ = lora_header({"ss_network_dim": "4", "ss_learning_rate": "0.0005", "ss_epoch": "3"})
    loaded = load(answers, pieces=[piece(0, start)], size=size, name="friend.safetensors")
    assert loaded["values"]["learning_rate"] == form.rate_text(0.0005)
    assert loaded["name"] == "friend.safetensors"
    assert loaded["path"] == ""


def test_a_lora_file_without_metadata_gives_rank_and_alpha(answers):
    start, size, alpha = lora_header({})
    pieces = [piece(0, start), piece(alpha, struct.pack("<f", 2.0))]
    values = load(answers, pieces=pieces, size=size, name="old.safetensors")["values"]
    assert (values["network_dim"], values["network_alpha"]) == (4, 2)


@pytest.mark.parametrize(
    "request_",
    [
        {"pieces": [[0, "!"]], "size": 10},
        {"pieces": [[5, "AAAA"]], "size": 6},
        {"pieces": [[0, "AAAA"]], "size": imports.LARGEST_LORA + 1},
        {"pieces": 3, "size": 10},
        {"pieces": [], "size": -5},
        {"pieces": [], "size": float("inf")},
        {"pieces": [[float("inf"), "AAAA"]], "size": 10},
        {"bytes": "\xe9"},
        {"pieces": [[0, "AAAA"]], "size": "many"},
        {"text": ""},
        {"text": '{"epoch": NaN}', "name": "a.json"},
    ],
)
def test_what_is_no_file_of_settings_is_said(answers, request_, capfd):
    for language in ("en", "ja"):
        assert load(answers, language, **{"name": "x.safetensors", **request_})["error"]["what"]
    assert capfd.readouterr().err == "", "it is no mistake of ours"


def test_an_error_names_the_file_as_the_person_knows_it(answers):
    size = 40
    loaded = load(answers, pieces=[piece(0, b"\xff" * 8)], size=size, name="C:\\loras\\broken.safetensors")
    assert "broken.safetensors" in loaded["error"]["what"]
    assert "tmp" not in json.dumps(loaded)


DATASET = """[general]
shuffle_caption = true
[[datasets]]
resolution = 64
[[datasets.subsets]]
image_dir = '{}'
"""


def test_a_pasted_dataset_that_is_no_image_folder_is_kept_as_a_file(answers, tmp_path):
    (tmp_path / "cats").mkdir()
    text = DATASET.format(tmp_path / "cats")
    for number, request in enumerate(({"text": text}, {"text": text, "name": "mine ü.toml"}, {"text": text})):
        loaded = load(answers, **request)
        path = Path(loaded["values"]["dataset_config"])
        assert path.name == ("mine_ü.toml" if number == 1 else "dataset.toml")
        assert str(tmp_path / "cats") in path.read_text(encoding="utf-8")
        assert not loaded["report"]["en"]["attention"]
    other = load(answers, text=text.replace("64", "128"))
    assert Path(other["values"]["dataset_config"]).name == "dataset-2.toml"


def test_a_pasted_dataset_that_is_an_image_folder_needs_no_file(answers):
    loaded = load(answers, text=DATASET.format("/img/1_cat"))
    assert (loaded["values"]["dataset_config"], loaded["values"]["train_data_dir"]) == ("", "/img")
