"""Presets: applied to a form without what is one's own, and all of them can be read."""

from __future__ import annotations

import pytest

from app.form import presets
from trainer.errors import UserError


def test_presets_keep_what_is_ones_own(values):
    new = presets.with_preset({"network_dim": 32, "epoch": 5}, values)
    assert new["train_data_dir"] == values["train_data_dir"]
    assert (new["network_dim"], new["epoch"], new["mixed_precision"]) == (32, 5, "fp16")
    changed = {row["key"]: (row["old"], row["new"]) for row in presets.preset_changes(values, new, "en")}
    assert changed["network_dim"] == ("8", "32")
    assert changed["mixed_precision"] == ("no", "fp16")


def test_every_shipped_preset_loads():
    names = presets.preset_names()
    assert len(presets.cards("en")) == len(presets.cards("ja")) == len(names)
    with pytest.raises(UserError):
        presets.read("../secret")
