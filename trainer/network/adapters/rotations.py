"""ΔW from a rotation of the weight's rows: Diag-OFT and BOFT. W' = R·W keeps the angles between neurons."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.models.lean.recompute import recomputed
from trainer.network.adapters.change import WeightChange
from trainer.network.adapters.factored import scaled


class _Rotation(WeightChange):
    """Blocks Q become rotations (I + S)(I − S)⁻¹ with S = Q − Qᵀ (Cayley)."""

    def draw(self) -> None:
        # Cayley of 0 is no rotation: the model starts unchanged.
        nn.init.zeros_(self.entries["oft_blocks"])
        if "rescale" in self.entries:
            nn.init.ones_(self.entries["rescale"])

    def rotations(self, blocks: Tensor) -> Tensor:
        """(…, b, b) rotations of blocks of that shape; "Constrain OFT" limits how far they turn."""
        skew = blocks - blocks.transpose(-1, -2)
        # LyCORIS multiplies the limit by the number of outputs.
        limit = self.options.constraint * self.shape[0]
        if limit > 0:
            # Never 0: the blocks are at the start, and limit / 0 would reach their gradients.
            norm = skew.norm() + 1e-8
            skew = torch.where(norm > limit, skew * (limit / norm), skew)
        unit = torch.eye(blocks.shape[-1], device=blocks.device)
        return (unit + skew) @ torch.linalg.inv(unit - skew)

    def effect(self, _x: Tensor, output: Tensor, /) -> Tensor:
        """(R − 1)·W·x, as output (B, …, out) or (B, out, h, w), which is turned instead of the weight."""
        rows = self._rows(output.device)
        axis = 1 if output.dim() == 4 else -1

        def compute(output: Tensor, *weights: Tensor) -> Tensor:
            """(out, …) turned, minus itself; the outputs' axis is where the caller's is."""
            entries = {name: weight.float() for name, weight in zip(self.entries, weights, strict=True)}
            change = self._turned_less_one(output.float().movedim(axis, 0), entries)
            change = change if rows is None else scaled(change, rows)
            return change.movedim(0, axis).to(output.dtype)

        with torch.autocast(output.device.type, enabled=False):
            # Turned outputs are as large as the outputs: computed again rather than kept.
            return recomputed(compute, output, *self.entries.values())

    def _turned_less_one(self, output: Tensor, entries: Mapping[str, Tensor]) -> Tensor:
        """R·y − y for the module's outputs y (out, B, …), without its bias."""
        plain = output.flatten(1)
        # A rotation turns W·x; the bias stays where it is.
        plain = plain if self.layer.bias is None else plain - self.layer.bias.float()[:, None]
        turned = self.turned(self.rotations(entries["oft_blocks"]), plain)
        turned = scaled(turned, entries["rescale"].flatten()) if "rescale" in entries else turned
        return (turned - plain).reshape(output.shape)

    def turned(self, rotations: Tensor, weight: Tensor) -> Tensor:
        """R·W for (out, n), a weight or the outputs at n places, by rotations (…, b, b)."""
        raise NotImplementedError

    @torch.no_grad()
    def change_norm(self) -> float | None:
        """Norm of the blocks: LyCORIS limits that of a rotation."""
        return float(self.entries["oft_blocks"].double().norm())

    @torch.no_grad()
    def shrink(self, ratio: float) -> None:
        self.entries["oft_blocks"].mul_(ratio)

    def to_file(self, copies: dict[str, Tensor]) -> dict[str, Tensor]:
        """Blocks (…, b, b), and the limit () under the name of alpha, as LyCORIS has it."""
        return {**super().to_file(copies), "alpha": torch.tensor(float(self.options.constraint))}


class DiagOFT(_Rotation):
    """One rotation for each block of outputs (arXiv 2306.07280)."""

    def turned(self, rotations: Tensor, weight: Tensor) -> Tensor:
        """(out, n) by k rotations (k, b, b), k·b = out."""
        count, size, _ = rotations.shape
        return torch.einsum("knm,kni->kmi", rotations, weight.reshape(count, size, -1)).flatten(0, 1)


class BOFT(_Rotation):
    """Rotations of growing reach one after the other, like a butterfly (arXiv 2311.06243)."""

    def turned(self, rotations: Tensor, weight: Tensor) -> Tensor:
        """(out, n) by rotations (levels, out/b, b, b)."""
        rows = weight.flatten(1)  # (out, in·k·k)
        half = rotations.shape[-1] // 2
        for level, blocks in enumerate(rotations):
            reach = 2**level * half
            # Neighbours at this level stand `reach` apart: brought together, turned in blocks, put back.
            rows = _swapped(rows, 2, reach)
            size = blocks.shape[-1]
            rows = torch.einsum("bij,bjn->bin", blocks, rows.reshape(-1, size, rows.shape[-1])).flatten(0, 1)
            rows = _swapped(rows, reach, 2)
        return rows


def _swapped(rows: Tensor, first: int, second: int) -> Tensor:
    """Rows (out, n) counted as (c, first, second) in the order (c, second, first)."""
    return rows.reshape(-1, first, second, rows.shape[-1]).transpose(1, 2).reshape(rows.shape)
