"""Every setting changes what it is meant to change: the seams between the settings and the modules.

What a module does with a value is tested beside the module. Here each row turns one setting, looks at the
part of a run that must come out differently, and says how; `tests.mutation` proves that each row notices when
its setting has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from tests.trainer.looks import (
    answer,
    batches,
    built,
    curve,
    fingerprint,
    learner,
    noise_and_loss,
    planned,
    ran,
    schedule,
    told_of_captions,
)
from tests.trainer.made import picture
from tests.trainer.runs import short_settings
from trainer.settings import Settings
from trainer.training.rng import seed_everything

Look = Callable[[Settings, Path], Any]
Shows = Callable[[Any, Any], bool]
"""(seen before, seen with the setting turned) -> whether that is the effect."""


def differs(old: Any, new: Any) -> bool:
    """Something is different."""
    return fingerprint(old) != fingerprint(new)


def only(*parts: str) -> Shows:
    """These parts of what is seen are different, all others the same."""
    return lambda old, new: all(differs(old[part], new[part]) == (part in parts) for part in old)


def becomes(part: str, value: Any) -> Shows:
    """A part of what is seen has a new value: this one."""
    return lambda old, new: old[part] != new[part] == value


def times(part: str, factor: float) -> Shows:
    """A number is so many times what it was."""
    return lambda old, new: new[part] == old[part] * factor != old[part]


def other(part: str) -> Shows:
    """A part of what is seen is different; what follows from it may be too."""
    return lambda old, new: differs(old[part], new[part])


def saves_at(*steps: int) -> Shows:
    """Files are now planned for exactly these steps."""
    return lambda old, new: save_steps(new) == list(steps) != save_steps(old)


def goes(when: str) -> Shows:
    """Files of the plan go away, which stayed before."""
    return lambda old, new: any(one[when] for one in new["saves"]) > any(one[when] for one in old["saves"])


def resized(old: Any, new: Any) -> bool:
    """The same tensors have other sizes."""
    return old["sizes"].keys() == new["sizes"].keys() and old["sizes"] != new["sizes"]


def longer(part: str) -> Shows:
    """A part of what is seen has more entries."""
    return lambda old, new: len(new[part]) > len(old[part])


def shorter(part: str) -> Shows:
    """A part of what is seen has fewer entries."""
    return lambda old, new: len(new[part]) < len(old[part])


def rate_of(*groups: str, factor: float) -> Shows:
    """Exactly the parameter groups whose names begin so learn that many times as fast, or not at all."""

    def shows(old: Any, new: Any) -> bool:
        mine = {name for name in old["rates"] if name.startswith(groups)}
        wanted = {name: rate * (factor if name in mine else 1) for name, rate in old["rates"].items()}
        return bool(mine) and new["rates"] == {name: rate for name, rate in wanted.items() if rate}

    return shows


def tokens(part: str, compare: Callable[[int, int], bool]) -> Shows:
    """The UNet is told more, or fewer, tokens of a caption."""
    return lambda old, new: compare(new[part].shape[1], old[part].shape[1])


def save_steps(plan: Any) -> list[int]:
    """Steps after which a file is saved."""
    return [one["step"] for one in plan["saves"]]


def sides(plan: Any) -> list[int]:
    """Widths and heights of the buckets."""
    return [side for bucket in plan["buckets"] for side in (bucket["width"], bucket["height"])]


def areas(plan: Any) -> list[int]:
    """Pixels of each bucket."""
    return [bucket["width"] * bucket["height"] for bucket in plan["buckets"]]


def words(text: str) -> list[str]:
    """The parts of a caption, sorted."""
    return sorted(text.split(", "))


def in_front(captions: Iterable[str]) -> set[str]:
    """The first three parts of the captions that have so many."""
    return {", ".join(text.split(", ")[:3]) for text in captions if text.count(", ") > 2}


def rises(rates: list[float]) -> int:
    """At how many steps the rate is higher than before."""
    return sum(rate > before for before, rate in pairwise(rates))


def offsets(noise: torch.Tensor) -> float:
    """How far the channels are from a mean of 0."""
    return float(noise.mean(dim=(2, 3)).abs().mean())


@dataclass(frozen=True)
class Row:
    """One setting turned from its place in `base`, where that shows, and how."""

    effect: str
    """In words; the test's name."""
    look: Look
    value: Any
    base: Mapping[str, Any] = field(default_factory=dict)
    shows: Shows = differs


