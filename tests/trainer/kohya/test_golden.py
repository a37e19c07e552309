"""Our export against flags that kohya_ss itself was seen to hand over.

`v26_golden.json`: what kohya_ss v26.0.0 wrote for 43 forms and 25 of its presets; `2023_05_golden.json`:
what v21.5.12 printed. Where we differ, kohya_ss's fault is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trainer.kohya import read, to_sd_scripts
from trainer.kohya.command import options, split_command
from trainer.kohya.sd_defaults import DEFAULTS

DATA = Path(__file__).parents[2] / "data" / "kohya"
V26 = json.loads((DATA / "v26_golden.json").read_text(encoding="utf-8"))
MAY_2023 = json.loads((DATA / "2023_05_golden.json").read_text(encoding="utf-8"))
PRESETS = json.loads((DATA / "kohya_presets.json").read_text(encoding="utf-8"))

ABSENT = object()
LENGTH = "a number of steps guessed from the count of files; sd-scripts knows better from the epochs"
FAULTS: dict[str, dict[str, tuple[Any, str]]] = {
    "constant + warmup": {
        "lr_warmup_steps": (ABSENT, "sd-scripts ends with an error for constant with warm-up")
    },
    "max_grad_norm 0": {"max_grad_norm": (0, "the zero is dropped: trains with clipping at 1.0")},
    "prior 0": {"prior_loss_weight": (0, "the zero is dropped: trains with weight 1.0")},
}
"""Case -> option -> what we say instead, and kohya_ss's fault."""
LOKR = {
    "use_cp": "sent as False beside use_tucker=True, it wins: the tick on use_tucker does nothing",
    "decompose_both": "sent as the text False, which LyCORIS takes for a yes",
}
"""Arguments that we leave out for LoKr unless they are on, and why."""


