"""Settings of other programs: named by their marks, plain ones converted, every other key listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import UserError
from trainer.kohya import read, read_text, report_lines

ONETRAINER = {
    "__version": 6, "training_method": "LORA", "model_type": "STABLE_DIFFUSION_XL_10_BASE",
    "base_model_name": "m.safetensors", "output_model_destination": "out/momo.safetensors",
    "output_dtype": "BFLOAT_16", "train_dtype": "FLOAT_16", "learning_rate": 0.0002, "epochs": 12,
    "batch_size": 3, "lora_rank": 24, "lora_alpha": 12.0, "resolution": "768",
    "learning_rate_scheduler": "COSINE", "optimizer": {"optimizer": "PRODIGY", "d_coef": 2},
    "text_encoder": {"train": False}, "some_new_key": 5,
}  # fmt: skip
LORA_EASY = """
[[subsets]]
image_dir = "/img/cat"
num_repeats = 3
[train_mode]
train_mode = "lora"
[general_args.args]
pretrained_model_name_or_path = "m.safetensors"
max_train_epochs = 12
mixed_precision = "fp16"
some_new_key = 5
[general_args.dataset_args]
resolution = 768
batch_size = 3
[network_args.args]
network_dim = 24
network_alpha = 12.0
[optimizer_args.args]
optimizer_type = "Prodigy"
lr_scheduler = "cosine"
learning_rate = 0.0002
[optimizer_args.args.optimizer_args]
d_coef = "2"
[saving_args.args]
output_dir = "out"
output_name = "momo"
save_precision = "bf16"
"""
AI_TOOLKIT = """
job: extension
config:
  name: momo
  process:
    - type: sd_trainer
      training_folder: out
      network: {type: lora, linear: 24, linear_alpha: 12}
      save: {dtype: bf16, save_every: 250}
      datasets:
        - folder_path: /img/cat
          caption_ext: txt
          resolution: [768, 1024]
      train:
        batch_size: 3
        steps: 1200
        lr: 2e-4
        optimizer: prodigy
        lr_scheduler: cosine
        dtype: fp16
        some_new_key: 5
      model: {name_or_path: m.safetensors, is_xl: true}
"""
SIMPLETUNER = {
    "--model_type": "lora", "--model_family": "sdxl", "--lora_rank": 24, "--lora_alpha": 12,
    "--learning_rate": 2e-4, "--num_train_epochs": 12, "--max_train_steps": 0, "--train_batch_size": 3,
    "--resolution": 768, "--resolution_type": "pixel", "--output_dir": "out", "--optimizer": "prodigy",
    "--pretrained_model_name_or_path": "m.safetensors", "--lr_scheduler": "cosine",
    "--mixed_precision": "fp16", "--data_backend_config": "backend.json", "--some_new_key": 5,
}  # fmt: skip
FILES = {
    "onetrainer": json.dumps(ONETRAINER), "lora_easy": LORA_EASY, "ai_toolkit": AI_TOOLKIT,
    "simpletuner": json.dumps(SIMPLETUNER),
}  # fmt: skip
NAMES = {
    "onetrainer": "OneTrainer", "lora_easy": "LoRA_Easy_Training_Scripts", "ai_toolkit": "ai-toolkit",
    "simpletuner": "SimpleTuner",
}  # fmt: skip
WANTED: dict[str, Any] = {
    "network_dim": 24, "network_alpha": 12, "learning_rate": 2e-4, "train_batch_size": 3,
    "max_resolution": "768", "pretrained_model_name_or_path": "m.safetensors", "optimizer": "Prodigy",
    "lr_scheduler": "cosine", "mixed_precision": "fp16", "output_dir": "out",
}  # fmt: skip


@pytest.mark.parametrize("program", FILES)
def test_what_is_plainly_the_same_is_converted(program):
    imported = read_text(FILES[program])
    assert imported.report.source == program
    assert {key: imported.settings.get(key) for key in WANTED} == WANTED
    length = imported.settings.length
    assert (length.max_train_epochs, length.max_train_steps)[program == "ai_toolkit"] in (12, 1200)
    assert imported.settings.model.sdxl == (program != "lora_easy")


@pytest.mark.parametrize("program", FILES)
def test_the_program_is_named_and_the_rest_is_listed_first(program):
    report = read_text(FILES[program]).report
    lines = report_lines(report)
    assert NAMES[program] in lines[0]
    assert any(entry.key.endswith("some_new_key") for entry in report.attention)
    title = lines.index("Please look at these:")
    assert any("some_new_key" in line for line in lines[title : title + 60])


def test_a_file_is_told_by_its_content_whatever_its_name(tmp_path: Path):
    for name in ("a.yaml", "a.yml", "a.txt"):
        (tmp_path / name).write_text(AI_TOOLKIT, encoding="utf-8")
        assert read(tmp_path / name).report.source == "ai_toolkit"


@pytest.mark.parametrize("text", [
    "job: !!python/object/apply:os.system ['true']\nconfig: {process: []}",
    "job: [unclosed",
    "a0: &a0 [1,1]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n},*a{n}]\n" for n in range(20)),
    "job: " + "[" * 500 + "]" * 500,
])  # fmt: skip
def test_yaml_from_strangers_is_refused_in_a_sentence(tmp_path: Path, text: str):
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        read(tmp_path / "a.yaml")


def test_a_json_of_which_almost_nothing_is_known_is_not_called_kohya_ss():
    imported = read_text(json.dumps({"learning_rate": 1e-4, "foo": 1, "bar": 2, "baz": {"x": 1}}))
    assert imported.report.source == "unknown"
    assert {entry.key for entry in imported.report.attention} == {"foo", "bar", "baz"}
    whole = read_text(json.dumps({"learning_rate": 1e-4, "network_dim": 8, "foo": 1}))
    assert whole.report.source == "kohya_ss"
