"""The families' values fit each other."""

from __future__ import annotations

import math

import pytest

from tests.trainer.references import reference
from trainer.families.table import FAMILIES, SDXL, named_by
from trainer.settings import Model, family_key


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_its_switches_name_it(family):
    assert named_by(Model(**family.switches)) is family
    assert family_key(family.switches) == family.key


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_its_blocks_lie_side_by_side(family):
    blocks = family.blocks
    inner = [*blocks.down, *blocks.mid, *blocks.up]
    assert inner == list(range(inner[0], inner[-1] + 1))
    assert all(blocks.names[place].startswith("IN") for place in blocks.down)
    assert all(blocks.names[place].startswith("MID") for place in blocks.mid)
    assert all(blocks.names[place].startswith("OUT") for place in blocks.up)


def test_sdxls_weights_are_the_checkpoints():
    shapes = reference("sdxl_checkpoint")
    counts = [
        sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(start))
        for start in ("model.diffusion_model.", "conditioner.")
    ]
    assert counts == [SDXL.weights[0], SDXL.weights[1] + 1]  # logit_scale, which nothing uses
