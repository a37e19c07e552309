"""What the processes of one run tell each other: gradients, losses, whether to stop.

With one process all of it is nothing. Every process holds the whole model and the same LoRA; of each
step's batches it takes its share, and the gradients of all are added up, so that the result is that of
one process with as many times the "Gradient accumulation steps".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainer.distributed.processes import Rank
from trainer.errors import UserError

Agreed = TypeVar("Agreed", int, str, float, None)
PATIENCE = timedelta(days=1)
"""The main process draws samples and saves while the others wait; that one has died is told otherwise."""


@contextmanager
def _others_alive() -> Iterator[None]:
    """A process that has died closes its connections, which is an error in all others."""
    try:
        yield
    except RuntimeError as error:
        raise UserError("training.process_lost") from error


@dataclass(frozen=True)
class Exchange:
    """The processes of a run, seen from one of them."""

    rank: Rank = field(default_factory=Rank)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def joined(cls, rank: Rank, device: torch.device) -> Exchange:
        """Meet the other processes; returns when all are there."""
        if rank.count == 1:
            return cls(rank)
        nccl = device.type == "cuda" and dist.is_nccl_available()
        if device.type == "cuda":
            if rank.local >= torch.cuda.device_count():
                raise UserError(
                    "training.too_few_gpus",
                    "num_processes",
                    count=torch.cuda.device_count(),
                    wanted=rank.count,
                )
            torch.cuda.set_device(rank.local)
        if not dist.is_initialized():
            with _others_alive():
                dist.init_process_group("nccl" if nccl else "gloo", timeout=PATIENCE)
        return cls(rank, torch.device("cuda", rank.local) if nccl else torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank.number == 0

    @property
    def share(self) -> slice:
        """Which of a step's batches this process learns from."""
        return slice(self.rank.number, None, self.rank.count)

    def total(self, value: float) -> float:
        """The sum of all processes' values."""
        if self.rank.count == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64, device=self.device)
        with _others_alive():
            dist.all_reduce(box)
        return float(box)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return self.total(float(flag)) > 0

    def agree(self, choose: Callable[[], Agreed]) -> Agreed:
        """The main process chooses; all get its answer."""
        if self.rank.count == 1:
            return choose()
        data = json.dumps(choose() if self.is_main else None).encode()
        size = torch.tensor([len(data)], device=self.device)
        with _others_alive():
            dist.broadcast(size, 0)
            box = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
            if self.is_main:
                box = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device)
            dist.broadcast(box, 0)
        return json.loads(bytes(box.cpu().tolist()))

    def same_start(self, weights: Iterable[nn.Parameter]) -> None:
        """Give all processes the main one's weights."""
        if self.rank.count == 1:
            return
        with _others_alive(), torch.no_grad():
            for weight in weights:
                box = weight.detach().to(self.device, copy=True)
                dist.broadcast(box, 0)
                weight.copy_(box.to(weight.device))

    def add_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by the sum of all processes'; where none has one it stays away."""
        learning = [weight for weight in weights if weight.requires_grad]
        if self.rank.count == 1 or not learning:
            return
        present = torch.tensor([float(weight.grad is not None) for weight in learning])
        parts = [_flat_gradient(weight) for weight in learning]
        box = torch.cat([present.to(parts[0].device), *parts]).to(self.device)
        with _others_alive():
            dist.all_reduce(box)
        sums = box[len(learning) :].split([weight.numel() for weight in learning])
        for weight, found, summed in zip(learning, box[: len(learning)].tolist(), sums, strict=True):
            weight.grad = summed.view_as(weight).to(weight) if found else None

    def leave(self) -> None:
        """Part from the others at the end."""
        if dist.is_initialized():
            dist.destroy_process_group()


def _flat_gradient(weight: nn.Parameter) -> Tensor:
    """Float32, zeros where there is none."""
    if weight.grad is None:
        return torch.zeros(weight.numel(), device=weight.device)
    return weight.grad.detach().float().flatten()
