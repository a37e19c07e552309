"""One module's share of a LoRA: what every algorithm offers to the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.lora.target import LoraTarget
from trainer.lora.types import ALGORITHMS


class Dropouts(NamedTuple):
    """Shares (0-1) of what is left out while training: activations, ranks or rows, whole modules."""

    network: float = 0.0
    rank: float = 0.0
    module: float = 0.0
    rank_scale: bool = False
    """ "Rank Dropout Scale" (LyCORIS): what stays is strengthened to keep its mean."""


@dataclass
class Mode:
    """What the network is doing, shared with its adapters."""

    training: bool = True
    batch: int = 0
    """Counts the batches: what DyLoRA draws holds for one of them."""


class Adapter(ABC):
    """The weights that a LoRA has for one module, and how they stand in a file."""

    target: LoraTarget
    entries: dict[str, nn.Parameter]
    """All weights by name; most names are a file's own."""
    frozen: tuple[str, ...] = ()
    """Names of those that keep their first value."""

    @property
    def learned(self) -> dict[str, nn.Parameter]:
        """The weights that an optimizer changes."""
        return {name: weight for name, weight in self.entries.items() if name not in self.frozen}

    @abstractmethod
    def initialise(self, dtype: torch.dtype) -> None:
        """Draw the first values: the model starts unchanged."""

    @abstractmethod
    def enable(self, on: bool) -> None:
        """Switch the change on or off; whether its weights learn stays as it was."""

    @abstractmethod
    def set_strength(self, strength: float) -> None:
        """Let the change count `strength` times (1: as trained)."""

    @abstractmethod
    def change_norm(self) -> float | None:
        """Frobenius norm of the change of the module's weight; None where a limit makes no sense."""

    @abstractmethod
    def shrink(self, ratio: float) -> None:
        """Multiply the change of the module's weight by `ratio`."""

    def tensors(self) -> dict[str, Tensor]:
        """Entries of a LoRA file (`lora.shapes`) by full name: float32 copies on the CPU, and alpha ()."""
        name = self.target.name
        # Copies: `to_file` changes them in place.
        copies = {entry: weight.detach().float().cpu().clone() for entry, weight in self.entries.items()}
        entries = self.to_file(copies)
        if ALGORITHMS[self.target.algorithm].has_alpha:
            entries["alpha"] = torch.tensor(float(self.target.alpha))
        return {f"{name}.{entry}": tensor for entry, tensor in entries.items()}

    def to_file(self, copies: dict[str, Tensor]) -> dict[str, Tensor]:
        """Our weights as the entries that other programs read (`lora.shapes`)."""
        return copies

    def from_file(self, entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Undo `to_file`, in our own shapes; entries that are no weights of ours fall away."""
        return {entry: tensor for entry, tensor in entries.items() if entry in self.entries}

    def fits(self, entries: Mapping[str, Tensor]) -> bool:
        """Whether a file's entries for this module have the right names and shapes (but for ones)."""
        # More names than ours are no harm; one of ours that is missing would stay random.
        given = self.from_file(entries)
        wanted = {name: weight for name, weight in self.entries.items() if name != "scalar"}
        return given.keys() >= wanted.keys() and all(
            _squeezed(given[name]) == _squeezed(weight) for name, weight in wanted.items()
        )

    @torch.no_grad()
    def load(self, entries: Mapping[str, Tensor]) -> None:
        """Take over a file's entries (shapes: `fits`). With another alpha than ours they are scaled."""
        for name, tensor in self.from_file(entries).items():
            self.entries[name].copy_(tensor.reshape(self.entries[name].shape))
        if "scalar" in self.entries:
            # In the file it is multiplied into the weights: counted once.
            self.entries["scalar"].fill_(1.0)
        if "alpha" in entries and ALGORITHMS[self.target.algorithm].has_alpha:
            # Our alpha stays that of the settings; the weights give way.
            ratio = float(entries["alpha"]) / self.target.alpha
            if ratio != 1:
                self.shrink(ratio)

    def state(self) -> dict[str, Tensor]:
        """All weights exactly as they are, in our shapes, to continue from."""
        return {f"{self.target.name}.{name}": weight.detach() for name, weight in self.entries.items()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Undo `state`, of its shapes. Raises KeyError or RuntimeError where it does not fit."""
        for name, weight in self.entries.items():
            weight.copy_(state[f"{self.target.name}.{name}"].reshape(weight.shape))


def _squeezed(tensor: Tensor) -> list[int]:
    """Shape without the ones: a (out, in, 1, 1) counts as the (out, in) that it is."""
    return [size for size in tensor.shape if size != 1]
