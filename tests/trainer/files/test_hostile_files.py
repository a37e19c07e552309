"""Files from strangers: models, LoRA files, states, pictures and captions that lie. Refused in a sentence."""

from __future__ import annotations

import json
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.checkpoints import load_model
from tests.trainer.made import SD1, image_folder, model_file, sound_settings
from trainer.data.folders import scan_folder
from trainer.errors import UserError
from trainer.families import table
from trainer.files.safetensors_header import HeaderError, read_header
from trainer.kohya import read as read_settings
from trainer.lora.info import describe
from trainer.messages import LANGUAGES, say
from trainer.models.sd_files import load_vae
from trainer.models.tensor_file import open_tensor_file
from trainer.network.lora_file import load_lora
from trainer.preflight import check
from trainer.training.state import load_state

MOST_MEMORY = 200_000_000
"""Bytes that reading a small bad file may take for a moment."""


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def with_header(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """A .safetensors file with this header (bytes as they are, all else as JSON)."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape: Any = (4, 4), dtype: Any = "F32", offsets: Any = (0, 64)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


NAME = "lora_unet_x.lora_down.weight"
LIES: dict[str, Callable[[Path], Path]] = {
    "empty": lambda path: with_header(path, b"", length=0),
    "a length of 2**63": lambda path: with_header(path, {}, length=2**63),
    "a length beyond the file": lambda path: with_header(path, {NAME: entry()}, bytes(64), length=5000),
    "no JSON": lambda path: with_header(path, b"<html>" * 10),
    "a list": lambda path: with_header(path, [1, 2]),
    "a text": lambda path: with_header(path, "x" * 30),
    "depth": lambda path: with_header(path, b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "no entry": lambda path: with_header(path, {NAME: None}),
    "offsets swapped": lambda path: with_header(path, {NAME: entry(offsets=[64, 0])}, bytes(64)),
    "offsets below zero": lambda path: with_header(path, {NAME: entry(offsets=[-64, 0])}, bytes(64)),
    "offsets that are texts": lambda path: with_header(path, {NAME: entry(offsets=["0", "64"])}, bytes(64)),
    "three offsets": lambda path: with_header(path, {NAME: entry(offsets=[0, 1, 2])}, bytes(64)),
    "huge sizes": lambda path: with_header(path, {NAME: entry(shape=[10**9, 10**9])}, bytes(64)),
    "huge sizes of nothing": lambda path: with_header(
        path, {NAME: entry(shape=[10**12, 0], offsets=[0, 0])}, bytes(64)
    ),
    "sizes below zero": lambda path: with_header(path, {NAME: entry(shape=[-4, -4])}, bytes(64)),
    "sizes that are true": lambda path: with_header(path, {NAME: entry(shape=[True, 16])}, bytes(64)),
    "sizes with a comma": lambda path: with_header(path, {NAME: entry(shape=[4.0, 4.0])}, bytes(64)),
    "forty sizes": lambda path: with_header(path, {NAME: entry(shape=[1] * 40, offsets=[0, 4])}, bytes(64)),
    "all at one place": lambda path: with_header(
        path, {f"{NAME}{number}": entry() for number in range(1000)}, bytes(64)
    ),
    "kind that is no text": lambda path: with_header(path, {NAME: entry(dtype=["F32"])}, bytes(64)),
    "truncated": lambda path: with_header(path, {NAME: entry()}, bytes(63)),
    "not a number as a number": lambda path: with_header(path, b'{"a":{"dtype":"F32","shape":[NaN]}}'),
}


@contextmanager
def little_memory() -> Iterator[None]:
    """Fails where Python's own objects have taken more than a bad file may cost."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


def refused(call: Callable[[], object]) -> None:
    """The call ends in a sentence in both languages."""
    with pytest.raises(UserError) as caught:
        call()
    for language in LANGUAGES:
        assert say(caught.value.message, language).what


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_is_believed_by_no_one(tmp_path: Path, lie: str):
    path = LIES[lie](tmp_path / "x.safetensors")
    with little_memory():
        with pytest.raises(HeaderError):
            read_header(path)
        refused(lambda: open_tensor_file(path))
        refused(lambda: load_lora(path))
        refused(lambda: load_model(str(path)))
        refused(lambda: load_vae(str(path), table.SD1, torch.float32))
        refused(lambda: describe(path))
        refused(lambda: read_settings(path))


@pytest.mark.parametrize("lie", ["a length beyond the file", "depth", "huge sizes", "truncated"])
def test_the_checks_before_a_run_say_so_too(tmp_path: Path, lie: str):
    for key in ("pretrained_model_name_or_path", "vae"):
        path = LIES[lie](tmp_path / f"{key}.safetensors")
        problems = check.check(sound_settings(tmp_path / key, **{key: str(path)})).problems
        assert [problem for problem in problems if problem.setting == key and problem.blocks], key


def test_a_huge_header_is_not_parsed(tmp_path: Path):
    """80 MB of empty lists would become gigabytes of objects."""
    path = with_header(tmp_path / "x.safetensors", b'{"a":[' + b"[]," * 27_000_000 + b"[]]}")
    with little_memory():
        refused(lambda: open_tensor_file(path))
        refused(lambda: describe(path))


def test_a_real_file_with_much_metadata_is_read(tmp_path: Path):
    """The limits leave room for what trainers write: all captions of 50,000 pictures."""
    tags = json.dumps({f"caption number {number}": 1 for number in range(50_000)})
    tensors = {"lora_unet_x.lora_down.weight": torch.ones(4, 8), "lora_unet_x.alpha": torch.tensor(2.0)}
    save_file(tensors, tmp_path / "x.safetensors", {"ss_tag_frequency": tags})
    assert load_lora(tmp_path / "x.safetensors")[1]["ss_tag_frequency"] == tags
    assert describe(tmp_path / "x.safetensors").modules[0].alpha == 2.0


def test_a_base_model_of_which_most_is_missing(tmp_path: Path):
    refused(lambda: load_model(str(model_file(tmp_path / "m.safetensors"))))


@pytest.mark.parametrize("sizes", [(0,), (), (1,), (3, 5), (2, 2, 2, 2, 2), (7, 4, 3, 3)], ids=str)
def test_a_base_model_of_impossible_sizes(tmp_path: Path, sizes: tuple[int, ...]):
    for name in SD1:
        path = model_file(tmp_path / "m.safetensors", {**SD1, name: sizes})
        refused(lambda path=path: load_model(str(path)))


@pytest.mark.parametrize(
    ("part", "config"),
    [
        ("unet", {"layers_per_block": 10**9}),
        ("unet", {"block_out_channels": [10**12] * 4}),
        ("unet", {"transformer_layers_per_block": [[10**8]]}),
        ("text_encoder", {"num_hidden_layers": 10**9}),
        ("text_encoder", {"vocab_size": 10**12}),
        ("vae", {"block_out_channels": [1] * 100_000}),
    ],
)
def test_a_folder_that_asks_for_giant_layers(tmp_path: Path, part: str, config: dict[str, Any]):
    for name in ("unet", "text_encoder", "vae"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"in_channels": 4}))
    (tmp_path / part / "config.json").write_text(json.dumps(config))
    (tmp_path / "model_index.json").write_text("{}")
    refused(lambda: load_model(str(tmp_path)))


