"""Singular values by what a change is made of are those of the whole change, which is not taken apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.lora.shapes import AlgorithmOptions, Shape
from trainer.lora.types import ALGORITHMS, Algorithm
from trainer.network import spectra
from trainer.network.weights import change_of, spectrum_of_entries

LINEAR, CONVOLUTION = (96, 144), (48, 32, 3, 3)
FORMS = {
    "plain": AlgorithmOptions(factor=8),
    "both factors in two": AlgorithmOptions(factor=8, decompose_both=True),
    "with a core": AlgorithmOptions(factor=4, tucker=True),
    "even": AlgorithmOptions(),
}


def entries_of(algorithm: Algorithm, shape: Shape, rank: int, form: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rank)
    shapes = ALGORITHMS[algorithm].shapes(shape, rank, FORMS[form])
    made = {name: torch.randn(size, generator=generator) for name, size in shapes.items()}
    return made | {"alpha": torch.tensor(-3.0)}


@pytest.fixture
def largest(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers in the matrices that are taken apart whole."""
    sizes, whole = [0], spectra.spectrum_of

    def counted(change: Tensor) -> spectra.Spectrum:
        sizes.append(change.numel())
        return whole(change)

    monkeypatch.setattr(spectra, "spectrum_of", counted)
    return sizes


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rank", [1, 3, 40])
@pytest.mark.parametrize("shape", [LINEAR, CONVOLUTION])
@pytest.mark.parametrize("algorithm", ["lora", "loha", "lokr"])
def test_a_product_is_taken_apart_by_its_factors(
    algorithm: Algorithm, shape: Shape, rank: int, form: str, largest: list[int]
) -> None:
    entries = entries_of(algorithm, shape, rank, form)
    spectrum = spectrum_of_entries(entries)
    wanted = change_of(entries).double().flatten(1)
    values = torch.linalg.svdvals(wanted)
    few = len(spectrum.values)
    scale = float(values[0])
    assert (spectrum.values - values[:few]).abs().max() < 1e-5 * scale
    assert values[few:].sum() < 1e-5 * scale, "those that it leaves out are none"
    assert spectrum.most == min(wanted.shape)
    up, down = spectrum.cut(few)
    assert (up @ down - wanted).abs().max() < 1e-4 * scale
    assert (spectrum.right @ spectrum.right.T - torch.eye(few)).abs().max() < 1e-4
    if algorithm != "loha" or rank**2 * spectra.FEW <= min(wanted.shape):
        assert max(largest) <= wanted.numel() / 8