SEVERAL = {"train_data_dir": "<pictures>", "max_resolution": "128,128"}
ENLARGED = {**SEVERAL, "bucket_no_upscale": False}
UNCACHED = {**SEVERAL, "cache_latents": False, "train_batch_size": 1}
ONE = {"max_train_steps": 1}
TWO = {"max_train_steps": 2}
BY_EPOCH = {"max_train_steps": 0}
EVERY_STEP = {"save_every_n_steps": 1, "max_train_steps": 6}
EVERY_EPOCH = {"save_every_n_epochs": 1, "max_train_epochs": 4}
SAMPLES = {"sample_prompts": "sks mascot --w 64 --h 64 --s 2 --d 1", "sample_every_n_steps": 1}
LYCORIS = {"LoRA_type": "LyCORIS/LoKr", "network_dim": 2, "conv_dim": 2, "factor": 4}
LOHA = {**LYCORIS, "LoRA_type": "LyCORIS/LoHa"}
OFT = {**LYCORIS, "LoRA_type": "LyCORIS/Diag-OFT"}
CONV = {"LoRA_type": "Kohya LoCon", "conv_dim": 2}
MULTIRES = {"noise_offset_type": "Multires", "multires_noise_iterations": 4}
HUBER = {"loss_type": "smooth_l1"}
LINEAR, POLYNOMIAL = {"lr_scheduler": "linear"}, {"lr_scheduler": "polynomial"}
HALVES, TWOS = ",".join(["0.5"] * 12), ",".join(["2"] * 25)
EVEN = {"down_lr_weight": ",".join(["1"] * 12)}
"""A group for each block of the UNet, all with the same rate."""

