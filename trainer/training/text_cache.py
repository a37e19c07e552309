"""What the denoiser is told of each caption, made once where that is possible.

While no text encoder learns, a text is always read the same way. So every text that a run will need is read
before it: captions as the seed will shuffle and drop them (that follows from seed, epoch and batch), and the
sample prompts. Then the encoders are let go. What is kept has the encoders' number format, in which the
denoiser reads it anyway.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trainer.errors import StopRequested
from trainer.files.paths import nearest_existing
from trainer.files.whole_file import keep
from trainer.models.base import BaseModel, Conditioning
from trainer.models.parts import CPU
from trainer.models.tensor_file import raw_bytes

LIMIT = 1 << 30
"""Bytes of texts kept in memory. SDXL's take 0.3 MB each in half precision, those of SD 1.5 0.1 MB."""
SHARE_OF_DISK = 0.5
"""Of the room that is left, for texts kept on disk."""
TEXTS_FORMAT = "1"
"""Part of every file's name; raised when texts of older versions no longer fit."""


@dataclass(frozen=True)
class TextStore:
    """The folder of texts on disk, each in a file of its own; it knows what it was made from by its name."""

    folder: Path
    space: str
    """Names the encoders and how they read (BaseModel.text_space)."""

    def path(self, text: str) -> Path:
        """The file of a text."""
        # The space has the encoders' weights and how they read: another model's text has another name.
        key = f"{TEXTS_FORMAT}\0{self.space}\0{text}"
        return self.folder / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.safetensors"

    def load(self, text: str) -> Conditioning | None:
        """What was kept of a text; None where there is none, or what is there is damaged."""
        try:
            with safe_open(self.path(text), framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
                conditioning, noted = (
                    Conditioning(tensors["embeds"], tensors.get("pooled")),
                    file.metadata()["hash"],
                )
        # A damaged text is simply encoded again and written over.
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        return conditioning if _hash(tensors) == noted else None

    def save(self, text: str, conditioning: Conditioning) -> bool:
        """Keep a text, whole or not at all. Says whether it worked: a full disk ends no run."""
        tensors: dict[str, Tensor] = {"embeds": conditioning.embeds.contiguous()}
        if conditioning.pooled is not None:
            tensors["pooled"] = conditioning.pooled.contiguous()
        return keep(self.path(text), save(tensors, {"hash": _hash(tensors)}))

    def room(self) -> int:
        """Bytes that may be filled."""
        there = nearest_existing(self.folder)
        return int(shutil.disk_usage(there).free * SHARE_OF_DISK) if there else 0


def _hash(tensors: Mapping[str, Tensor]) -> str:
    """Of tensors of any shape: by it damage shows."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(raw_bytes(tensors[name]))
    return digest.hexdigest()


@dataclass(frozen=True)
class Prepared:
    """What was done before the training."""

    texts: int
    reused: int = 0
    """Of these from disk."""
    unkept: int = 0
    """How many could not be written to disk."""


@dataclass
class CaptionEncoder:
    """Captions -> Conditioning on the training device.

    While a text encoder learns, every call encodes anew. While none does, each text is encoded once and
    remembered (on the CPU, as long as there is room).
    """

    model: BaseModel
    device: torch.device
    pad: bool = True
    """False: "No token padding"."""
    learning: bool = True
    """Whether a text encoder is being trained."""
    store: TextStore | None = None
    """Where texts are kept from run to run."""
    remembered: dict[str, Conditioning] = field(default_factory=dict)
    limit: int = field(default_factory=lambda: LIMIT)
    """Bytes of `remembered`."""
    _bytes: int = 0

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """What is told of these captions; with gradients while a text encoder learns."""
        # Without padding the length, and with it the embeddings, depend on the other captions of the batch.
        if self.learning or not self.pad:
            with torch.set_grad_enabled(self.learning):
                return self.encode(captions)
        parts = [self._told(caption) for caption in captions]
        # float32 as the model gives it: cached or not, the denoiser is told the same.
        return Conditioning.joined(parts).to(self.device, torch.float32)

    def encode(self, captions: Sequence[str]) -> Conditioning:
        """Encode now, as the model stands."""
        return self.model.encode_text(captions)

    @torch.no_grad()
    def as_it_stands(self, captions: Sequence[str]) -> Conditioning:
        """What is told of these captions, as the model stands; no gradients."""
        return self.encode(captions) if self.learning else self(captions)

    def for_sample(self, text: str) -> Conditioning:
        """What is told of a sample prompt, as the model stands."""
        return self.as_it_stands([text])

    def _told(self, text: str) -> Conditioning:
        conditioning = self.remembered.get(text)
        if conditioning is None and self.store:
            conditioning = self.store.load(text)
        return self._made(text) if conditioning is None else conditioning

    @torch.no_grad()
    def _made(self, text: str) -> Conditioning:
        """Encoded now, and remembered where there is room."""
        # The format in which the encoder computed: nothing is lost, and half the memory is saved.
        dtype = next(self.model.text_encoders[0].parameters()).dtype
        made = self.encode([text]).to(CPU, dtype)
        self._remember(text, made)
        return made

    def _remember(self, text: str, conditioning: Conditioning) -> None:
        # Beyond that the disk has it, or it is read again: no run ends for its captions.
        if self._bytes + conditioning.bytes <= self.limit:
            self.remembered[text] = conditioning
            self._bytes += conditioning.bytes

    def prepare(
        self,
        texts: Iterable[str],
        size: int,
        *,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> Prepared | None:
        """Read all texts of a run and let the encoders go. None, and nothing done, where they are too many.

        `texts` may repeat and never end; `size` is the bytes that one takes. Raises StopRequested.
        """
        most = max(self.limit, self.store.room() if self.store else 0) // size
        # One more than fits tells that they are too many; shuffled captions may never repeat.
        wanted = list(islice(_distinct(texts), most + 1))
        if len(wanted) > most:
            return None
        reused = unkept = 0
        for done, text in enumerate(wanted):
            if stop_requested():
                raise StopRequested
            progress(done, len(wanted))
            # Read now and not when it is needed: a disk that fails shows before the training.
            if self.store and (found := self.store.load(text)):
                self._remember(text, found)
                reused += 1
            else:
                made = self._made(text)
                unkept += bool(self.store and not self.store.save(text, made))
        progress(len(wanted), len(wanted))
        # What was neither kept nor remembered must be encoded again: the encoders stay for that.
        if not unkept or len(self.remembered) == len(wanted):
            self.model.free("text_encoders")
        return Prepared(len(wanted), reused, unkept)


def _distinct(texts: Iterable[str]) -> Iterable[str]:
    """Each text once, in the order of its first use."""
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text
