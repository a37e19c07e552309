"""What lies under a model's name and is no model is named for what it is, wherever a model may be given."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.found import find
from tests.trainer.made import SD1, model_file, sound_settings
from trainer.errors import UserError
from trainer.files.stand_ins import stand_in
from trainer.kohya import read
from trainer.lora.info import describe
from trainer.models.tensor_file import open_tensor_file
from trainer.preflight.check import check

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def packed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("model.safetensors", b"x")
    return buffer.getvalue()


CONTENTS = {
    "pointer": POINTER,
    "page": b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>",
    "page_in_small_letters": b"\xef\xbb\xbf<html lang='ja'>",
    "page_of_xml": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "answer": b'{"error":"Invalid username or password."}',
    "answer_in_words": b"Entry not found",
    "archive": packed(),
    "gguf": b"GGUF\x03\x00\x00\x00" + bytes(200),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "zeros": bytes(1000),
    "empty": b"",
}


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("key", ["pretrained_model_name_or_path", "vae", "network_weights"])
def test_it_is_named_in_the_check(key: str, kind: str, tmp_path: Path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(CONTENTS[kind])
    problem = find(check(sound_settings(tmp_path, **{key: str(path)})), f"files.is_{kind.partition('_')[0]}")
    assert (problem.setting, problem.blocks) == (key, True)
    assert "mine.safetensors" in str(problem.said())


@pytest.mark.parametrize("reader", [describe, read, open_tensor_file])
@pytest.mark.parametrize("kind", CONTENTS)
def test_every_reader_names_it(reader: Any, kind: str, tmp_path: Path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(CONTENTS[kind])
    with pytest.raises(UserError) as error:
        reader(path)
    assert error.value.message.code == f"files.is_{kind.partition('_')[0]}"


@pytest.mark.parametrize("ending", [".ckpt", ".pt", ".bin"])
def test_a_pickle_that_is_a_pointer_is_named_and_one_that_is_packed_is_not(ending: str, tmp_path: Path):
    path = tmp_path / f"mine{ending}"
    path.write_bytes(POINTER)
    settings = sound_settings(tmp_path, pretrained_model_name_or_path=str(path))
    assert find(check(settings), "files.is_pointer").blocks
    path.write_bytes(packed())
    assert not stand_in(path)


@pytest.mark.parametrize("ending", [".ckpt", ".pt"])
@pytest.mark.parametrize("key", ["pretrained_model_name_or_path", "network_weights"])
def test_a_safetensors_file_with_another_ending_is_named(ending: str, key: str, tmp_path: Path):
    path = model_file(tmp_path / f"mine{ending}", SD1)
    problem = find(check(sound_settings(tmp_path, **{key: str(path)})), "files.is_renamed")
    assert (problem.setting, problem.blocks) == (key, True)


def test_a_folder_that_was_cloned_without_lfs_is_named(tmp_path: Path):
    folder = tmp_path / "model"
    for part in ("unet", "vae", "text_encoder"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
        (folder / part / "diffusion_pytorch_model.safetensors").write_bytes(POINTER)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for key in ("pretrained_model_name_or_path", "vae"):
        assert find(check(sound_settings(tmp_path, **{key: str(folder)})), "files.is_pointer").setting == key


def test_what_is_whole_or_only_damaged_is_not_given_a_name(tmp_path: Path):
    assert not stand_in(model_file(tmp_path / "whole.safetensors", SD1))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x07" * 300)
    assert not stand_in(damaged)
    assert not stand_in(tmp_path / "none.safetensors")