EFFECTS: dict[str, Row] = {
    # which model
    "v_parameterization": Row(
        "v_parameterization_makes_the_velocity_the_target", noise_and_loss, True, {}, only("loss")),
    "sdxl_no_half_vae": Row(
        "no_half_vae_keeps_the_vae_in_full_precision", built, True,
        {"mixed_precision": "bf16", "cache_latents": False}, becomes("vae", torch.float32)),
    # folders
    "train_data_dir": Row("image_folder_is_what_is_learned", planned, "<pictures>", {}, becomes("images", 5)),
    "reg_data_dir": Row(
        "regularisation_pictures_double_the_epoch", planned, "<other>", {}, times("batches_per_epoch", 2)),
    "dataset_config": Row(
        "dataset_file_says_pictures_and_repeats", planned, "<config>", {},
        lambda _, new: [(part["pictures"], part["repeats"]) for part in new["folders"]] == [(1, 5)]),
    "output_name": Row(
        "output_name_is_the_files_name", planned, "cats", {}, becomes("final_name", "cats.safetensors")),
    # the LoRA
    "LoRA_type": Row("another_lora_type_has_other_layers", learner, "Kohya LoCon", {}, longer("sizes")),
    "LyCORIS_preset": Row("lycoris_preset_chooses_the_layers", learner, "attn-only", LOHA, shorter("sizes")),
    "network_dim": Row("network_rank_is_the_size_of_each_layer", learner, 2, {}, becomes("ranks", {2})),
    "network_alpha": Row("network_alpha_stands_beside_each_layer", learner, 2, {}, becomes("alphas", {2})),
    "conv_dim": Row(
        "convolution_rank_sizes_the_convolutions", learner, 3, {"LoRA_type": "Kohya LoCon"},
        becomes("ranks", {3, 4})),
    "conv_alpha": Row(
        "convolution_alpha_is_that_of_the_convolutions", learner, 0.5, CONV, becomes("alphas", {4, 0.5})),
    "unit": Row(
        "dylora_unit_is_how_many_ranks_learn_at_once", answer, 2,
        {"LoRA_type": "Kohya DyLoRA", "conv_dim": 0, "network_dim": 4}),
    "factor": Row(
        "lokr_factor_sizes_the_blocks", learner, 4, {**LYCORIS, "factor": -1},
        resized),
    "decompose_both": Row(
        "decompose_both_splits_the_small_factor_too", learner, True, {**LYCORIS, "network_dim": 1},
        longer("sizes")),
    "use_cp": Row("cp_decomposition_gives_convolutions_a_core", learner, True, LYCORIS, longer("sizes")),
    "use_tucker": Row("tucker_decomposition_gives_convolutions_a_core", learner, True, LOHA, longer("sizes")),
    "use_scalar": Row(
        "use_scalar_learns_one_more_number_per_layer", learner, True, LOHA,
        lambda old, new: new["weights"]["unet"] > old["weights"]["unet"]),
    "dora_wd": Row("dora_learns_lengths_of_their_own", learner, True, LOHA, longer("sizes")),
    "train_norm": Row("train_norm_adds_the_normalisations", learner, True, LOHA, longer("sizes")),
    "bypass_mode": Row(
        "bypass_drops_ranks_instead_of_outputs", answer, True,
        {**LYCORIS, "LoRA_type": "LyCORIS/LoCon", "rank_dropout": 0.5}),
    "rank_dropout_scale": Row(
        "rank_dropout_scale_strengthens_what_stays", answer, True, {**LOHA, "rank_dropout": 0.5}),
    "constrain": Row("constrain_limits_how_far_oft_turns", answer, 0.01, OFT),
    "rescaled": Row("rescaled_oft_learns_a_size_too", learner, True, OFT, longer("sizes")),
    "train_on_input": Row(
        "ia3_trains_on_the_output_instead", learner, False, {**LYCORIS, "LoRA_type": "LyCORIS/iA3"}, resized),
    "network_dropout": Row("network_dropout_thins_what_is_learned_from", answer, 0.5),
    "rank_dropout": Row("rank_dropout_leaves_out_ranks", answer, 0.5),
    "module_dropout": Row("module_dropout_leaves_out_modules", answer, 0.5),
    "scale_weight_norms": Row(
        "scale_weight_norms_shrinks_the_weights", ran, 0.001, TWO,
        lambda old, new: new["moved"] < old["moved"] / 2),
    "down_lr_weight": Row(
        "down_weights_are_the_rates_of_the_in_blocks", learner, HALVES, EVEN, rate_of("unet IN", factor=0.5)),
    "mid_lr_weight": Row(
        "mid_weight_is_the_rate_of_the_middle", learner, "0.5", EVEN, rate_of("unet MID", factor=0.5)),
    "up_lr_weight": Row(
        "up_weights_are_the_rates_of_the_out_blocks", learner, HALVES, EVEN, rate_of("unet OUT", factor=0.5)),
    "block_lr_zero_threshold": Row(
        "blocks_below_the_threshold_are_left_out", learner, "0.5", {**EVEN, "mid_lr_weight": "0.5"},
        rate_of("unet MID", factor=0)),
    "block_dims": Row("block_dims_are_the_ranks_of_the_blocks", learner, TWOS, {}, becomes("ranks", {2, 4})),
    "block_alphas": Row(
        "block_alphas_are_the_alphas_of_the_blocks", learner, TWOS, {}, becomes("alphas", {2, 4})),
    "conv_block_dims": Row("conv_dims_add_the_convolutions", learner, TWOS, {}, longer("sizes")),
    "conv_block_alphas": Row(
        "conv_alphas_are_those_of_the_convolutions", learner, TWOS, {"conv_block_dims": TWOS},
        lambda old, new: 2 in new["alphas"] - old["alphas"]),
    # length
    "train_batch_size": Row(
        "batches_of_three_are_fewer_than_of_two", planned, 3, {}, becomes("batches_per_epoch", 40)),
    "epoch": Row("two_epochs_double_the_steps", planned, 2, BY_EPOCH, times("total_steps", 2)),
    "max_train_epochs": Row("max_train_epoch_says_the_length", planned, 2, {}, becomes("total_steps", 120)),
    "max_train_steps": Row("max_train_steps_says_the_length", planned, 7, {}, becomes("total_steps", 7)),
    "gradient_accumulation_steps": Row(
        "accumulating_two_batches_halves_the_steps", planned, 2, BY_EPOCH, times("total_steps", 0.5)),
    # captions
    "caption_extension": Row(
        "caption_extension_chooses_the_files", batches, ".caption", SEVERAL,
        lambda old, new: "other words" in str(new["captions"]) and "other words" not in str(old["captions"])),
    "shuffle_caption": Row(
        "shuffle_caption_mixes_the_parts_and_loses_none", batches, True, SEVERAL,
        lambda old, new: old["captions"] != new["captions"]
        and list(map(words, old["captions"])) == list(map(words, new["captions"]))),
    "keep_tokens": Row(
        "keep_tokens_stay_in_front", batches, 3, {**SEVERAL, "shuffle_caption": True},
        lambda old, new: in_front(new["captions"]) == {"one, two, three"} != in_front(old["captions"])
        and len(set(new["captions"])) > 2),
    "clip_skip": Row(
        "clip_skip_takes_an_earlier_layer", told_of_captions, 2, {},
        lambda old, new: differs(old, new) and old["short"].shape == new["short"].shape),
    "max_token_length": Row(
        "longer_captions_are_read_to_their_end", told_of_captions, 150, {},
        tokens("long", lambda new, old: new > old)),
    "no_token_padding": Row(
        "short_captions_stay_short_without_padding", told_of_captions, True, {},
        tokens("short", lambda new, old: new < old)),
    "weighted_captions": Row("brackets_weigh_words", told_of_captions, True, {}, only("short")),
    "caption_dropout_every_n_epochs": Row(
        "every_second_epoch_has_no_captions", batches, 2, SEVERAL,
        lambda _, new: [any(epoch) for epoch in new["epochs"]] == [True, False, True, False]),
    "caption_dropout_rate": Row(
        "some_captions_are_dropped", batches, 0.5, SEVERAL,
        lambda old, new: all(old["captions"]) and 0 < new["captions"].count("") < len(new["captions"])),
    # pictures
    "max_resolution": Row(
        "pictures_are_learned_larger", planned, "128,128", {"train_data_dir": "<pictures>"},
        lambda old, new: max(areas(old)) == 64 * 64 < max(areas(new)) == 128 * 128),
    "enable_bucket": Row(
        "without_buckets_there_is_one_size", planned, False, SEVERAL,
        lambda old, new: areas(new) == [128 * 128] != areas(old)),
    "min_bucket_reso": Row(
        "no_side_is_shorter_than_the_minimum", planned, 128, ENLARGED,
        lambda old, new: min(sides(new)) == 128 > min(sides(old))),
    "max_bucket_reso": Row(
        "no_side_is_longer_than_the_maximum", planned, 128, ENLARGED,
        lambda old, new: max(sides(new)) == 128 < max(sides(old))),
    "bucket_no_upscale": Row(
        "small_pictures_are_enlarged", planned, False, SEVERAL,
        lambda old, new: min(areas(new)) > min(areas(old))),
    "bucket_reso_steps": Row(
        "sides_are_multiples_of_the_bucket_steps", planned, 32, SEVERAL,
        lambda old, new: not any(side % 64 for side in sides(old))
        and {side % 64 for side in sides(new)} == {0, 32}),
    "cache_latents": Row("without_cache_latents_none_are_kept", built, False, {}, becomes("cached", False)),
    "cache_latents_to_disk": Row(
        "cache_latents_to_disk_leaves_files", built, True, {},
        lambda old, new: old["on_disk"] == 0 < new["on_disk"]),
    "color_aug": Row(
        "color_augmentation_changes_the_same_picture_each_time", batches, True, UNCACHED,
        lambda old, new: new["pixels"] > old["pixels"]),
    "flip_aug": Row(
        "flip_augmentation_mirrors_some_pictures", batches, True, UNCACHED,
        lambda old, new: not any(old["flipped"]) and set(new["flipped"]) == {True, False}),
    "random_crop": Row(
        "random_crop_gives_different_windows", batches, True, UNCACHED,
        lambda old, new: new["pixels"] > old["pixels"]),
    "masked_loss": Row(
        "masked_loss_leaves_out_see_through_parts", batches, True, UNCACHED,
        lambda old, new: not old["masks"] and {float(mask.min()) for mask in new["masks"]} == {0, 1}),
    # rates
    "learning_rate": Row(
        "learning_rate_counts_where_unet_rate_is_blank", learner, 0.5, {"unet_lr": None},
        becomes("rates", {"text_encoder": 1e-3, "unet": 0.5})),
    "unet_lr": Row("unet_rate_is_the_unets", learner, 0.5, {}, rate_of("unet", factor=500)),
    "text_encoder_lr": Row(
        "text_encoder_rate_is_the_text_encoders", learner, 0.5, {}, rate_of("text_encoder", factor=500)),
    "optimizer": Row("optimizer_is_the_one_chosen", learner, "Lion", {}, becomes("optimizer", "Lion")),
    "optimizer_args": Row(
        "extra_arguments_reach_the_optimizer", learner, "weight_decay=0.5", {},
        lambda old, new: old["defaults"] != new["defaults"] == {**old["defaults"], "weight_decay": 0.5}),
    "loraplus_lr_ratio": Row(
        "lora_plus_lets_all_ups_learn_faster", learner, 4, {},
        becomes("rates", {"text_encoder": 1e-3, "text_encoder up": 4e-3, "unet": 1e-3, "unet up": 4e-3})),
    "loraplus_unet_lr_ratio": Row(
        "lora_plus_lets_the_unets_ups_learn_faster", learner, 4, {},
        becomes("rates", {"text_encoder": 1e-3, "unet": 1e-3, "unet up": 4e-3})),
    "loraplus_text_encoder_lr_ratio": Row(
        "lora_plus_lets_the_text_encoders_ups_learn_faster", learner, 4, {},
        becomes("rates", {"text_encoder": 1e-3, "text_encoder up": 4e-3, "unet": 1e-3})),
    "lr_scheduler": Row(
        "linear_schedule_falls_from_the_first_step", curve, "linear", {"lr_warmup": 0},
        lambda old, new: rises(old) == rises(new) == 0 and new[-1] < old[-1] == old[0]),
    "lr_warmup": Row(
        "rate_rises_over_the_warmup_percent", curve, 50, LINEAR, lambda _, new: rises(new) == 20),
    "lr_warmup_steps": Row(
        "rate_rises_over_the_warmup_steps", curve, 7, LINEAR, lambda _, new: rises(new) == 7),
    "lr_scheduler_num_cycles": Row(
        "each_cycle_starts_the_rate_anew", curve, 3, POLYNOMIAL,
        lambda old, new: rises(new) == rises(old) + 2),
    "lr_scheduler_power": Row(
        "polynomial_of_power_2_falls_faster", curve, 2, POLYNOMIAL, lambda old, new: new[20] < old[20]),
    "lr_scheduler_type": Row(
        "scheduler_type_goes_before_the_schedule", curve, "CosineAnnealingLR", {},
        lambda old, new: new[-1] < old[-1]),
    "lr_scheduler_args": Row(
        "schedule_arguments_hold_the_rate_at_half", curve, "min_lr_ratio=0.5",
        {"lr_scheduler": "cosine_with_min_lr"},
        lambda old, new: old[-1] < 0.5 <= new[-1] < 0.51),
    "max_grad_norm": Row(
        "max_grad_norm_shortens_the_steps", ran, 0.0001, {**TWO, "optimizer": "SGDNesterov"},
        lambda old, new: new["moved"] < old["moved"] / 2),
    "stop_text_encoder_training": Row(
        "text_encoder_no_longer_changes_after_half", ran, 50, TWO,
        lambda old, new: old["losses"] == new["losses"]
        and differs(old["text_encoder"], new["text_encoder"]) and not differs(old["unet"], new["unet"])),
    # noise and loss
    "noise_offset_type": Row(
        "multires_noise_instead_of_an_offset", noise_and_loss, "Multires",
        {"multires_noise_iterations": 4}, other("noise")),
    "noise_offset": Row(
        "noise_offset_shifts_whole_channels", noise_and_loss, 0.3, {},
        lambda old, new: differs(old["noise"], new["noise"])
        and (new["noise"] - old["noise"]).std(dim=(2, 3)).max() < 1e-6),
    "noise_offset_random_strength": Row(
        "noise_offset_of_random_strength", noise_and_loss, True, {"noise_offset": 0.3}, other("noise")),
    "adaptive_noise_scale": Row(
        "bright_latents_get_a_larger_offset", noise_and_loss, 0.5, {"noise_offset": 0.3},
        lambda old, new: offsets(new["noise"]) > offsets(old["noise"])),
    "multires_noise_iterations": Row(
        "multires_iterations_add_coarse_noise", noise_and_loss, 4, {"noise_offset_type": "Multires"},
        other("noise")),
    "multires_noise_discount": Row(
        "multires_discount_weighs_the_coarse_noise", noise_and_loss, 0.9, MULTIRES, other("noise")),
    "ip_noise_gamma": Row("ip_noise_disturbs_the_input_only", noise_and_loss, 0.5, {}, only("loss")),
    "ip_noise_gamma_random_strength": Row(
        "ip_noise_of_random_strength", noise_and_loss, True, {"ip_noise_gamma": 0.5}, only("loss")),
    "min_timestep": Row(
        "no_timestep_below_the_minimum", noise_and_loss, 900, {},
        lambda old, new: old["timesteps"].min() < 900 <= new["timesteps"].min()),
    "max_timestep": Row(
        "no_timestep_above_the_maximum", noise_and_loss, 100, {},
        lambda old, new: old["timesteps"].max() >= 100 > new["timesteps"].max()),
    "zero_terminal_snr": Row(
        "nothing_of_the_picture_is_left_at_the_end", schedule, True, {},
        lambda old, new: new[-1] < 1e-6 < old[-1]),
    "prior_loss_weight": Row(
        "regularisation_pictures_weigh_the_prior_loss_weight", batches, 0.25,
        {"reg_data_dir": "<other>", **SEVERAL, "train_batch_size": 9}, becomes("loss_weights", {1, 0.25})),
    "min_snr_gamma": Row(
        "min_snr_lowers_the_weight_of_easy_timesteps", noise_and_loss, 0.1, {},
        lambda old, new: new["loss"] < old["loss"]),
    "loss_type": Row("l1_scores_another_way", noise_and_loss, "l1", {}, only("loss")),
    "huber_schedule": Row(
        "huber_schedule_says_the_threshold", noise_and_loss, "constant", HUBER, only("loss")),
    "huber_c": Row("huber_c_is_the_threshold", noise_and_loss, 0.5, HUBER, only("loss")),
    "huber_scale": Row(
        "huber_scale_stretches_the_threshold", noise_and_loss, 2, {**HUBER, "huber_schedule": "constant"},
        only("loss")),
    "debiased_estimation_loss": Row(
        "debiased_estimation_weighs_the_timesteps", noise_and_loss, True, {}, only("loss")),
    "v_pred_like_loss": Row(
        "v_pred_like_loss_adds_weight", noise_and_loss, 0.5, {},
        lambda old, new: only("loss")(old, new) and new["loss"] > old["loss"]),
    # machine
    "mixed_precision": Row(
        "mixed_precision_is_the_models_format", built, "bf16", {}, becomes("unet", torch.bfloat16)),
    "num_cpu_threads_per_process": Row(
        "torch_works_with_that_many_threads", built, 2, {}, becomes("threads", 2)),
    "gradient_checkpointing": Row(
        "gradient_checkpointing_is_on_in_the_unet", built, True, {}, becomes("checkpointing", True)),
    "full_fp16": Row("full_fp16_learns_in_fp16", learner, True, {}, becomes("dtype", torch.float16)),
    "full_bf16": Row("full_bf16_learns_in_bf16", learner, True, {}, becomes("dtype", torch.bfloat16)),
    "num_processes": Row(
        "two_processes_halve_the_steps", planned, 2, BY_EPOCH, times("total_steps", 0.5)),
    "extra_accelerate_launch_args": Row(
        "launch_arguments_count_like_their_settings", planned, "--num_processes 2", BY_EPOCH,
        times("total_steps", 0.5)),
    # files
    "save_model_as": Row(
        "file_is_of_the_kind_chosen", planned, "ckpt", {}, becomes("final_name", "mascot.ckpt")),
    "save_precision": Row(
        "weights_are_saved_in_that_precision", ran, "bf16", ONE, becomes("dtype", torch.bfloat16)),
    "save_every_n_epochs": Row(
        "a_file_after_every_epoch", planned, 1, {"max_train_epochs": 3}, saves_at(60, 120, 180)),
    "save_every_n_steps": Row(
        "a_file_after_every_step", planned, 1, {}, saves_at(1, 2, 3)),
    "save_last_n_steps": Row(
        "older_files_go_by_steps", planned, 1, EVERY_STEP, goes("gone_at")),
    "save_last_n_steps_state": Row(
        "older_states_go_by_steps", planned, 1, EVERY_STEP, goes("state_gone_at")),
    "save_last_n_epochs": Row(
        "older_files_go_by_epochs", planned, 1, EVERY_EPOCH, goes("gone_at")),
    "save_last_n_epochs_state": Row(
        "older_states_go_by_epochs", planned, 1, EVERY_EPOCH, goes("state_gone_at")),
    "save_state": Row(
        "a_state_lies_beside_every_file", ran, True, {**TWO, "save_every_n_steps": 1},
        lambda old, new: new["files"] - old["files"] == {"mascot-step00000001-state", "mascot-state"}),
    "save_state_on_train_end": Row(
        "a_state_lies_beside_the_final_file", ran, True, ONE,
        lambda old, new: new["files"] - old["files"] == {"mascot-state"}),
    "safety_state_minutes": Row(
        "safety_state_is_written_that_often", built, 3.0, {}, becomes("safety_seconds", 180)),
    # samples and records
    "sample_every_n_steps": Row(
        "samples_after_every_step", planned, 1, {"sample_prompts": "a cat"},
        becomes("sample_steps", (1, 2, 3))),
    "sample_every_n_epochs": Row(
        "samples_after_every_epoch", planned, 1, {"sample_prompts": "a cat", "max_train_epochs": 2},
        becomes("sample_steps", (60, 120))),
    "sample_at_first": Row(
        "samples_before_the_first_step", planned, True, {"sample_prompts": "a cat"},
        becomes("sample_steps", (0,))),
    "sample_prompts": Row(
        "each_prompt_gives_a_sample", planned, "a cat\na dog", {"sample_every_n_steps": 1},
        becomes("samples", 2)),
    "sample_sampler": Row(
        "another_sampler_draws_another_picture", ran, "ddim", {**ONE, **SAMPLES}, only("samples")),
    "additional_parameters": Row(
        "additional_parameters_have_the_last_word", planned, "--max_train_steps 9", {},
        becomes("total_steps", 9)),
}  # fmt: skip


