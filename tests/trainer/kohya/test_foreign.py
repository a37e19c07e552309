"""Settings of other programs: named by their marks, plain ones converted, every other key listed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from trainer.data.dataset_file import read_dataset_file
from trainer.errors import UserError
from trainer.kohya import read, read_text, report_lines
from trainer.settings import Settings

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


@pytest.mark.parametrize("above", ["\n", "# old\n\n", "  \n", "\r\n"])
def test_lines_above_the_first_key_are_passed_once(above: str):
    """Two ways for each line would be two to the power of their number: it would not end in a year."""
    toml = read_text(
        above * 200 + "[network_arguments]\nnetwork_dim = 24\nnetwork_module = 'networks.lora'\n"
    )
    assert toml.settings.network.network_dim == 24
    assert read_text(above * 200 + AI_TOOLKIT.lstrip()).report.source == "ai_toolkit"


def test_a_json_of_which_almost_nothing_is_known_is_not_called_kohya_ss():
    imported = read_text(json.dumps({"learning_rate": 1e-4, "foo": 1, "bar": 2, "baz": {"x": 1}}))
    assert imported.report.source == "unknown"
    assert {entry.key for entry in imported.report.attention} == {"foo", "bar", "baz"}
    whole = read_text(json.dumps({"learning_rate": 1e-4, "network_dim": 8, "foo": 1}))
    assert whole.report.source == "kohya_ss"


@pytest.mark.parametrize(
    "shared", [("learning_rate", "seed"), ("pretrained_model_name_or_path", "train_batch_size", "output_dir")]
)
def test_keys_that_every_program_has_make_no_file_of_kohya_ss(shared: tuple[str, ...]):
    report = read({**dict.fromkeys(shared, 1), "foo": 1, "bar": 2}).report
    assert report.source == "unknown"
    assert {entry.key for entry in report.attention} >= {"foo", "bar"}


DREAMBOOTH = """
export MODEL_NAME="stabilityai/stable-diffusion-xl-base-1.0"
accelerate launch train_dreambooth_lora_sdxl.py --pretrained_model_name_or_path=$MODEL_NAME \\
  --instance_data_dir=/img/dog --instance_prompt="a photo of sks dog" --repeats=2 --output_dir=out \\
  --with_prior_preservation --class_data_dir=/img/class --class_prompt="a photo of dog" \\
  --mixed_precision=fp16 --resolution=1024 --train_batch_size=3 --learning_rate=1e-4 --rank=24 \\
  --lr_scheduler=cosine --use_8bit_adam --adam_weight_decay=0.02 --adam_beta2=0.99 --max_train_steps=500 \\
  --validation_prompt="a dog on a boat" --validation_epochs=25 --seed=0 --some_new_key=5
