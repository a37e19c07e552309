"""Every recorded run of the reference, where the recordings are at hand (they are not shipped)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.parity.recording import Recording
from tests.parity.replay import replay

ROOT = Path(os.environ.get("LORA_ATELIER_PARITY", "../shared/parity"))
NOT_YET = {"dylora_unit1", "lycoris_locon", "lycoris_loha", "lycoris_lokr"}
TRACES = sorted(path.name for path in (ROOT / "traces").glob("*")) if ROOT.is_dir() else []
QUICK = {"baseline", "conv_dim", "clip_skip2", "rank_dropout", "multires_noise", "opt_prodigy", "v2_vparam"}


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in TRACES
        if name not in NOT_YET
    ],
)
def test_our_arithmetic_agrees_with_the_reference(name: str) -> None:
    line = replay(Recording((ROOT / "traces" / name).resolve(), ROOT.resolve()), draw=True)
    assert line["ok"], line
