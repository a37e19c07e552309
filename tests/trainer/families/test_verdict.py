"""Whether a model can be trained under the settings."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from trainer.families.facts import ModelFacts
from trainer.families.others import ModelKind
from trainer.families.table import FAMILIES
from trainer.families.verdict import CODES, verdict
from trainer.messages import texts
from trainer.settings import Model, Settings

SWITCHES = [{"v2": v2, "sdxl": sdxl} for v2, sdxl in product((False, True), repeat=2)]


def test_every_kind_has_its_words():
    assert {*CODES, "base", "unknown"} == set(get_args(ModelKind))
    assert {*CODES.values(), "base_model.is_named", "base_model.other_family"} <= set(texts("en")["messages"])


@pytest.mark.parametrize("kind", CODES)
def test_what_is_no_base_model_is_refused(kind):
    found = verdict(ModelFacts(kind), Model(), "m")
    assert found is not None
    assert found.code == CODES[kind]
    assert found.fix is None


@pytest.mark.parametrize("key", FAMILIES)
@pytest.mark.parametrize("switches", SWITCHES)
def test_one_click_ends_a_contradiction(key, switches):
    facts = ModelFacts("base", key)
    found = verdict(facts, Model(**switches), "m")
    if found:
        assert verdict(facts, Settings.from_flat({**switches, **(found.fix or {})}).model, "m") is None
        assert found.setting in (found.fix or {})


def test_what_cannot_be_told_is_let_through():
    assert verdict(ModelFacts(), Model(), "m") is None