@pytest.mark.parametrize("ending", [".ckpt", ".pt", ".bin"])
@pytest.mark.parametrize("packed", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, ending: str, packed: bool):
    path, made = tmp_path / f"x{ending}", tmp_path / "made by the file"
    content = {"state_dict": {"lora_unet_x.lora_down.weight": Evil(made)}}
    if packed:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    for call in (open_tensor_file, load_lora, lambda path: load_model(str(path))):
        refused(lambda call=call: call(path))
    refused(lambda: load_vae(str(path), table.SD1, torch.float32))
    refused(lambda: read_settings(path))
    check.check(sound_settings(tmp_path / "run", pretrained_model_name_or_path=str(path)))
    assert not made.exists()


def test_code_in_a_training_state_is_not_run(tmp_path: Path):
    made = tmp_path / "made by the file"
    state = tmp_path / "state"
    state.mkdir()
    (state / "state.json").write_text(json.dumps({"format": 1, "position": {"step": 1}}))
    save_file({"x": torch.zeros(1)}, state / "network.safetensors")
    torch.save({"optimizer": Evil(made)}, state / "optimizer.pt")
    torch.save({}, state / "random.pt")
    refused(lambda: load_state(state))
    (state / "state.json").write_text("[" * 100_000)
    refused(lambda: load_state(state))
    assert not made.exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path):
    """300 MB of nothing in 300 kB, named as a checkpoint."""
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(300_000_000))
        archive.writestr("archive/version", "3")
    with little_memory():
        refused(lambda: open_tensor_file(path))
        problems = check.check(sound_settings(tmp_path, pretrained_model_name_or_path=str(path))).problems
    assert [problem for problem in problems if problem.setting == "pretrained_model_name_or_path"]


