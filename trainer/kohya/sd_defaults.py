"""sd-scripts' options and their defaults: 0.9.1's, and what its SDXL script and version 0.11 add."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_tables = json.loads(Path(__file__).with_name("sd_scripts_defaults.json").read_text(encoding="utf-8"))
DEFAULTS: dict[str, Any] = {**_tables["train_network"], **_tables["sdxl_train_network"]}
"""Option -> value where it is not given."""
LISTS = frozenset((
    "network_args", "optimizer_args", "lr_scheduler_args", "text_encoder_lr", "base_weights",
    "base_weights_multiplier",
))  # fmt: skip
"""Options that take any number of values."""
TEXT_OPTIONS = frozenset((
    "resolution", "output_name", "caption_extension", "training_comment", "optimizer_type", "mixed_precision",
    "save_precision", "lr_scheduler", "lr_warmup_steps", "network_module", "wandb_run_name", "network_args",
    "optimizer_args", "lr_scheduler_args",
))  # fmt: skip
"""Options whose value stays text even where it looks like a number."""
