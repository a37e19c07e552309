"""One recorded run of the reference trainer: its arguments, numbers and tensors."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
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

    def python_states(self) -> Iterator[tuple[Any, ...]]:
        """State of Python's `random` at the start of each micro-batch.

        It is seeded whenever the pictures are shuffled and drawn from by the shuffling and by the
        pyramid noise, whose draws must come between two of these states.
        """
        for kind, what, *_ in self.trace["events"]:
            if kind == "shuffle_buckets":
                random.seed(what["random.seed"])
                random.shuffle(list(what["buckets_indices"]))
                for bucket in what["buckets"]:
                    random.shuffle(list(bucket))
            elif kind == "process_batch":
                yield random.getstate()


def _with_root(value: Any, root: str) -> Any:
    if isinstance(value, str):
        return value.replace("$PARITY", root)
    if isinstance(value, dict):
        return {key: _with_root(inner, root) for key, inner in value.items()}
    return [_with_root(inner, root) for inner in value] if isinstance(value, list) else value