"""


def test_a_command_of_diffusers_own_script_is_read_as_one():
    imported = read_text(DREAMBOOTH)
    assert imported.report.source == "diffusers"
    wanted = {
        "sdxl": True, "network_dim": 24, "network_alpha": 24, "optimizer": "AdamW8bit", "train_batch_size": 3,
        "optimizer_args": "weight_decay=0.02 betas=0.9,0.99", "max_resolution": "1024", "text_encoder_lr": 0,
        "max_train_steps": 500, "lr_scheduler": "cosine", "sample_prompts": "a dog on a boat", "seed": 0,
        "pretrained_model_name_or_path": "stabilityai/stable-diffusion-xl-base-1.0",
        "sample_every_n_epochs": 25,
    }  # fmt: skip
    assert {key: imported.settings.get(key) for key in wanted} == wanted
    again = read_text(imported.dataset)
    assert [entry.was for entry in again.report.entries if entry.key.startswith("datasets[0].subsets")] == [
        "/img/dog x 2", "/img/class x 1",
    ]  # fmt: skip
    left = {entry.key for entry in imported.report.attention if not entry.setting}
    assert left == {"some_new_key"}


def test_diffusers_options_in_a_json_are_told_by_their_names():
    options = {
        "pretrained_model_name_or_path": "m",
        "learning_rate": 1e-4,
        "rank": 16,
        "checkpointing_steps": 500,
    }
    imported = read(options)
    assert imported.report.source == "diffusers"
    assert (imported.settings.network.network_dim, imported.settings.network.network_alpha) == (16, 16)
    assert not imported.report.attention
    with pytest.raises(UserError):
        read_text("accelerate launch train_dreambooth_lora_flux.py --rank=4")


OLD_ONETRAINER = {
    "training_method": "LORA", "model_type": "STABLE_DIFFUSION_15", "base_model_name": "m",
    "optimizer": "ADAMW_8BIT", "weight_decay": 0.02, "learning_rate_scheduler": "COSINE_WITH_HARD_RESTARTS",
    "learning_rate_cycles": 3, "learning_rate_warmup_steps": 200.0, "text_encoder_learning_rate": 3e-5,
    "unet_learning_rate": 1e-4, "train_text_encoder": True, "text_encoder_layer_skip": 1,
    "masked_training": True, "resolution": 512, "max_noising_strength": 0.8, "epochs": 3,
}  # fmt: skip
NEW_ONETRAINER = {
    "training_method": "LORA", "model_type": "STABLE_DIFFUSION_XL_10_BASE", "base_model_name": "m",
    "peft_type": "LOHA", "lora_rank": 8, "lora_alpha": 4.0, "dropout_probability": 0.1,
    "optimizer": {"optimizer": "SCHEDULE_FREE_ADAMW", "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.01},
    "learning_rate_warmup_steps": 0.1, "gradient_checkpointing": "CPU_OFFLOADED",
    "resolution": "768,1024x512",
    "loss_weight_fn": "MIN_SNR_GAMMA", "loss_weight_strength": 5.0,
    "save_every": 2, "save_every_unit": "EPOCH",
    "concepts": [{"path": "/img/cat"}], "text_encoder": {"train": True, "learning_rate": None},
}  # fmt: skip
EASY = """
[general_args.args]
sdxl = true
no_half_vae = true
max_train_epochs = 2
[general_args.dataset_args]
resolution = [1024, 768]
[network_args.args]
network_dim = 8
[network_args.args.network_args]
algo = "lokr"
conv_dim = 4
factor = 8
[optimizer_args.args]
warmup_ratio = 0.05
[optimizer_args.args.optimizer_args]
weight_decay = 0.1
betas = "0.9,0.99"
"""
SUBSET = (
    "[[subsets]]\nname = 'x'\nnum_repeats = {repeats}\nimage_dir = '{folder}'\ncaption_extension = '.txt'\n"
)
TOOLKIT_XL = {
    "job": "extension",
    "config": {
        "name": "momo",
        "process": [{
            "type": "sd_trainer", "trigger_word": "momo",
            "network": {"type": "lokr", "linear": 8, "linear_alpha": 8, "lokr_factor": 4, "conv": 4},
            "datasets": [{"folder_path": "/img", "caption_ext": "txt", "resolution": [1024, 1024]}],
            "train": {"optimizer": "adamw8bit", "optimizer_params": {"weight_decay": 1e-4}, "lr": 1e-4,
                      "train_text_encoder": False, "min_snr_gamma": 5},
            "model": {"arch": "sdxl", "name_or_path": "m"},
            "sample": {"sample_every": 100, "width": 768, "height": 1024, "seed": 42, "guidance_scale": 6,
                       "sample_steps": 20, "neg": "bad", "prompts": ["[trigger] at sea", "a cat"]},
        }],
    },
}  # fmt: skip
TUNER = {
    "model_family": "sd2x", "model_type": "lora", "lora_rank": 4, "data_backend_config": "b.json",
    "optimizer": "bnb-adamw8bit-paged", "resolution": 1.0, "resolution_type": "area", "max_train_steps": 100,
    "num_train_epochs": 0, "offset_noise": True, "noise_offset": 0.2, "prediction_type": "v_prediction",
    "validation_prompt": "a cat", "validation_steps": 50, "validation_resolution": "768x512",
    "validation_seed": 1, "checkpointing_steps": 50, "lr_num_cycles": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (json.dumps(OLD_ONETRAINER), {
            "optimizer": "AdamW8bit", "optimizer_args": "weight_decay=0.02", "text_encoder_lr": 3e-5,
            "lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3, "lr_warmup_steps": 200,
            "clip_skip": 2, "masked_loss": True, "max_resolution": "512", "max_timestep": 800, "sdxl": False,
        }),
        (json.dumps(NEW_ONETRAINER), {
            "LoRA_type": "LyCORIS/LoHa", "network_dim": 8, "network_dropout": 0.1, "sdxl": True,
            "optimizer": "AdamWScheduleFree", "optimizer_args": "weight_decay=0.01 betas=0.9,0.99",
            "lr_warmup": 10, "gradient_checkpointing": True, "max_resolution": "768", "min_snr_gamma": 5,
            "save_every_n_epochs": 2, "train_data_dir": "/img/cat",
        }),
        (EASY, {
            "sdxl": True, "sdxl_no_half_vae": True, "max_resolution": "1024,768", "LoRA_type": "LyCORIS/LoKr",
            "conv_dim": 4, "factor": 8, "optimizer_args": "weight_decay=0.1 betas=0.9,0.99", "lr_warmup": 5,
        }),
        (json.dumps(TOOLKIT_XL), {
            "sdxl": True, "LoRA_type": "LyCORIS/LoKr", "factor": 4, "conv_dim": 4, "optimizer": "AdamW8bit",
            "optimizer_args": "weight_decay=0.0001", "text_encoder_lr": 0, "caption_extension": ".txt",
            "max_resolution": "1024", "sample_every_n_steps": 100, "min_snr_gamma": 5,
            "sample_prompts": "momo at sea --w 768 --h 1024 --d 42 --l 6 --s 20 --n bad\n"
                              "a cat --w 768 --h 1024 --d 42 --l 6 --s 20 --n bad",
        }),
        (json.dumps(TUNER), {
            "v2": True, "v_parameterization": True, "optimizer": "PagedAdamW8bit", "noise_offset": 0.2,
            "max_train_steps": 100, "sample_every_n_steps": 50, "save_every_n_steps": 50,
            "lr_scheduler_num_cycles": 2, "sample_prompts": "a cat --w 768 --h 512 --d 1",
        }),
    ],
    ids=["onetrainer_2023", "onetrainer", "lora_easy", "ai_toolkit", "simpletuner"],
)  # fmt: skip
def test_files_as_these_programs_write_them(text: str, wanted: dict[str, Any]):
    settings = read_text(text).settings
    assert {key: settings.get(key) for key in wanted} == wanted


@pytest.mark.parametrize(
    ("program", "changed", "several"),
    [
        ("onetrainer", {"resolution": "512,768"}, True),
        ("onetrainer", {"resolution": "512x768"}, False),
        ("onetrainer", {"resolution": "1024, 1024"}, False),
    ],
)
def test_one_of_several_sizes_is_marked(program, changed, several):
    report = read_text(json.dumps({**ONETRAINER, **changed})).report
    assert ("kohya.first_of_several" in {entry.note for entry in report.attention}) == several
    assert report.source == program


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({**ONETRAINER, "model_type": "FLUX_DEV_1"}),
        json.dumps({**ONETRAINER, "model_type": "STABLE_DIFFUSION_15_INPAINTING"}),
        AI_TOOLKIT.replace("is_xl: true", "is_flux: true"),
        AI_TOOLKIT.replace("is_xl: true", "arch: wan21"),
        json.dumps({**SIMPLETUNER, "--model_family": "sd3"}),
        LORA_EASY + "[anima_args.args]\nqwen3 = 'x'\n",
    ],
)
def test_a_file_for_another_family_says_so_first(text: str):
    report = read_text(text).report
    assert "kohya.foreign_family" in {entry.why for entry in report.attention}


def concepts(*tables: dict[str, Any], **others: Any) -> str:
    return json.dumps({**NEW_ONETRAINER, "concepts": [*tables], **others})


def test_a_folder_that_onetrainer_has_switched_off_is_not_taken():
    off = {"path": "/img/off", "enabled": False, "name": "x", "text": {"prompt_path": ""}}
    imported = read_text(concepts(off, {"path": "/img/cat", "enabled": True, "balancing": 1.0}))
    assert imported.settings.get("train_data_dir") == "/img/cat"
    assert [(entry.key, entry.was) for entry in imported.report.attention if "concept" in entry.key] == [
        ("concepts[0]", "/img/off"),
    ]  # fmt: skip
    assert read_text(concepts({**off, "enabled": "false"})).settings.get("train_data_dir") != "/img/off"
    none = read_text(concepts(off))
    assert none.settings.get("train_data_dir") != "/img/off"
    assert "kohya.concept_off" in {entry.why for entry in none.report.attention}


def test_a_job_of_ai_toolkit_that_trains_nothing_is_to_be_looked_at():
    draws = {"job": "generate", "config": {"name": "x", "process": [{"type": "to_folder"}]}}
    assert [entry.key for entry in read(draws).report.attention] == ["job", "config.process[0].type"]


def test_several_folders_of_onetrainer_are_a_dataset_file_with_their_repeats():
    cat = {"path": "/a/cat", "balancing": 3.0, "balancing_strategy": "REPEATS"}
    dog = {"path": "/b/dog", "balancing": 0.5}
    imported = read_text(concepts(cat, dog))
    [asked] = [entry for entry in imported.report.attention if entry.setting == "dataset_config"]
    assert asked.note == "kohya.foreign_folders"
    again = read_text(imported.dataset)
    assert [entry.was for entry in again.report.entries if entry.key.startswith("datasets[0].subsets")] == [
        "/a/cat x 3", "/b/dog x 1",
    ]  # fmt: skip
    assert [entry.key for entry in imported.report.attention if "concept" in entry.key] == [
        "concepts[1].balancing"
    ]


def test_several_folders_of_ai_toolkit_are_a_dataset_file_in_all_their_sizes(tmp_path: Path):
    cat = {"folder_path": "/a/cat", "caption_ext": "txt", "resolution": [512, 768], "flip_x": True}
    dog = {"folder_path": "/b/dog", "num_repeats": 3, "keep_tokens": "2", "resolution": "512"}
    imported = read(toolkit(cat, dog))
    assert not [entry.key for entry in imported.report.attention if "datasets" in entry.key]
    assert "kohya.foreign_folders" in {entry.note for entry in imported.report.attention}
    (tmp_path / "d.toml").write_text(imported.dataset, encoding="utf-8")
    file = read_dataset_file(tmp_path / "d.toml")
    assert not file.remarks
    assert [[subset.values for subset in dataset.subsets] for dataset in file.datasets] == [
        [
            {"image_dir": "/a/cat", "caption_extension": ".txt", "flip_aug": True, "resolution": 512},
            {"image_dir": "/b/dog", "num_repeats": 3, "keep_tokens": 2, "resolution": 512},
        ],
        [{"image_dir": "/a/cat", "caption_extension": ".txt", "flip_aug": True, "resolution": 768}],
    ]


@pytest.mark.parametrize(
    ("folder", "plain"),
    [
        ({"resolution": [512, 512]}, True),
        ({"num_repeats": 1}, True),
        ({"num_repeats": 2}, False),
        ({"is_reg": True}, False),
        ({"resolution": [512, 1024]}, False),
        ({"num_repeats": "many"}, True),
        ({"num_repeats": 1.5}, True),
        ({"num_repeats": 0}, True),
        ({"num_repeats": -3}, True),
        ({"num_repeats": 10**12}, True),
    ],
)
def test_one_plain_folder_of_ai_toolkit_is_the_image_folder(folder: dict[str, Any], plain: bool):
    imported = read(toolkit({"folder_path": "/a/cat", **folder}))
    assert imported.settings.get("train_data_dir") == ("/a/cat" if plain else "")
    assert bool(imported.dataset) != plain
    left = {entry.key.rpartition(".")[2] for entry in imported.report.attention if not entry.setting}
    assert left == ({"num_repeats"} if folder.get("num_repeats", 1) not in (1, 2) else set())


@pytest.mark.parametrize("text", ['[{"id": "x", "type": "local"}]', '[\n  "a"\n]'])
def test_a_list_of_json_is_not_called_damaged_toml(text: str):
    with pytest.raises(UserError) as refused:
        read_text(text)
    assert "TOML" not in str(refused.value)


def toolkit(*folders: dict[str, Any]) -> dict[str, Any]:
    process = {
        "type": "sd_trainer", "train": {"lr": 1e-4}, "network": {"linear": 4}, "datasets": [*folders],
    }  # fmt: skip
    return {"job": "extension", "config": {"name": "x", "process": [process]}}


def test_folders_that_onetrainer_keeps_in_another_file_are_read_or_named(tmp_path: Path):
    file = tmp_path / "preset.json"
    file.write_text(json.dumps({**NEW_ONETRAINER, "concepts": None, "concept_file_name": "c/concepts.json"}))
    report = read(file).report
    assert ("concept_file_name", "kohya.concepts_elsewhere") in {
        (entry.key, entry.why) for entry in report.attention
    }
    (tmp_path / "concepts.json").write_text(json.dumps([{"path": "/img/dog"}]))
    imported = read(file)
    assert imported.settings.get("train_data_dir") == "/img/dog"
    assert "kohya.concepts_elsewhere" not in {entry.why for entry in imported.report.attention}
    (tmp_path / "concepts.json").write_text("no list")
    with pytest.raises(UserError):
        read(file)


def test_folders_of_lora_easy_become_the_image_folder_or_a_dataset_file():
    one = SUBSET.format(repeats=3, folder="/img/3_cat")
    folder = read_text(one + SUBSET.format(repeats=2, folder="/img/2_dog") + EASY)
    assert folder.settings.get("train_data_dir") == "/img"
    assert not folder.dataset
    loose = read_text(one + SUBSET.format(repeats=5, folder="/other/dogs") + EASY)
    again = read_text(loose.dataset)
    assert [entry.was for entry in again.report.entries if entry.key.startswith("datasets[0].subsets")] == [
        "/img/3_cat x 3", "/other/dogs x 5",
    ]  # fmt: skip
    assert not any(entry.key.startswith("subsets") for entry in loose.report.attention)


@pytest.mark.parametrize("odd", [True, 5, 0.5, [None], [1, "algo=lokr"]])
@pytest.mark.parametrize("option", ["network_args", "optimizer_args"])
def test_arguments_that_are_none_are_listed_for_a_look(option: str, odd: Any):
    table = {"args": {"network_dim": 4, option: odd}}
    imported = read({"network_args": table, "general_args": {"args": {"seed": 1}}})
    assert imported.settings.network.network_dim == 4
    listed = [entry for entry in imported.report.attention if option in entry.key.split(".")]
    assert [entry.kind for entry in listed] == ["unknown"]


def test_arguments_of_a_list_are_all_told_as_taken():
    for text in (EASY, json.dumps(NEW_ONETRAINER), json.dumps(TOOLKIT_XL)):
        left = {entry.key for entry in read_text(text).report.attention if entry.why == "kohya.foreign_key"}
        assert not [key for key in left if "optimizer" in key or "network" in key]


@pytest.mark.parametrize(
    ("data", "program"),
    [
        ({"__version": 9, "model_type": "STABLE_DIFFUSION_XL_10_BASE", "lora_rank": 32}, "onetrainer"),
        ({"learning_rate_scheduler": "COSINE", "model_type": "X", "lora_rank": 32}, "onetrainer"),
        ({"config": {"name": "x", "process": {"type": "a", "network": {"linear": 32}}}}, "ai_toolkit"),
        ({"type": "sd_trainer", "network": {"linear": 32}, "train": {"lr": 1e-4}}, "ai_toolkit"),
        ({"model_type": "lora", "model_family": "sd1x", "lora_rank": 32}, "simpletuner"),
    ],
)
def test_parts_of_such_files_are_told_too(data: dict[str, Any], program: str):
    imported = read(data)
    assert imported.report.source == program
    assert imported.settings.network.network_dim == 32


@pytest.mark.parametrize("own", [{"resolution": 512}, {"resolution": 512, "max_train_steps": 500}])
def test_a_file_with_almost_no_known_key_is_not_called_sd_scripts(own: dict[str, Any]):
    others = {f"option{number}": number for number in range(9)}
    report = read({**own, **others}).report
    assert report.source == "unknown"
    assert {entry.key for entry in report.attention} >= set(others)
    assert read({**own, "network_module": "networks.lora", **others}).report.source == "sd_scripts"


EASY_2023 = {
    "base_model": "m.safetensors", "img_folder": "/img", "output_folder": "out", "change_output_name": "momo",
    "net_dim": 24, "alpha": 12, "scheduler": "cosine", "num_epochs": 12, "train_resolution": 768,
    "batch_size": 3, "unet_lr": 1e-4, "mixed_precision": "fp16", "warmup_lr_ratio": 0.05, "some_new_key": 5,
}  # fmt: skip


def test_lora_easys_json_of_2023_and_its_tables_within_args_are_read():
    first = read_text(json.dumps(EASY_2023))
    assert first.report.source == "lora_easy"
    wanted = {"network_dim": 24, "network_alpha": 12, "max_train_epochs": 12, "max_resolution": "768",
              "train_data_dir": "/img", "output_name": "momo", "lr_warmup": 5}  # fmt: skip
    assert {key: first.settings.get(key) for key in wanted} == wanted
    assert [entry.key for entry in first.report.attention] == ["some_new_key"]
    tables = {"network_args": {"args": {"network_dim": 24}}, "saving_args": {"args": {"output_name": "momo"}}}
    wrapped = read({"args": tables, "subsets": [{"image_dir": "/img/3_cat", "num_repeats": 3}]})
    assert [wrapped.settings.get(key) for key in ("network_dim", "output_name", "train_data_dir")] == [
        24, "momo", "/img",
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "sdxl", "told"), [
    ("sd-lora", False, ()), ("sdxl-lora", True, ()), ("flux-lora", False, ("kohya.foreign_family",)),
    ("sdxl-finetune", True, ("kohya.foreign_family",)),
])  # fmt: skip
def test_lora_scripts_says_what_it_trains(kind: str, sdxl: bool, told: tuple[str, ...]):
    text = f'model_train_type = "{kind}"\nnetwork_module = "networks.lora"\nnetwork_dim = 24\n'
    imported = read_text(text)
    assert imported.settings.model.sdxl == sdxl
    assert tuple(entry.why for entry in imported.report.attention) == told


def test_prompts_of_todays_ai_toolkit_have_options_of_their_own():
    samples = [{"prompt": "a cat"}, {"prompt": "b", "seed": 3, "height": 64}]
    process = {
        "type": "diffusion_trainer", "train": {"lr": 1e-4, "loss_type": "mae"}, "network": {"linear": 4},
        "sample": {"width": 512, "seed": 42, "samples": samples},
    }  # fmt: skip
    imported = read({"job": "extension", "config": {"name": "x", "process": [process]}})
    assert imported.settings.get("sample_prompts") == "a cat --w 512 --d 42\nb --w 512 --h 64 --d 3"
    assert imported.settings.get("loss_type") == "l1"
    assert not imported.report.attention


CONFIG_ENV = """
# written by configure.py
export MODEL_TYPE='lora'
export MODEL_NAME="stabilityai/stable-diffusion-xl-base-1.0"
export LORA_RANK=24
LORA_ALPHA=12  # half
export LEARNING_RATE=2e-4
export MAX_NUM_STEPS=3000
export LR_SCHEDULE="cosine"
export TRAINING_SEED=42
export RESOLUTION=1024
export RESOLUTION_TYPE="pixel"
export SOME_NEW_KEY="5"
"""


def test_the_variables_of_simpletuners_first_versions_are_read(tmp_path: Path):
    (tmp_path / "config.env").write_text(CONFIG_ENV, encoding="utf-8")
    imported = read(tmp_path / "config.env")
    assert imported.report.source == "simpletuner"
    settings = imported.settings
    assert (settings.network.network_dim, settings.network.network_alpha) == (24, 12)
    assert (settings.length.max_train_steps, settings.length.seed) == (3000, 42)
    assert (settings.optimizer.learning_rate, settings.optimizer.lr_scheduler) == (2e-4, "cosine")
    assert settings.model.pretrained_model_name_or_path == "stabilityai/stable-diffusion-xl-base-1.0"
    assert (settings.model.sdxl, settings.images.max_resolution) == (True, "1024")
    assert "some_new_key" in {entry.key for entry in imported.report.entries if entry.attention}


@pytest.mark.parametrize("text", ["A=1\nB=2", "LORA_RANK=8\npython x.py", "lora_rank = 8\nseed = 1"])
def test_other_assignments_are_no_file_of_simpletuner(text: str):
    with suppress(UserError):
        assert read_text(text).report.source != "simpletuner"


CIVITAI = {
    "engine": "kohya", "unetLR": 0.0005, "clipSkip": 2, "loraType": "lora", "keepTokens": 1,
    "networkDim": 24, "numRepeats": 2, "resolution": 1024, "lrScheduler": "cosine_with_restarts",
    "minSnrGamma": 5, "noiseOffset": 0.1, "targetSteps": 1050, "enableBucket": True, "networkAlpha": 12,
    "optimizerType": "AdamW8Bit", "textEncoderLR": 5e-5, "maxTrainEpochs": 10, "shuffleCaption": True,
    "trainBatchSize": 3, "flipAugmentation": False, "lrSchedulerNumCycles": 3,
}  # fmt: skip


def test_civitais_parameters_are_read():
    imported = read(CIVITAI)
    settings = imported.settings
    assert imported.report.source == "civitai"
    assert (settings.network.network_dim, settings.network.network_alpha) == (24, 12)
    assert (settings.optimizer.unet_lr, settings.optimizer.text_encoder_lr) == (5e-4, 5e-5)
    assert (settings.optimizer.optimizer, settings.optimizer.lr_scheduler_num_cycles) == ("AdamW8bit", 3)
    assert (settings.length.max_train_epochs, settings.length.train_batch_size) == (10, 3)
    assert (settings.captions.clip_skip, settings.captions.shuffle_caption) == (2, True)
    attention = {entry.key for entry in imported.report.entries if entry.attention}
    assert attention == {"numRepeats"}


MUSUBI = """
network_module = "networks.lora_wan"
network_dim = 24
learning_rate = 2e-4
dit = "/models/wan.safetensors"
vae = "/models/wan_vae.safetensors"
dataset_config = "/img/dataset.toml"
discrete_flow_shift = 3.0
"""
MUSUBI_DATASET = """
[general]
resolution = [960, 544]
caption_extension = ".txt"
batch_size = 2
[[datasets]]
image_directory = "/img/cat"
cache_directory = "/img/cache"
num_repeats = 3
[[datasets]]
video_directory = "/video/cat"
target_frames = [1, 25]
"""


@pytest.mark.parametrize(("network", "family"), [
    ("networks.lora_wan", "Wan"), ("networks.lora_flux", "FLUX.1"), ("networks.lora", "HunyuanVideo"),
    ("musubi_tuner.networks.lora_qwen_image", "Qwen-Image"),
])  # fmt: skip
@pytest.mark.parametrize("section", ["", "[some_section]\n"])
def test_a_training_of_musubi_is_named_with_its_family(network: str, family: str, section: str):
    imported = read_text(section + MUSUBI.replace("networks.lora_wan", network))
    assert imported.report.source == "musubi"
    assert "musubi-tuner" in report_lines(imported.report)[0]
    found = [(one.key, one.was, one.why) for one in imported.report.of("other_family")]
    assert found == [("network_module", family, "kohya.foreign_family")]
    settings = imported.settings
    assert (settings.network.network_dim, settings.get("vae"), settings.get("dataset_config")) == (24, "", "")
    looked_at = {entry.key for entry in imported.report.attention}
    assert {"dit", "vae", "dataset_config", "discrete_flow_shift"} <= looked_at


def test_folders_of_pictures_in_a_dataset_of_musubi_are_taken(tmp_path: Path):
    imported = read_text(MUSUBI_DATASET)
    assert imported.report.source == "musubi"
    assert "kohya.musubi_dataset" in {entry.why for entry in imported.report.attention}
    assert imported.settings.get("max_resolution") == "960,544"
    assert imported.settings.get("train_batch_size") == 2
    assert imported.settings.network.network_dim == Settings().network.network_dim
    (tmp_path / "dataset.toml").write_text(imported.dataset, encoding="utf-8")
    assert "video" not in imported.dataset
    made = read_dataset_file(tmp_path / "dataset.toml")
    values = [subset.values for dataset in made.datasets for subset in dataset.subsets]
    folders = [(one["image_dir"], one["num_repeats"], one["caption_extension"]) for one in values]
    assert folders == [("/img/cat", 3, ".txt")]
    looked_at = {entry.key for entry in imported.report.attention}
    assert {"datasets[0].cache_directory", "datasets[1].video_directory"} <= looked_at


def test_a_training_that_names_a_dataset_of_musubi_gets_its_folders(tmp_path: Path):
    (tmp_path / "data.toml").write_text(MUSUBI_DATASET.replace("/img/cat", "/img/3_cat"), encoding="utf-8")
    run = tmp_path / "run.toml"
    run.write_text('network_module = "networks.lora"\ndataset_config = "data.toml"\n', encoding="utf-8")
    imported = read(run)
    assert imported.report.source == "sd_scripts"
    assert imported.settings.get("max_resolution") == "960,544"
    assert "/img/3_cat x 3" in {entry.now for entry in imported.report.entries}
    assert "datasets[0].image_directory" not in {entry.key for entry in imported.report.attention}
    run.write_text(MUSUBI.replace("dataset_config = ", 'dataset_config = "data.toml" # '), encoding="utf-8")
    assert read(run).settings.get("train_data_dir") == "/img"


@pytest.mark.parametrize(("module", "family"), [("lora_flux", "FLUX.1"), ("lora_sd3", "Stable Diffusion 3")])
def test_a_network_of_sd_scripts_for_other_models_names_them(module: str, family: str):
    imported = read_text(f'network_module = "networks.{module}"\nnetwork_dim = 24\n')
    assert imported.report.source == "sd_scripts"
    (found,) = imported.report.of("other_family")
    assert (found.why, found.values["family"], found.attention) == ("kohya.other_model", family, True)
