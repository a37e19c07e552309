"""A dataset with what people's folders hold, good and odd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.answers import Answers
from app.dataset.room import Room, open_room, settings_for_pictures
from app.jobs.store import JobStore
from app.paths import Roots
from tests.app.conftest import ask


def draw(path: Path, size: tuple[int, int] = (96, 64), colour: str = "red") -> Path:
    """A picture with something on it, so that no two colours look alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, colour)
    picture.paste("white", (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    picture.save(path)
    return path


def lora_header(path: Path) -> None:
    """A LoRA file of SD1, as far as its header tells."""
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    header, end = {}, 0
    for name, shape in ((f"{key}.lora_down.weight", [4, 768]), (f"{key}.lora_up.weight", [320, 4])):
        size = 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))


class Desk:
    """A workspace, a dataset and the questions about both."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.data = folder / "data"
        self.roots = Roots((folder / "data", self.workspace))
        self.data.mkdir()
        self.answers = Answers(JobStore(self.workspace), self.roots)
        self.values: dict[str, Any] = {
            "train_data_dir": str(self.data), "caption_extension": ".txt", "max_resolution": "64,64",
            "min_bucket_reso": 64,
        }  # fmt: skip

    def room(self) -> Room:
        return open_room(settings_for_pictures(self.values, self.roots), self.roots)

    def ask(self, question: str, **request: Any) -> dict[str, Any]:
        return ask(self.answers, question, values=self.values, **request)

    def picture(
        self, name: str, caption: str | bytes | None = None, ending: str = ".txt", **how: Any
    ) -> Path:
        path = draw(self.data / name, **how)
        if caption is not None:
            data = caption.encode() if isinstance(caption, str) else caption
            path.with_name(path.stem + ending).write_bytes(data)
        return path

    def write(self, **captions: str) -> dict[str, Any]:
        """Write captions by the stems of pictures in 10_cat."""
        known = {Path(one.path).stem: one for one in self.room().pictures}
        changes = [
            {"path": str(known[stem].path), "before": known[stem].caption, "after": after}
            for stem, after in captions.items()
        ]
        return self.ask("room_write", changes=changes)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