def small_pictures(root: Path) -> str:
    """Pictures of several sizes, one of them half see-through, with captions of several parts."""
    sizes = {"a": (160, 64), "b": (64, 128), "c": (96, 96), "d": (200, 200)}
    for name, size in sizes.items():
        path = picture(root / "2_sks cat" / f"{name}.png", size)
        path.with_suffix(".txt").write_text("one, two, three, four, five", encoding="utf-8")
        path.with_suffix(".caption").write_text(f"other words {name}", encoding="utf-8")
    layer = Image.new("RGBA", (96, 96), (200, 50, 50, 255))
    layer.paste((0, 0, 0, 0), (0, 0, 48, 96))
    layer.save(root / "2_sks cat" / "e.png")
    return str(root)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Words in a row that stand for things on disk."""
    folder = tmp_path_factory.mktemp("places")
    picture(folder / "other" / "3_dog" / "x.png")
    config = folder / "data.toml"
    config.write_text(
        f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = {str(folder / 'other' / '3_dog')!r}\n"
        "num_repeats = 5\n",
        encoding="utf-8",
    )
    pictures = small_pictures(folder / "img")
    return {"<pictures>": pictures, "<other>": str(folder / "other"), "<config>": str(config)}


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """What was seen without a turned setting: the same for many rows."""
    return {}


@pytest.fixture
def see(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Look, Mapping[str, Any]], Any]]:
    """Look at a run with these settings, in a folder of its own."""
    threads = torch.get_num_threads()

    def seen(look: Look, values: Mapping[str, Any]) -> Any:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(folder / "work"))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        named = {key: places[value] for key, value in values.items() if value in places}
        seed_everything(1)
        AcceleratorState._reset_state(reset_partial_state=True)  # one number format per process otherwise
        return look(short_settings(folder, **{**values, **named}), folder)

    yield seen
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("key", [pytest.param(key, id=row.effect) for key, row in EFFECTS.items()])
def test_effect(key: str, see: Callable[[Look, Mapping[str, Any]], Any], known: dict[str, Any]) -> None:
    row = EFFECTS[key]
    before = f"{row.look.__name__} {sorted(row.base.items())}"
    if before not in known:
        known[before] = see(row.look, row.base)
    assert row.shows(known[before], see(row.look, {**row.base, key: row.value}))
