"""One recorded run of the reference trainer: its arguments, numbers and tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, load


@dataclass(frozen=True)
class Recording:
    """A trace folder; `root` stands for $PARITY in its paths."""

    folder: Path
    root: Path

    @cached_property
    def trace(self) -> Mapping[str, Any]:
        """trace.json."""
        return json.loads((self.folder / "trace.json").read_text(encoding="utf-8"))

    @cached_property
    def args(self) -> dict[str, Any]:
        """sd-scripts' resolved arguments with real paths."""
        args = _with_root(self.trace["args"], str(self.root))
        model = Path(args["pretrained_model_name_or_path"])
        folder = model.with_name(f"{model.stem}_diffusers")
        if not model.exists() and folder.is_dir():
            args["pretrained_model_name_or_path"] = str(folder)
        return args

    @property
    def sdxl(self) -> bool:
        """Whether sd-scripts' program for SDXL was run."""
        return self.trace.get("script", "").startswith("sdxl")

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """trace.safetensors."""
        return load_file(self.folder / "trace.safetensors")

    @cached_property
    def initial(self) -> dict[str, Tensor]:
        """LoRA weights at the start."""
        return load_file(self.root / self.trace["init_lora"])

    @cached_property
    def final(self) -> dict[str, Tensor]:
        """LoRA weights as the reference saved them."""
        path = next(self.folder.glob("final_lora.*"))
        return load_file(path) if path.suffix == ".safetensors" else load(path, weights_only=True)

    @property
    def final_metadata(self) -> Mapping[str, str]:
        """Metadata of the final file."""
        with safe_open(next(self.folder.glob("final_lora.safetensors")), "pt") as file:
            return file.metadata() or {}

    def step(self, index: int, name: str) -> Tensor:
        """A tensor of one micro-batch."""
        return self.tensors[f"step{index:03d}.{name}"]

    def has(self, index: int, name: str) -> bool:
        """Whether a tensor of one micro-batch was recorded."""
        return f"step{index:03d}.{name}" in self.tensors

    @property
    def pictures(self) -> Mapping[str, str]:
        """Caption of each picture as it stands in its file, by the picture's path below `root`."""
        return {image["key"]: image["caption"] for image in self.trace["dataset"]["images"]}

    def chance(self, where: str) -> list[float] | None:
        """The next two numbers that Python's `random` would have given at a point of the run."""
        log = self.trace.get("rng_log", ())
        found = (one["py_next_random2"] for one in log if one["where"].startswith(where))
        return next(found, None)


def _with_root(value: Any, root: str) -> Any:
    if isinstance(value, str):
        return value.replace("$PARITY", root)
    if isinstance(value, dict):
        return {key: _with_root(inner, root) for key, inner in value.items()}
    return [_with_root(inner, root) for inner in value] if isinstance(value, list) else value
