"""Which tests show the effect of each setting; kept complete by tests/trainer/test_effect_tests.py."""

from __future__ import annotations

from tests.trainer.test_effects import EFFECTS

PLACE = "tests/trainer"
ELSEWHERE = {
    "network_weights": ["test_network.py::test_network_weights_are_the_start_and_stay_untouched"],
    "dim_from_weights": ["test_network.py::test_another_rank_is_told_and_dim_from_weights_takes_it"],
    "vae_batch_size": ["test_settings_in_runs.py::test_vae_batch_size_is_how_many_are_encoded_at_once"],
    "skip_cache_check": [
        "test_settings_in_runs.py::test_skip_cache_check_trusts_latents_of_a_changed_picture"
    ],
    "scale_v_pred_loss_like_noise_pred": [
        "test_settings_in_runs.py::test_scale_v_prediction_loss_weighs_a_velocity_like_noise"
    ],
    "main_process_port": ["test_processes.py::test_each_process_gets_its_number_and_a_common_place_to_meet"],
    "dynamo_mode": ["test_settings_in_runs.py::test_dynamo_settings_reach_torch_compile"],
    "dynamo_use_fullgraph": ["test_settings_in_runs.py::test_dynamo_settings_reach_torch_compile"],
    "dynamo_use_dynamic": ["test_settings_in_runs.py::test_dynamo_settings_reach_torch_compile"],
    "wandb_run_name": ["test_tracking.py::test_without_a_key_wandb_records_on_this_machine"],
    "log_tracker_name": ["test_tracking.py::test_log_tracker_name_config_and_settings_reach_tensorboard"],
    "log_config": ["test_tracking.py::test_log_tracker_name_config_and_settings_reach_tensorboard"],
    "huggingface_path_in_repo": ["test_settings_in_runs.py::test_where_and_how_files_are_uploaded"],
    "save_state_to_huggingface": ["test_settings_in_runs.py::test_where_and_how_files_are_uploaded"],
    "async_upload": ["test_settings_in_runs.py::test_where_and_how_files_are_uploaded"],
    "sdxl": ["test_checks.py::test_rule[unbuilt]"],
    "fp8_base": ["test_checks.py::test_rule[no_fp8_base]"],
    "train_inpainting": ["test_checks.py::test_rule[no_inpainting]"],
}
"""Setting -> tests, below tests/trainer, beside those of test_effects.py."""
TESTS: dict[str, list[str]] = {
    **{key: [f"{PLACE}/test_effects.py::test_the_setting_changes_what_it_should[{key}]"] for key in EFFECTS},
    **{key: [f"{PLACE}/{name}" for name in names] for key, names in ELSEWHERE.items()},
}
WITHOUT_EFFECT = {
    "xformers": "all three ways are torch's own memory-saving attention here; the help says so",
    "mem_eff_attn": "the same",
    "highvram": "memory is handled without it; the help says so",
    "lowvram": "the same; noted in the metadata only",
    "wandb_api_key": "a secret: it never stands in settings, the trainer reads it from the file of secrets",
    "huggingface_token": "the same",
    "sdxl_cache_text_encoder_outputs": "for SDXL, which is refused until it is built",
}
"""Settings that change nothing in a training, and why."""