def test_one_number_that_claims_to_be_a_billion(tmp_path: Path):
    """A tensor may repeat what is stored; brought into another format it would fill all memory."""
    path = tmp_path / "x.ckpt"
    torch.save({"lora_unet_x.lora_down.weight": torch.zeros(1).expand(100_000, 100_000)}, path)
    refused(lambda: load_lora(path))


@pytest.mark.parametrize("content", [[], 7, "x", {"state_dict": 5}, {1: 2}, None], ids=str)
def test_a_checkpoint_without_tensors(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "x.ckpt")
    refused(lambda: load_lora(tmp_path / "x.ckpt"))
    refused(lambda: load_model(str(tmp_path / "x.ckpt")))


def test_a_picture_that_would_fill_all_memory_is_left_out(tmp_path: Path):
    folder = image_folder(tmp_path / "img", 1)
    bomb = folder / "10_sks cat" / "bomb.png"
    Image.new("1", (8, 8)).save(bomb)
    data = bytearray(bomb.read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    bomb.write_bytes(data)
    found = scan_folder(folder, ".txt")
    assert [(broken.path.name, broken.reason) for broken in found.broken] == [("bomb.png", "too_large")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_among_the_pictures_are_not_waited_for(tmp_path: Path):
    folder = image_folder(tmp_path / "img", 2)
    (folder / "10_sks cat" / "1.txt").unlink()
    os.mkfifo(folder / "10_sks cat" / "1.txt")
    os.mkfifo(folder / "10_sks cat" / "pipe.png")
    found = scan_folder(folder, ".txt")
    assert len(found.images) == 2
    assert [broken.path.name for broken in found.broken] == ["pipe.png"]


def test_a_giant_caption_is_read_at_its_beginning(tmp_path: Path):
    folder = image_folder(tmp_path / "img", 1)
    with (folder / "10_sks cat" / "0.txt").open("wb") as file:
        file.write(b"a cat\n")
        file.truncate(3_000_000_000)
    with little_memory():
        assert scan_folder(folder, ".txt").images[0].caption == "a cat"


ODD = "'\"`$(touch x);&|<b>%s{}[]~#!^=+,@ \u202e\u3042\U0001f408\x7f\x1b"


def test_names_with_every_legal_character_are_only_names(tmp_path: Path):
    folder = tmp_path / ODD / f"10_{ODD}"
    image_folder(tmp_path / ODD, 1, name=folder.name)
    (folder / "0.png").rename(folder / f"{ODD}.png")
    (folder / "0.txt").rename(folder / f"{ODD}.txt")
    [image] = scan_folder(tmp_path / ODD, ".txt").images
    assert (image.path.name, image.class_tokens, image.caption_found) == (f"{ODD}.png", ODD, True)
    checked = check.check(sound_settings(tmp_path / "run", train_data_dir=str(tmp_path / ODD)))
    assert checked.plan
    for language in LANGUAGES:
        assert all(problem.as_json(language)["what"] for problem in checked.problems)
