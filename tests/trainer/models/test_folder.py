"""What is fetched of a model on the hub: each part once, in whatever form it lies there."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import UserError
from trainer.models.folder import model_folder

USUAL = ("unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors",
         "vae/diffusion_pytorch_model.safetensors")  # fmt: skip
CONFIGS = ("model_index.json", "unet/config.json", "text_encoder/config.json", "text_encoder_2/config.json",
           "vae/config.json", "vae_decoder/config.json")  # fmt: skip


class Hub:
    """A repository with these files, and the copies that are fetched from it."""

    def __init__(self, copies: Path, files: tuple[str, ...]) -> None:
        self.copies, self.files, self.calls, self.online = copies, files, 0, True

    def snapshot_download(
        self, _: str, *, local_files_only: bool = False, allow_patterns: Any = (), ignore_patterns: Any = ()
    ) -> str:
        if local_files_only:
            if not self.copies.exists():
                raise FileNotFoundError
            return str(self.copies)
        if not self.online:
            raise ConnectionError
        self.calls += 1
        for name in self.files:
            wanted = any(fnmatch(name, pattern) for pattern in allow_patterns)
            if wanted and not any(fnmatch(name, pattern) for pattern in ignore_patterns):
                (self.copies / name).parent.mkdir(parents=True, exist_ok=True)
                (self.copies / name).write_text("{}")
        return str(self.copies)

    @property
    def here(self) -> set[str]:
        return {str(path.relative_to(self.copies)) for path in self.copies.rglob("*") if path.is_file()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(*files: str) -> Hub:
        hub = Hub(tmp_path / "copies", (*CONFIGS, *USUAL, *files))
        monkeypatch.setattr("huggingface_hub.snapshot_download", hub.snapshot_download)
        return hub

    return made


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        (("text_encoder_2/model.safetensors", "text_encoder_2/model.fp16.safetensors", "XL-v0.1.safetensors",
          "unet/diffusion_pytorch_model.bin", "text_encoder_2/model.onnx"),
         {"text_encoder_2/model.safetensors"}),
        (("text_encoder_2/pytorch_model.bin",), {"text_encoder_2/pytorch_model.bin"}),
        (("text_encoder_2/model.fp16.safetensors",), {"text_encoder_2/model.fp16.safetensors"}),
    ],
    ids=["usual", "only .bin", "only fp16"],
)  # fmt: skip
def test_each_part_is_fetched_once(hub: Any, files: tuple[str, ...], fetched: set[str]) -> None:
    there = hub(*files)
    assert model_folder("owner/model") == there.copies
    assert there.here == {*CONFIGS, *USUAL, *fetched}
    calls = there.calls
    assert model_folder("owner/model") == there.copies
    assert there.calls == calls  # the copy is whole


def test_a_copy_that_broke_off_is_completed_and_told_where_that_cannot_be(hub: Any) -> None:
    there = hub("text_encoder_2/model.safetensors")
    model_folder("owner/model")
    (there.copies / "text_encoder_2/model.safetensors").unlink()
    there.online = False
    with pytest.raises(UserError) as told:
        model_folder("owner/model")
    assert told.value.message.code.startswith("core.hub_")
    there.online = True
    model_folder("owner/model")
    assert "text_encoder_2/model.safetensors" in there.here
