"""The one table of algorithms: every row is whole."""

from __future__ import annotations

import pytest

from trainer.lora.shapes import AlgorithmOptions
from trainer.lora.types import ALGORITHMS, TYPES, algorithm_in, entry_shapes, rank_of
from trainer.network.adapters.build import adapter_class
from trainer.network.adapters.change import WeightChange
from trainer.settings import LORA_TYPES

SHAPES = {"linear": (64, 32), "convolution": (64, 32, 3, 3), "1x1": (64, 32, 1, 1)}


def test_every_lora_type_has_one_algorithm():
    assert sorted(TYPES) == sorted(LORA_TYPES)
    assert len(TYPES) == sum(len(facts.types) for facts in ALGORITHMS.values())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_its_adapter_is_one(algorithm):
    assert issubclass(adapter_class(algorithm), WeightChange)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("algorithm", [key for key in ALGORITHMS if key not in ("dylora", "norm")])
@pytest.mark.parametrize(
    "options", [AlgorithmOptions(), AlgorithmOptions(tucker=True), AlgorithmOptions(dora=True)]
)
def test_what_it_writes_tells_it(algorithm, shape, options):
    entries = entry_shapes(algorithm, shape, 8, options, bias=True)
    entries |= {"on_input": ()} if algorithm == "ia3" else {}
    assert algorithm_in(entries) == algorithm
    if ALGORITHMS[algorithm].has_rank and not (algorithm == "lokr" and "lokr_w2" in entries):
        assert rank_of(entries) == 8


def test_what_is_none_is_told():
    assert algorithm_in({"alpha": (), "bias": (4,)}) is None
    assert rank_of({"diff": (4, 4)}) == 0
