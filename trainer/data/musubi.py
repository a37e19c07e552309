"""Dataset files of musubi-tuner: sd-scripts' words, but the folder stands in the [[datasets]] itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FOLDER = "image_directory"
OWN_KEYS = {
    "cache_directory", "control_directory", "video_directory", "image_jsonl_file", "video_jsonl_file",
    "target_frames", "frame_extraction", "frame_stride", "frame_sample", "max_frames", "source_fps",
    "control_resolution", "no_resize_control", "multiple_target", "fp_latent_window_size",
    "fp_1f_clean_indices", "fp_1f_target_index", "fp_1f_no_post", "qwen_image_edit_control_resolution",
    "qwen_image_edit_no_resize_control", "flux_kontext_no_resize_control",
}  # fmt: skip
"""What such a file may say beside its folder, and sd-scripts' never do."""


def with_subset(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """A [[datasets]] with its image_directory as a subset; any other as it is."""
    folder = dataset.get(FOLDER)
    if not isinstance(folder, str) or not folder or dataset.get("subsets"):
        return dict(dataset)
    rest = {key: value for key, value in dataset.items() if key != FOLDER}
    return {**rest, "subsets": [{"image_dir": folder}]}
