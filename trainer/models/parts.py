"""A base model's parts: read when they are first used, and let go when nothing needs them any more.

So text encoders, VAE and denoiser need not be in memory together: a run whose texts and latents are cached
holds the denoiser alone.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from trainer.models.allocator import returning_freed_memory
from trainer.models.lean.build import make_lean
from trainer.models.tensor_file import raw_bytes

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Readers:
    """How each part is read from its file or folder, onto the CPU. All raise UserError."""

    text_encoders: Callable[[], list[Any]]
    vae: Callable[[], Any]
    denoiser: Callable[[], Any]


@dataclass
class ModelParts:
    """The parts of a model, frozen and in evaluation mode."""

    readers: Readers
    device: torch.device = field(default=CPU, kw_only=True)
    """Where parts go when they are read."""

    _held: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def text_encoders(self) -> list[Any]:
        """The text encoders, in the order of the family's table."""
        return self._part("text_encoders", self.readers.text_encoders)

    @property
    def vae(self) -> Any:
        """Between pictures and latents."""
        return self._part("vae", self.readers.vae)

    @property
    def denoiser(self) -> Any:
        """The part that learns what noise to remove."""
        return self._part("denoiser", self.readers.denoiser)

    def _part(self, name: str, read: Callable[[], Any]) -> Any:
        if name not in self._held:
            # Loading frees as much as it keeps: those gaps must not stay ours.
            with returning_freed_memory():
                part = read()
                for module in part if isinstance(part, list) else [part]:
                    # Frozen before a LoRA hangs on it, whose weights are to learn.
                    module.requires_grad_(requires_grad=False).eval().to(self.device)
                    if name == "denoiser":
                        # Steps are made of its layers; the others are asked once per picture or text.
                        make_lean(module)
                    if name == "vae" and self.device.type == "cpu" and module.dtype != torch.float32:
                        # Few channels on large maps: a picture takes half the time. Not in float32, where
                        # torch's norms in this order of memory lose four digits.
                        module.to(memory_format=torch.channels_last)
            self._held[name] = part
        return self._held[name]

    def holds(self, part: str) -> bool:
        """Whether a part is in memory."""
        return part in self._held

    def free(self, *parts: str) -> None:
        """Let go of "text_encoders", "vae" or "denoiser"; used again, it is read again."""
        for part in parts:
            self._held.pop(part, None)
        gc.collect()  # modules refer to each other in circles
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def weights_hash(*modules: Any) -> str:
    """Hash of weights as they lie in memory, number format included."""
    digest = hashlib.blake2b(digest_size=16)
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            # Formats and shapes as well: the same bytes may be other numbers.
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def weights_fingerprint(module: Any) -> str:
    """Hash of a part's weights and number format: what one VAE encodes is worth nothing to another."""
    digest = hashlib.blake2b(str(module.dtype).encode(), digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        # As float32: the number format is in the hash already.
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