def flags(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded options that sd-scripts knows and that are not at its default; empty lists say nothing."""
    return {k: v for k, v in recorded.items() if k in DEFAULTS and v != DEFAULTS[k] and v != []}


def arguments(values: list[str] | None) -> dict[str, Any]:
    """network_args as a dict; numbers as numbers, so that 0.0 and 0 are the same."""
    pairs = dict(part.split("=", 1) for part in values or [])
    return {k: float(v) if v.replace(".", "", 1).lstrip("-").isdigit() else v for k, v in pairs.items()}


def differences(want: Mapping[str, Any], got: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Option -> (recorded, ours) where they differ."""
    found = {}
    for option in {*want, *got}:
        pair = want.get(option, ABSENT), got.get(option, ABSENT)
        if option == "network_args":
            pair = arguments(want.get(option)), arguments(got.get(option))
        if pair[0] != pair[1]:
            found[option] = pair
    return found


def take_length(found: dict[str, tuple[Any, Any]], epoch: int, *, epochs_given: bool) -> None:
    """kohya_ss's guess of the steps (LENGTH): we hand over the epochs it was made from."""
    steps, ours = found.pop("max_train_steps", (0, ABSENT))
    assert ours is ABSENT
    assert isinstance(steps, int)
    if not epochs_given:
        assert found.pop("max_train_epochs") == (ABSENT, epoch), LENGTH


def take_lokr(found: dict[str, tuple[Any, Any]]) -> None:
    """The two arguments that kohya_ss sends wrongly for LoKr."""
    want, got = found.get("network_args", ({}, {}))
    if want.get("algo") != "lokr":
        return
    if want.pop("use_cp") == "True":  # the older name of use_tucker, which it outvotes
        assert want["use_tucker"] == "False", LOKR["use_cp"]
        want["use_tucker"] = "True"
    if want["decompose_both"] == "False":
        del want["decompose_both"]
        assert "decompose_both" not in got, LOKR["decompose_both"]
    assert want == got
    del found["network_args"]


@pytest.mark.parametrize("case", [c for c in V26["cases"] if c["toml"]], ids=lambda case: case["name"])
def test_v26_form_gives_the_recorded_flags(case: dict[str, Any]) -> None:
    form = {
        **V26["gui_defaults"], "max_train_steps": 0, "output_name": "t", "train_data_dir": "<W>/img",
        "output_dir": "<W>/out", **case["overrides"],
    }  # fmt: skip
    imported = read(form)
    assert imported.report.age.startswith("kohya_ss v26")
    found = differences(flags(case["toml"]), to_sd_scripts(imported.settings, imported.carried))
    if form["max_train_steps"] == 0:
        take_length(found, form["epoch"], epochs_given=form["max_train_epochs"] > 0)
    take_lokr(found)
    for option, (ours, fault) in FAULTS.get(case["name"], {}).items():
        assert found.pop(option)[1] == ours, fault
    assert found == {}


def test_every_named_fault_is_a_recorded_case() -> None:
    names = {case["name"] for case in V26["cases"]}
    assert set(FAULTS) <= names


@pytest.mark.parametrize("case", [c for c in V26["cases"] if not c["toml"]], ids=lambda case: case["name"])
def test_forms_that_kohya_refused_load_all_the_same(case: dict[str, Any]) -> None:
    """Double blanks in arguments, a folder without sub-folders, no output folder: no crash."""
    imported = read({**V26["gui_defaults"], **case["overrides"]})
    assert imported.report.age.startswith("kohya_ss v26")


SAID_OTHERWISE_IN_2023 = {
    "clip_skip": 1, "max_timestep": 1000, "max_token_length": 75, "dynamo_backend": "no",
    "sample_sampler": "euler_a", "sample_prompts": "<W>/out/sample/prompt.txt", "wandb_run_name": "last",
}  # fmt: skip
"""v21 left these out where v26 says the same in words."""
FAULTS_2023: dict[str, dict[str, tuple[Any, str]]] = {
    "misc": {
        "training_comment": ('hi "q"', "quotes are not escaped for the shell, which eats them"),
        "no_token_padding": (ABSENT, "sd-scripts no longer has this option"),
    },
    "block": {"network_args": (
        {"down_lr_weight": "0,0,1", "mid_lr_weight": 0.5, "conv_block_dims": "2,2"},
        "written as conv_dims, which sd-scripts does not know",
    )},
}  # fmt: skip


@pytest.mark.parametrize(
    "case", [c for c in MAY_2023["cases"] if c["command"]], ids=lambda case: case["name"]
)
def test_2023_form_gives_the_recorded_flags(case: dict[str, Any]) -> None:
    form = {**MAY_2023["defaults"], "train_data_dir": "<W>/img", "output_dir": "<W>/out", **case["overrides"]}
    form["reg_data_dir"] = form["reg_data_dir"].replace("/tmp/kwork", "<W>")
    imported = read(form)
    assert "v21.5.12 (2023-05)" in imported.report.age
    words = split_command(case["command"])
    script = next(at for at, word in enumerate(words) if word.endswith(".py"))
    recorded, loose = options(words[script + 1 :])
    assert loose == []
    found = differences(
        {**flags(recorded), **{k: v for k, v in recorded.items() if k not in DEFAULTS}},
        to_sd_scripts(imported.settings, imported.carried),
    )
    for option, value in SAID_OTHERWISE_IN_2023.items():
        if option in found:
            assert found.pop(option) == (ABSENT, value)
    if "text_encoder_lr" in found:  # one rate then, a list with it twice today: the same to sd-scripts
        want, got = found.pop("text_encoder_lr")
        assert want * 2 == got
    steps = recorded["max_train_steps"]
    warmup, share = found.pop("lr_warmup_steps")
    assert share == 0.1
    assert int(warmup) == round(steps * share)
    take_length(found, form["epoch"], epochs_given=bool(form["max_train_epochs"]))
    for option, (ours, fault) in FAULTS_2023.get(case["name"], {}).items():
        want, got = found.pop(option)
        assert got == ours, fault
        assert want != got
    if "network_args" in found:  # arguments that LyCORIS had no field for yet, at their defaults
        want, got = found.pop("network_args")
        new = {name: value for name, value in got.items() if want.get(name) != value}
        assert set(want) <= set(got)
        assert {value for name, value in new.items() if name not in ("preset", "algo")} <= {"False", 0.0}
        assert new.get("algo", "") in ("", "locon")  # the same method, then called lora
    assert found == {}


OLD_MEANING = {
    "lr_scheduler_num_cycles": "blank meant the epochs until v24.0; today's kohya_ss reads 1",
    "max_bucket_reso": "no field until v21.8.4: 1024; today's kohya_ss takes 2048 from the screen",
    "network_weights": "recorded without the file",
}
"""What v26 makes of an older preset against what the preset's own release did."""
OTHER_FAMILY = "flux1D - adamw8bit fp8.json"
MOVED = {
    "SDXL - 1 image LoRA v1.0.json": {"lr_scheduler_type", "lr_scheduler_args"},
    "sd15 - LoKr v2.0.json": {"lr_scheduler_type", "lr_scheduler_args"},
    "SDXL - LoRA kudou-reira dadaptadam v1.0.json": {"network_train_unet_only", "text_encoder_lr"},
    "SDXL - LoRA kudou-reira dadaptadam v1.1.json": {"network_train_unet_only", "text_encoder_lr"},
    "SDXL - edgLoRAXL.json": {"max_grad_norm"},
    "SDXL - LoRA adafactor v1.0.json": set(),
    "SDXL - LoRA finetuning phase 2_v1.1.json": set(),
}
"""Options of "Additional parameters": recorded outside the TOML, on the command line."""


@pytest.mark.parametrize("name", [name for name in PRESETS if name != OTHER_FAMILY])
def test_kohyas_presets_give_the_recorded_flags(name: str) -> None:
    recorded = V26["presets"][name]
    places = {key: recorded.get(key, "") for key in ("train_data_dir", "output_dir")}
    preset = {**PRESETS[name], **places, "output_name": recorded["output_name"]}
    preset["pretrained_model_name_or_path"] = recorded["pretrained_model_name_or_path"]
    imported = read(preset)
    found = differences(flags(recorded), to_sd_scripts(imported.settings, imported.carried))
    for option in {*OLD_MEANING, *MOVED.get(name, ())}:
        found.pop(option, None)
    if "max_train_epochs" in found or "max_train_steps" in found:  # LENGTH, or steps from the screen
        assert found.pop("max_train_steps", (0, ABSENT))[1] is ABSENT
        epochs = found.pop("max_train_epochs", (0, imported.settings.length.epoch))
        assert epochs[1] == imported.settings.length.epoch
    take_lokr(found)
    assert found == {}


def test_our_table_of_sd_scripts_defaults_is_the_recorded_one() -> None:
    recorded = json.loads((DATA / "cli_defaults.json").read_text(encoding="utf-8"))
    assert {option: DEFAULTS.get(option, ABSENT) for option in recorded} == recorded
    newer = {"cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk", "train_inpainting"}
    assert set(DEFAULTS) - set(recorded) == newer | {"disable_mmap_load_safetensors"}
