"""Every recorded run of the reference, where the recordings are at hand (they are not shipped)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.parity.drawn import Drawer, following, shuffle
from tests.parity.recording import Recording
from tests.parity.replay import CannotReplayError, replay, settings_of
from tests.trainer.references import reference
from trainer.data.buckets import BucketRule
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.training.encode import open_base_model
from trainer.training.precision import pick_precision

ROOT = Path(os.environ.get("LORA_ATELIER_PARITY", "../shared/parity"))
TRACES = sorted(path.name for path in (ROOT / "traces").glob("*")) if ROOT.is_dir() else []
QUICK = {
    *("baseline", "conv_dim", "clip_skip2", "rank_dropout", "multires_noise", "opt_prodigy", "v2_vparam"),
    *("dylora_unit1", "lycoris_lokr", "weighted_captions", "network_weights_dim_from", "random_crop"),
    *("min_snr_gamma5", "huber_snr", "block_lr_explicit", "grad_accum2", "shuffle_caption"),
    *("sched_cosine_restarts", "scale_weight_norms"),
}
"""At least one of each kind; all of them with -m parity."""
QUICK_XL = {
    *("baseline", "vpred_zsnr_minsnr", "te_lr_two_values", "unet_only_cache_te", "weighted_225"),
    *("flip_random_crop", "lycoris_dora", "reg_b2", "bf16"),
}


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in TRACES],
)
def test_our_arithmetic_agrees_with_the_reference(name: str) -> None:
    line = replay(Recording((ROOT / "traces" / name).resolve(), ROOT.resolve()), draw=True)
    assert line["ok"], line


XL_ROOT = Path(os.environ.get("LORA_ATELIER_PARITY_XL", "../shared/parity_xl"))
XL_TRACES = sorted(path.name for path in (XL_ROOT / "traces").glob("*")) if XL_ROOT.is_dir() else []
FAULT = "asym_single"
"""Records a fault of the reference: the projection of SDXL's pooled vector the wrong way round."""


def recording_xl(name: str) -> Recording:
    return Recording((XL_ROOT / "traces" / name).resolve(), XL_ROOT.resolve())


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK_XL else pytest.mark.long)
        for name in XL_TRACES
        if name != FAULT
    ],
)
def test_our_arithmetic_agrees_with_the_reference_on_sdxl(name: str) -> None:
    recording = recording_xl(name)
    # Without the instructions torch rounds bfloat16 at other places than where it was recorded.
    if pick_precision(recording.args["mixed_precision"], torch.device("cpu")).notice:
        pytest.skip("this processor has no instructions for the recording's number format")
    line = replay(recording, draw=True)
    assert line["ok"], line


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.skipif(FAULT not in XL_TRACES, reason="no recordings at hand")
def test_the_pooled_vector_is_projected_the_right_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the reference is wrong we differ in that; with its matrix we are equal."""
    ours = replay(recording_xl(FAULT), draw=True)
    assert ours["pooled_max_abs"] > 1
    assert ours["ids_wrong"] == ours["time_ids_wrong"] == 0
    load = open_base_model

    def turned(*args: Any) -> Any:
        model: Any = load(*args)
        projection = model.text_encoders[1].text_projection
        projection.weight.data = projection.weight.data.T.contiguous()
        return model

    monkeypatch.setattr("tests.parity.replay.open_base_model", turned)
    line = replay(recording_xl(FAULT), draw=True)
    assert line["ok"], line


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("network_module", "networks.oft"),
        ("network_args", ["conv_dim=4", "only_if_contains=attn"]),
        ("base_weights", ["other.safetensors"]),
        ("alpha_mask", True),
        ("optimizer_type", "SomebodysOptimizer"),
        ("an_option_of_tomorrow", 3),
    ],
)
def test_an_option_that_we_lack_is_named_and_not_passed_over(option: str, value: Any) -> None:
    with pytest.raises(CannotReplayError, match=option):
        settings_of({option: value})


def test_options_that_change_no_number_may_be_anything() -> None:
    args = {"metadata_usage_hint": "x", "caption_tag_dropout_rate": 0.5, "console_log_simple": True}
    assert settings_of({**args, "clip_skip": 2}).captions.clip_skip == 2


def test_what_the_reference_draws_for_its_pictures_is_drawn_again() -> None:
    """Numbers of a recorded run: shuffled captions of two batches, and the generator's state after them."""
    recorded = reference("drawn")
    rule, captions = BucketRule((128, 128), True, 64, 256, 64), recorded["captions"]
    drawer = Drawer(DEFAULTS | recorded["args"], rule, captions, Path())
    shuffle(recorded["shuffle"])
    for fetched in recorded["fetched"]:
        drawn = drawer.batch(fetched["event"])
        assert [one.caption for one in drawn] == fetched["captions"]
        assert [one.flipped for one in drawn] == fetched["flippeds"]
        assert following() == fetched["following"]
