"""The singular values of a change of a weight, and the closest changes of lower ranks.

What a change is made of is used where that is exact and quicker than taking the whole apart: QR of the
factors of a product, the two factors of a Kronecker product each for itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.network.adapters.factored import Delta, Hadamard, Kronecker, LowRank

MOST_FOR_QUANTILE = 16_000_000
"""torch.quantile takes no more numbers."""
NO_CHANGE = 1e-6
"""A largest singular value up to this counts as no change at all (as in kohya's own tool)."""
FEW = 2
"""A change of so many times fewer ranks than its sides allow is taken apart by its factors."""


class Factors(NamedTuple):
    """ΔW = up · down."""

    up: Tensor
    """(out, r)."""
    down: Tensor
    """(r, in · k · k)."""


@dataclass(frozen=True)
class Spectrum:
    """A change's singular value decomposition."""

    left: Tensor
    """(out, n), orthonormal columns."""
    values: Tensor
    """(n,), falling."""
    right: Tensor
    """(n, in · k · k), orthonormal rows."""
    most: int
    """The highest rank that a matrix of this size can have."""

    def cut(self, rank: int) -> Factors:
        """The closest change of this rank, with zeros where it has fewer; the values go into `up`."""
        # All of the size in `up`, none in `down`, as kohya's tool has it.
        up, down = self.left[:, :rank] * self.values[:rank], self.right[:rank]
        missing = rank - len(down)
        # A change of fewer ranks than asked for: zeros keep all files of one rank.
        return Factors(F.pad(up, (0, missing)), F.pad(down, (0, 0, 0, missing)))

    def times(self, strength: float) -> Spectrum:
        """Of the change times a number."""
        sign = math.copysign(1.0, strength)
        return replace(self, left=self.left * sign, values=self.values * abs(strength))

    def kept(self, rank: int) -> float:
        """Share of the Frobenius norm that is left with this rank (0-1)."""
        whole = float(self.values.square().sum().sqrt())
        return float(self.values[:rank].square().sum().sqrt()) / whole if whole else 1.0


def spectrum_of_factors(parts: Sequence[Factors]) -> Spectrum:
    """Of the sum of up · down over `parts`, without building it: QR of each side, SVD of a small core."""
    # Side by side the factors of several changes are those of their sum. float64: QR loses digits.
    up = torch.cat([part.up for part in parts], dim=1).double()
    down = torch.cat([part.down for part in parts], dim=0).double()
    left, left_core = torch.linalg.qr(up)
    right, right_core = torch.linalg.qr(down.T)
    # Of r x r numbers: the sum itself has out x in.
    u, values, v = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    most = min(up.shape[0], down.shape[1])
    return Spectrum((left @ u).float(), values.float(), (v @ right.T).float(), most)


def spectrum_of(change: Tensor) -> Spectrum:
    """Of a whole ΔW (out, in) or (out, in, k, k), by the eigenvectors of its smaller product with itself.

    In float64 that is more exact than a decomposition in float32, which takes up to five times as long where
    one side is longer.
    """
    flat = change.double().flatten(1)
    tall = flat if flat.shape[0] >= flat.shape[1] else flat.T
    right = torch.linalg.eigh(tall.T @ tall).eigenvectors.flip(1)
    left = tall @ right
    # Not the roots of the eigenvalues: squaring has taken half the digits of the small ones.
    values = left.norm(dim=0)
    left = left / values.where(values > 0, 1)
    sides = (left, right) if tall is flat else (right, left)
    return Spectrum(sides[0].float(), values.float(), sides[1].T.float(), len(values))


def spectrum_of_product(change: Delta) -> Spectrum:
    """Of a ΔW by what it is made of: no slower than taking the whole apart. Raises TypeError for others."""
    if isinstance(change, Kronecker):
        return _of_kronecker(change)
    if isinstance(change, LowRank):
        return spectrum_of_factors([_flat(change)])
    if isinstance(change, Hadamard):
        first, second = _flat(change.first), _flat(change.second)
        if change.rank * FEW <= min(len(first.up), first.down.shape[1]):
            return spectrum_of_factors([_flat(change.low_rank)])
        return spectrum_of((first.up @ first.down) * (second.up @ second.down))
    raise TypeError(type(change))


def _flat(product: LowRank) -> Factors:
    return Factors(product.up, product.down.flatten(1))


def _of_kronecker(change: Kronecker) -> Spectrum:
    """The singular values of small ⊗ large are all products of theirs, and so are the vectors."""
    small = spectrum_of(change.small)
    large = change.large
    large = spectrum_of_factors([_flat(large)]) if isinstance(large, LowRank) else spectrum_of(large)
    values, order = torch.outer(small.values, large.values).flatten().sort(descending=True, stable=True)
    first, second = order // len(large.values), order % len(large.values)
    # Kronecker products of columns, column by column: (o₁, 1, n) · (1, o₂, n).
    left = (small.left[:, None, first] * large.left[None, :, second]).flatten(0, 1)
    right = (small.right[first, :, None] * large.right[second, None, :]).flatten(1)
    return Spectrum(left, values, right, min(len(left), right.shape[1]))


RankRule = Literal["fixed", "sv_ratio", "sv_cumulative", "sv_fro"]
"""How kohya's tool chooses a rank: a number; down to the largest singular value divided by a number; up to a
share of the sum of the values; up to a share of the Frobenius norm."""


def choose_rank(values: Tensor, rule: RankRule, target: float, most: int, largest: int) -> int:
    """The rank by a rule for singular values (n,): at most `largest`, and `most`, which a matrix can have.

    As kohya's tool counts: by a share it takes one more than reaches it.
    """
    # A module that learned nothing still needs a rank in the file.
    if not len(values) or float(values[0]) <= NO_CHANGE:
        return 1
    if rule == "fixed":
        return max(1, min(largest, most))
    if rule == "sv_ratio":
        index = int((values > values[0] / target).sum())
    else:
        weights = values if rule == "sv_cumulative" else values.square()
        share = target if rule == "sv_cumulative" else target**2
        reached = torch.cumsum(weights, 0) / weights.sum()
        index = int(torch.searchsorted(reached, torch.tensor(share, dtype=reached.dtype))) + 1
    # The tool's own counting, one more than needed: kept, so that the files are equal.
    return min(max(1, min(index, most - 1)) + 1, largest, most)


def clamped(factors: Factors, quantile: float) -> Factors:
    """Numbers beyond this quantile of all cut off: what kohya's tools do (0.99; 1: nothing)."""
    if quantile >= 1:
        return factors
    numbers = torch.cat([factors.up.flatten(), factors.down.flatten()])
    # Over both sides at once, as the tool does; `quantile` refuses more than 16 million numbers.
    if numbers.numel() <= MOST_FOR_QUANTILE:
        limit = torch.quantile(numbers, quantile)
    else:
        limit = numbers.kthvalue(math.ceil(quantile * numbers.numel())).values
    return Factors(factors.up.clamp(-limit, limit), factors.down.clamp(-limit, limit))
