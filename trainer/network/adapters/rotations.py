"""ΔW from a rotation of the weight's rows: Diag-OFT and BOFT. W' = R·W keeps the angles between neurons."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.network.adapters.change import WeightChange


class _Rotation(WeightChange):
    """Blocks Q become rotations (I + S)(I − S)⁻¹ with S = Q − Qᵀ (Cayley)."""

    def draw(self) -> None:
        nn.init.zeros_(self.entries["oft_blocks"])
        if "rescale" in self.entries:
            nn.init.ones_(self.entries["rescale"])

    def rotations(self, blocks: Tensor) -> Tensor:
        """(…, b, b) rotations; "Constrain OFT" limits how far they turn."""
        skew = blocks - blocks.transpose(-1, -2)
        limit = self.options.constraint * self.shape[0]
        if limit > 0:
            norm = skew.norm() + 1e-8
            skew = torch.where(norm > limit, skew * (limit / norm), skew)
        unit = torch.eye(blocks.shape[-1], device=blocks.device)
        return (unit + skew) @ torch.linalg.inv(unit - skew)

    def delta(self, entries: Mapping[str, Tensor]) -> Tensor:
        weight = self.weight()
        turned = self.turned(self.rotations(entries["oft_blocks"]), weight).reshape(weight.shape)
        if "rescale" in entries:
            turned = turned * entries["rescale"]
        return turned - weight

    def turned(self, rotations: Tensor, weight: Tensor) -> Tensor:
        """R·W."""
        raise NotImplementedError

    @torch.no_grad()
    def change_norm(self) -> float | None:
        """Norm of the blocks: LyCORIS limits that of a rotation."""
        return float(self.entries["oft_blocks"].double().norm())

    @torch.no_grad()
    def shrink(self, ratio: float) -> None:
        self.entries["oft_blocks"].mul_(ratio)

    def to_file(self, copies: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**super().to_file(copies), "alpha": torch.tensor(float(self.options.constraint))}


class DiagOFT(_Rotation):
    """One rotation for each block of outputs (arXiv 2306.07280)."""

    def turned(self, rotations: Tensor, weight: Tensor) -> Tensor:
        count, size, _ = rotations.shape
        return torch.einsum("knm,kni->kmi", rotations, weight.reshape(count, size, -1))


class BOFT(_Rotation):
    """Rotations of growing reach one after the other, like a butterfly (arXiv 2311.06243)."""

    def turned(self, rotations: Tensor, weight: Tensor) -> Tensor:
        rows = weight.flatten(1)  # (out, in·k·k)
        half = rotations.shape[-1] // 2
        for level, blocks in enumerate(rotations):
            reach = 2**level * half
            rows = _swapped(rows, 2, reach)
            size = blocks.shape[-1]
            rows = torch.einsum("bij,bjn->bin", blocks, rows.reshape(-1, size, rows.shape[-1])).flatten(0, 1)
            rows = _swapped(rows, reach, 2)
        return rows


def _swapped(rows: Tensor, first: int, second: int) -> Tensor:
    """Rows counted as (c, first, second) in the order (c, second, first)."""
    return rows.reshape(-1, first, second, rows.shape[-1]).transpose(1, 2).reshape(rows.shape)
