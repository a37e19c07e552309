""" "Additional parameters": every typed option ends in a setting or in a problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.made import sound_settings
from tests.trainer.runs import events, run
from trainer.events import Step
from trainer.kohya.additional import applied, read
from trainer.preflight.check import check
from trainer.settings import Settings


def meant(text: str, **form: Any) -> dict[str, Any]:
    """The settings that a text changes."""
    return dict(read(Settings().replace(additional_parameters=text, **form)).values)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("--min_snr_gamma 5", {"min_snr_gamma": 5}),
        ("--min_snr_gamma=5 --noise_offset 0.1",
         {"min_snr_gamma": 5, "noise_offset": 0.1, "noise_offset_type": "Original"}),
        ("--min_snr 5", {"min_snr_gamma": 5}),
        ("--multires_noise_iterations 6",
         {"multires_noise_iterations": 6, "noise_offset_type": "Multires"}),
        ("--network_train_unet_only", {"text_encoder_lr": 0}),
        ("--unet_lr 2e-4 --text_encoder_lr 1e-5", {"unet_lr": 2e-4, "text_encoder_lr": 1e-5}),
        ("--lr_warmup_steps 100", {"lr_warmup": 0, "lr_warmup_steps": 100}),
        ('--training_comment "two words" --seed 7', {"training_comment": "two words", "seed": 7}),
        (r"--vae C:\models\my.vae.pt", {"vae": r"C:\models\my.vae.pt"}),
        (r'--vae "C:\my models\new.safetensors"', {"vae": r"C:\my models\new.safetensors"}),
        (r"--vae 'C:\my models\new.safetensors'", {"vae": r"C:\my models\new.safetensors"}),
        ("--optimizer_args weight_decay=0.1 betas=0.9,0.99",
         {"optimizer_args": "weight_decay=0.1 betas=0.9,0.99"}),
        ("--network_args conv_dim=4 conv_alpha=1",
         {"conv_dim": 4, "conv_alpha": 1, "LoRA_type": "Kohya LoCon"}),
        ("--zero_terminal_snr --epoch_is_none_of_theirs", {"zero_terminal_snr": True}),
        ("--stop_text_encoder_training 50", {"stop_text_encoder_training": 50}),
        ("--v_parameterization --v2", {"v_parameterization": True, "v2": True}),
    ],
)  # fmt: skip
def test_options_become_settings(text: str, wanted: dict[str, Any]) -> None:
    assert meant(text) == wanted


def test_network_args_belong_to_the_forms_lora_type() -> None:
    found = meant("--network_args conv_dim=2 dora_wd=True", LoRA_type="LyCORIS/LoHa")
    assert found == {"conv_dim": 2, "dora_wd": True, "LoRA_type": "LyCORIS/LoHa"}


def test_an_option_of_the_schedule_joins_its_arguments() -> None:
    found = meant("--lr_scheduler_min_lr_ratio 0.2", lr_scheduler="cosine_with_min_lr")
    assert found == {"lr_scheduler_args": "min_lr_ratio=0.2"}
    assert meant("--lr_scheduler_min_lr_ratio 0.2", lr_scheduler="cosine") == {}


def test_the_prompts_of_a_file_are_read(tmp_path: Path) -> None:
    file = tmp_path / "my prompts.txt"
    file.write_text("a cat --w 512\n", encoding="utf-8")
    assert meant(f'--sample_prompts "{file}"') == {"sample_prompts": "a cat --w 512\n"}


def test_typed_options_have_the_last_word() -> None:
    settings = Settings().replace(additional_parameters="--network_dim 32", network_dim=4)
    assert applied(settings).network.network_dim == 32


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("--min_snr_gama 5", "preflight.parameter_unknown_near", "--min_snr_gamma"),
        ("--qqqqqq", "preflight.parameter_unknown", "--qqqqqq"),
        ("--face_crop_aug_range 1.0,2.0", "preflight.parameter_missing", "face_crop_aug_range"),
        ("--network_dim many", "preflight.parameter_value", "many"),
        ("--network_dim", "preflight.parameter_no_value", "network_dim"),
        ("network_dim 8", "preflight.parameter_loose", "network_dim 8"),
        ("--flip_aug yes", "preflight.parameter_loose", "yes"),
        ('--training_comment "open', "preflight.parameter_quote", ""),
        ("--wandb_api_key 0123456789", "preflight.parameter_secret", "wandb_api_key"),
        ("--sample_prompts /no/such.txt", "preflight.parameter_value", "/no/such.txt"),
        ("--unheard_of_setting 3 --seed 1", "preflight.parameter_unknown", "unheard_of_setting"),
        ("--max_token_length 100", "preflight.parameter_value", "100"),
        ("--weighted_caption", "", ""),
    ],
)
def test_what_cannot_be_meant_stops_the_run_and_its_fix_mends_it(
    tmp_path: Path, text: str, code: str, part: str
) -> None:
    settings = sound_settings(tmp_path, additional_parameters=text)
    problems = {problem.code: problem for problem in check(settings).problems if problem.blocks}
    assert list(problems) == ([code] if code else [])
    if not code:
        return
    problem = problems[code]
    assert problem.setting == "additional_parameters"
    assert part in str(problem.said("en"))
    assert part in str(problem.said("ja"))
    if problem.fix:
        assert not check(settings.replace(**problem.fix)).blocked


def test_a_key_typed_there_is_not_repeated(tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, additional_parameters="--wandb_api_key 0123456789")
    said = [str(problem.as_json()) for problem in check(settings).problems]
    assert not any("0123456789" in text for text in said)


def test_an_option_against_the_form_is_said_and_moves_to_its_field(tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, additional_parameters='--network_dim 16 --training_comment "a b"')
    hints = [problem for problem in check(settings).problems if problem.code == "preflight.parameter_wins"]
    assert [problem.values["option"] for problem in hints] == ["network_dim", "training_comment"]
    assert not any(problem.blocks for problem in hints)
    moved = settings.replace(**(hints[0].fix or {}))
    assert (moved.network.network_dim, moved.records.additional_parameters) == (
        16,
        '--training_comment "a b"',
    )


def test_an_option_that_changes_nothing_is_said(tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, additional_parameters="--console_log_level DEBUG")
    assert [problem.code for problem in check(settings).problems] == ["preflight.parameter_idle"]


def test_a_fix_of_another_check_takes_the_option_out_too(tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, additional_parameters="--unet_lr 0 --text_encoder_lr 0 --seed 3")
    problem = next(problem for problem in check(settings).problems if problem.code == "preflight.rates_zero")
    assert problem.fix is not None
    assert problem.fix["additional_parameters"] == "--text_encoder_lr 0 --seed 3"
    assert not check(settings.replace(**problem.fix)).blocked


def test_a_run_trains_as_typed(tmp_path: Path) -> None:
    job, code = run(tmp_path, additional_parameters="--max_train_steps 2 --unet_lr=0.01")
    steps = [event for event in events(job) if isinstance(event, Step)]
    assert code == 0
    assert len(steps) == 2
    assert steps[0].lr["unet"] == 0.01
