"""Each rule of the checks by its effect: it finds its problem, says so, and its fix mends it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.trainer.found import expect
from tests.trainer.made import sound_settings
from trainer.preflight.check import check
from trainer.preflight.training import ONE_RATE


def rule(*name: Any, **values: Any) -> Any:
    """A case: code, setting, blocks, and the settings that bring it about."""
    return pytest.param(*name, values, id=name[0].removeprefix("preflight."))


@pytest.mark.parametrize(
    ("code", "setting", "blocks", "values"),
    [
        rule("preflight.no_fp8_training", "mixed_precision", True, mixed_precision="fp8"),
        rule("preflight.no_inpainting", "train_inpainting", True, train_inpainting=True),
        rule("preflight.no_masks", "masked_loss", False, masked_loss=True),
        rule("preflight.model_missing", "pretrained_model_name_or_path", True,
             pretrained_model_name_or_path=""),
        rule("preflight.model_not_found", "pretrained_model_name_or_path", True,
             pretrained_model_name_or_path="/no/m.ckpt"),
        rule("preflight.model_download", "pretrained_model_name_or_path", False,
             pretrained_model_name_or_path="no-one/nothing"),
        rule("preflight.v_without_v2", "v_parameterization", False, v_parameterization=True),
        rule("preflight.vae_not_found", "vae", True, vae="/no/vae.safetensors"),
        rule("preflight.images_missing", "train_data_dir", True, train_data_dir=""),
        rule("preflight.folder_not_found", "train_data_dir", True, train_data_dir="/no/such/folder"),
        rule("preflight.folder_not_found", "reg_data_dir", True, reg_data_dir="/no/such/folder"),
        rule("preflight.file_not_found", "dataset_config", True, dataset_config="/no/such.toml"),
        rule("preflight.captions_elsewhere", "caption_extension", False, caption_extension=""),
        rule("preflight.output_missing", "output_dir", True, output_dir=""),
        rule("preflight.name_missing", "output_name", True, output_name="  "),
        rule("preflight.name_ending", "output_name", True, output_name="cat.safetensors"),
        rule("preflight.name_path", "output_name", True, output_name="loras/cat"),
        rule("preflight.name_path", "output_name", True, output_name="..\\cat"),
        rule("preflight.name_characters", "output_name", True, output_name="cat: v1?"),
        rule("preflight.name_characters", "output_name", True, output_name="cat."),
        rule("preflight.name_reserved", "output_name", True, output_name="NUL"),
        rule("preflight.name_reserved", "output_name", True, output_name="com1.v2"),
        rule("preflight.name_reserved", "output_name", True, output_name="LPT².v2"),
        rule("preflight.name_reserved", "output_name", True, output_name="con .v2"),
        rule("preflight.name_characters", "output_name", True, output_name="cat\u202egnp"),
        rule("preflight.name_characters", "output_name", True, output_name="ca\u200bt"),
        rule("preflight.name_missing", "output_name", True, output_name="\u200b\ufeff"),
        rule("preflight.name_not_ascii", "output_name", False, output_name="👩\u200d🚀"),
        rule("preflight.name_long", "output_name", True, output_name="c" * 300),
        rule("preflight.name_not_ascii", "output_name", False, output_name="猫_ver1.0"),
        rule("preflight.logging_missing", "logging_dir", False, log_with="tensorboard"),
        rule("preflight.resolution_form", "max_resolution", True, max_resolution="large"),
        rule("preflight.resolution_small", "max_resolution", True, max_resolution="32,64"),
        rule("preflight.resolution_multiple", "max_resolution", True,
             max_resolution="500,512", enable_bucket=False),
        rule("preflight.steps_multiple", "bucket_reso_steps", True, bucket_reso_steps=10),
        rule("preflight.steps_large", "bucket_reso_steps", True, bucket_reso_steps=128),
        rule("preflight.steps_small", "bucket_reso_steps", False, bucket_reso_steps=8),
        rule("preflight.min_bucket", "min_bucket_reso", True,
             max_resolution="512", min_bucket_reso=768, bucket_no_upscale=False),
        rule("preflight.min_bucket_step", "min_bucket_reso", True,
             min_bucket_reso=8, bucket_no_upscale=False),
        rule("preflight.max_bucket", "max_bucket_reso", True,
             max_resolution="512,768", max_bucket_reso=512, bucket_no_upscale=False),
        rule("preflight.cached_color", "color_aug", True, color_aug=True),
        rule("preflight.cached_color", "color_aug", True,
             color_aug=True, cache_latents=False, cache_latents_to_disk=True),
        rule("preflight.cached_crop", "random_crop", True, random_crop=True),
        rule("preflight.pictures_small", "train_data_dir", False, max_resolution="512", enable_bucket=False),
        rule("preflight.two_text_rates", "text_encoder_lr", False, text_encoder_lr=(1e-4, 2e-5)),
        rule("preflight.rates_zero", "unet_lr", True, unet_lr=0, text_encoder_lr=0),
        rule("preflight.rates_zero", "unet_lr", True, learning_rate=0, unet_lr=None, text_encoder_lr=None),
        rule("preflight.rate_high", "unet_lr", False, unet_lr=1),
        rule("preflight.rate_high", "learning_rate", False, learning_rate=1, unet_lr=None),
        rule("preflight.rate_low", "unet_lr", False, optimizer="Prodigy", text_encoder_lr=0),
        rule("core.one_rate_only", "unet_lr", True, optimizer="Prodigy", unet_lr=1, text_encoder_lr=0.5),
        rule("core.one_rate_only", "unet_lr", True,
             optimizer="DAdaptAdam", learning_rate=0.5, unet_lr=None, text_encoder_lr=1),
        rule("preflight.one_rate_parts", "loraplus_lr_ratio", True,
             optimizer="Prodigy", unet_lr=1, text_encoder_lr=1, loraplus_lr_ratio=4),
        rule("preflight.one_rate_parts", "down_lr_weight", True,
             optimizer="Prodigy", unet_lr=1, text_encoder_lr=1, mid_lr_weight="0.5"),
        rule("preflight.relative_step", "optimizer", False, optimizer="Adafactor"),
        rule("preflight.schedule_adafactor", "lr_scheduler", True, lr_scheduler="adafactor", lr_warmup=0),
        rule("preflight.warmup_unused", "lr_warmup", False, lr_scheduler="constant"),
        rule("preflight.warmup_from_zero", "lr_warmup", True, optimizer="DAdaptSGD", **ONE_RATE),
        rule("preflight.warmup_long", "lr_warmup_steps", False, lr_warmup_steps=500),
        rule("preflight.warmup_long", "lr_warmup", False, lr_warmup=100),
        rule("preflight.alpha", "network_alpha", False, network_dim=8, network_alpha=16),
        rule("preflight.conv_alpha", "conv_alpha", False, LoRA_type="Kohya LoCon", conv_dim=2, conv_alpha=4),
        rule("preflight.dylora_conv", "conv_dim", True, LoRA_type="Kohya DyLoRA", conv_dim=4, network_dim=8),
        rule("preflight.dylora_unit", "unit", True,
             LoRA_type="Kohya DyLoRA", conv_dim=0, network_dim=8, unit=3),
        rule("preflight.dim_without_weights", "dim_from_weights", False, dim_from_weights=True),
        rule("preflight.file_not_found", "network_weights", True, network_weights="/no/lora.safetensors"),
        rule("preflight.blocks_all_zero", "down_lr_weight", False,
             down_lr_weight="zeros", mid_lr_weight="0", up_lr_weight="zeros"),
        rule("core.blocks_count", "block_dims", True, block_dims="4,4,4"),
        *(rule("core.blocks_not_a_number", "block_lr_zero_threshold", True, block_lr_zero_threshold=text)
          for text in ("abc", "0,1", "nan", "１０％")),
        rule("preflight.timesteps", "min_timestep", True, min_timestep=500, max_timestep=500),
        rule("preflight.adaptive_alone", "adaptive_noise_scale", False, adaptive_noise_scale=0.1),
        rule("preflight.v_like_with_v", "v_pred_like_loss", True,
             v_pred_like_loss=0.5, v_parameterization=True),
        rule("preflight.full_precision", "full_fp16", False, full_fp16=True, mixed_precision="bf16"),
        rule("preflight.full_precision", "full_bf16", False, full_bf16=True, mixed_precision="no"),
        rule("preflight.fp8_precision", "fp8_base", False, fp8_base=True, mixed_precision="no"),
        rule("preflight.captions_all_dropped", "caption_dropout_rate", False, caption_dropout_rate=1),
        rule("preflight.captions_all_dropped", "caption_dropout_every_n_epochs", False,
             caption_dropout_every_n_epochs=1),
        rule("preflight.sample_option", "sample_prompts", False,
             sample_prompts="a --z 1", sample_every_n_epochs=1),
        rule("preflight.sample_no_prompts", "sample_prompts", False, sample_every_n_steps=5),
        rule("preflight.sample_never", "sample_every_n_epochs", False, sample_prompts="a cat"),
        rule("preflight.sample_both", "sample_every_n_steps", False,
             sample_prompts="a", sample_every_n_epochs=1, sample_every_n_steps=5),
        rule("preflight.folder_not_found", "resume", True, resume="/no/such/state"),
        rule("preflight.batch_never_full", "train_batch_size", False, train_batch_size=64),
        rule("preflight.accumulation_long", "gradient_accumulation_steps", False,
             gradient_accumulation_steps=99),
        rule("core.argument_shape", "optimizer_args", True, optimizer_args="weight_decay"),
        rule("core.argument_unknown_near", "optimizer_args", True, optimizer_args="weight_decai=0.1"),
    ],
)  # fmt: skip
def test_rule(tmp_path, code, setting, blocks, values):
    expect(sound_settings(tmp_path, **values), code, setting=setting, blocks=blocks)


@pytest.mark.parametrize("values", [
    {"bucket_reso_steps": 10, "enable_bucket": False},
    {"max_resolution": "512,768", "max_bucket_reso": 512},
    {"color_aug": True, "cache_latents": False},
    {"output_name": "cat_ver1.0"},
    {"network_alpha": 16, "network_dim": 16},
    {"learning_rate": 0, "unet_lr": 1e-4, "text_encoder_lr": 0},
    {"learning_rate": 5, "unet_lr": 1e-4, "text_encoder_lr": 5e-5},
    {"lr_scheduler": "constant", "lr_warmup": 0},
    {"unet_lr": 1, "text_encoder_lr": 1, "optimizer": "Prodigy"},
    {"optimizer": "SGDNesterov", "unet_lr": 0.1, "text_encoder_lr": 0.1},
])  # fmt: skip
def test_what_works_is_not_complained_about(tmp_path, values):
    found = check(sound_settings(tmp_path, **values))
    assert [p.code for p in found.problems if p.blocks or p.code != "preflight.pictures_small"] == []
