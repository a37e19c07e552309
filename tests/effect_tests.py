"""Which test shows the effect of each setting; kept complete by tests/trainer/test_effect_tests.py."""

from __future__ import annotations

from tests.trainer.test_effects import EFFECTS

PLACE = "tests/trainer"
METADATA = "training/test_metadata.py::test_what_the_person_wrote_is_in_it"
COMPILED = "test_settings_in_runs.py::test_dynamo_settings_reach_torch_compile"
UPLOADED = "test_settings_in_runs.py::test_where_and_how_files_are_uploaded"
TRACKER = "jobs/test_tracking.py::test_log_tracker_name_config_and_settings_reach_tensorboard"
RESUMED = "jobs/test_run.py::test_resume_goes_on_at_the_step_of_the_state"
WORKERS = "test_settings_in_runs.py::test_workers_read_ahead_and_live_on_over_epochs"
JUDGED = "training/test_judging.py::"
ELSEWHERE = {
    "pretrained_model_name_or_path": (
        "training/test_source_model.py::test_the_model_named_is_the_one_that_learns"
    ),
    "model_list": "training/test_source_model.py::test_model_quick_pick_goes_before_the_path",
    "v2": (
        "training/test_source_model.py::test_v2_reads_the_second_text_encoder_up_to_its_penultimate_layer"
    ),
    "vae": "training/test_source_model.py::test_a_separate_vae_makes_the_latents",
    "output_dir": "jobs/test_run.py::test_a_run_tells_every_step_and_ends_with_the_file",
    "seed": "jobs/test_run.py::test_same_seed_gives_the_same_weights_and_another_seed_others",
    "resume": RESUMED,
    "validation_split": f"{JUDGED}test_pictures_kept_back_are_not_learned",
    "validation_seed": "data/test_held_out.py::test_the_seed_chooses_whatever_the_order",
    "validate_every_n_steps": "judge/test_points.py::test_when_a_run_is_judged",
    "validate_every_n_epochs": "judge/test_points.py::test_when_a_run_is_judged",
    "max_validation_steps": "judge/test_points.py::test_max_validation_steps_limits_the_pictures",
    "stop_at_best": f"{JUDGED}test_a_run_that_gets_no_better_stops_where_that_is_asked_for",
    "resume_from_huggingface": RESUMED,
    "logging_dir": "jobs/test_tracking.py::test_logging_folder_gets_a_curve_of_loss_and_rates",
    "log_with": "jobs/test_tracking.py::test_tensorboard_is_left_out_where_only_wandb_is_asked_for",
    "training_comment": METADATA,
    **{f"metadata_{name}": METADATA for name in ("title", "author", "description", "license", "tags")},
    "num_machines": (
        "distributed/test_processes.py::test_each_process_gets_its_number_and_a_common_place_to_meet"
    ),
    "gpu_ids": "distributed/test_processes.py::test_gpu_ids_are_the_only_gpus_that_the_run_sees",
    "multi_gpu": "distributed/test_processes.py::test_multi_gpu_with_one_process_is_pointed_out",
    "network_weights": "network/test_network.py::test_network_weights_are_the_start_and_stay_untouched",
    "dim_from_weights": "network/test_network.py::test_another_rank_is_told_and_dim_from_weights_takes_it",
    "max_data_loader_n_workers": WORKERS,
    "persistent_data_loader_workers": WORKERS,
    "vae_batch_size": "test_settings_in_runs.py::test_vae_batch_size_is_how_many_are_encoded_at_once",
    "skip_cache_check": "test_settings_in_runs.py::test_skip_cache_check_trusts_latents_of_a_changed_picture",
    "scale_v_pred_loss_like_noise_pred": (
        "test_settings_in_runs.py::test_scale_v_prediction_loss_weighs_a_velocity_like_noise"
    ),
    "main_process_port": (
        "distributed/test_processes.py::test_each_process_gets_its_number_and_a_common_place_to_meet"
    ),
    **{f"dynamo_{name}": COMPILED for name in ("backend", "mode", "use_fullgraph", "use_dynamic")},
    "dynamo_repeated_blocks": (
        "test_settings_in_runs.py::test_dynamo_compiles_repeated_blocks_alone_and_tells_how_long"
    ),
    "wandb_run_name": "jobs/test_tracking.py::test_without_a_key_wandb_records_on_this_machine",
    "log_tracker_name": TRACKER,
    "log_tracker_config": TRACKER,
    "log_config": TRACKER,
    **{f"huggingface_{name}": UPLOADED for name in ("repo_id", "repo_type", "repo_visibility")},
    "huggingface_path_in_repo": UPLOADED,
    "save_state_to_huggingface": UPLOADED,
    "async_upload": UPLOADED,
    "sdxl": "jobs/test_sdxl_runs.py::test_the_lora_is_the_references_and_diffusers_reads_it",
    "sdxl_cache_text_encoder_outputs": (
        "jobs/test_sdxl_runs.py::test_cached_text_encoder_outputs_are_found_by_the_next_run"
    ),
    **dict.fromkeys(
        ("fp8_base", "fp8_base_format"),
        "jobs/test_sdxl_runs.py::test_fp8_base_keeps_the_denoisers_weights_in_8_bits",
    ),
    "base_in_16_bits": (
        "test_settings_in_runs.py::test_a_base_in_16_bits_is_half_as_large_and_learns_the_same"
    ),
    "checkpointing_keeps_attention": (
        "models/test_checkpointing.py::test_the_run_is_built_so_that_attention_is_kept"
    ),
    "allow_tf32": "test_settings_in_runs.py::test_tf32_is_allowed_where_it_is_asked_for",
    "train_inpainting": "preflight/test_checks.py::test_rule[no_inpainting]",
}
"""Setting -> test, below tests/trainer, beside those of test_effects.py."""
TESTS: dict[str, str] = {
    **{key: f"{PLACE}/test_effects.py::test_effect[{row.effect}]" for key, row in EFFECTS.items()},
    **{key: f"{PLACE}/{name}" for key, name in ELSEWHERE.items()},
}
WITHOUT_EFFECT = {
    "xformers": "all three ways are torch's own memory-saving attention here; the help says so",
    "mem_eff_attn": "the same",
    "highvram": "memory is handled without it; the help says so",
    "lowvram": "the same; noted in the metadata only",
    "wandb_api_key": "a secret: it never stands in settings, the trainer reads it from the file of secrets",
    "huggingface_token": "the same",
}
"""Settings that change nothing in a training, and why."""
