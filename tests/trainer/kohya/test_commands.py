"""sd-scripts in other clothes: pasted commands, --config_file TOML, dataset files; and our own commands."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import UserError
from trainer.files.reading import readings
from trainer.kohya import (
    Imported,
    from_sd_scripts,
    our_command,
    read,
    read_text,
    sd_scripts_cannot,
    sd_scripts_command,
    to_kohya,
    to_sd_scripts,
)
from trainer.kohya.command import split_command
from trainer.kohya.toml_text import toml_text
from trainer.plan.lr_schedule import warmup_steps
from trainer.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

POSIX = r"""
accelerate launch --num_cpu_threads_per_process 4 --mixed_precision bf16 \
  train_network.py \
  --pretrained_model_name_or_path="/models/my model.safetensors" --train_data_dir=/data/img \
  --output_dir '/out dir' --output_name "it's \"me\"" --resolution 768 --network_module=networks.lora \
  --network_dim=16 --network_alpha 8 --network_args "conv_dim=4" "conv_alpha=1" \
  --unet_lr=1e-4 --text_encoder_lr 5e-5 --optimizer_type AdamW8bit \
  --optimizer_args weight_decay=0.1 "betas=0.9,0.99" --lr_scheduler=cosine --lr_warmup_steps=100 \
  --max_train_epochs 10 --seed 0 --mixed_precision bf16 --xformers \
  --caption_extension=.txt --min_snr=5
"""
CMD = (
    'accelerate.exe launch "C:\\kohya_ss\\sd-scripts\\train_network.py" ^\r\n'
    '  --pretrained_model_name_or_path="D:\\models\\new\\base.safetensors" ^\r\n'
    "  --train_data_dir=C:\\img\\test ^\r\n"
    '  --output_dir="D:\\out dir\\" --output_name=猫 --network_module=networks.lora --network_dim=16'
)
POWERSHELL = CMD.replace("^\r\n", "`\n")


def value(imported: Imported, key: str) -> Any:
    """A setting that was read."""
    return imported.settings.get(key)


def test_a_posix_command_is_read() -> None:
    imported = read(POSIX)
    wanted = {
        "pretrained_model_name_or_path": "/models/my model.safetensors", "train_data_dir": "/data/img",
        "output_dir": "/out dir", "output_name": 'it\'s "me"', "max_resolution": "768",
        "LoRA_type": "Kohya LoCon", "network_dim": 16, "network_alpha": 8, "conv_dim": 4, "conv_alpha": 1,
        "unet_lr": 1e-4, "text_encoder_lr": 5e-5, "optimizer": "AdamW8bit",
        "optimizer_args": "weight_decay=0.1 betas=0.9,0.99", "lr_warmup_steps": 100, "lr_warmup": 0,
        "max_train_epochs": 10, "seed": 0, "mixed_precision": "bf16", "xformers": "xformers",
        "num_cpu_threads_per_process": 4, "caption_extension": ".txt", "sdxl": False,
        "min_snr_gamma": 5,
        "enable_bucket": False,
        "save_precision": "float", "cache_latents": False, "max_bucket_reso": 1024,
    }  # fmt: skip
    assert {key: value(imported, key) for key in wanted} == wanted
    assert imported.report.attention == ()


@pytest.mark.parametrize("text", [CMD, POWERSHELL], ids=["cmd", "PowerShell"])
def test_a_windows_command_keeps_its_backslashes(text: str) -> None:
    imported = read(text)
    wanted = {
        "pretrained_model_name_or_path": "D:\\models\\new\\base.safetensors",
        "train_data_dir": "C:\\img\\test",
        "output_dir": "D:\\out dir\\", "output_name": "猫", "network_dim": 16,
    }  # fmt: skip
    assert {key: value(imported, key) for key in wanted} == wanted


@pytest.mark.parametrize(
    "words",
    [["a b", "c"], ['say "hi"', "it's"], ["$HOME", "back\\slash", "`x`"], ["猫 犬", "", "a\tb"], ["--x=a b"]],
)
def test_posix_quoting_is_undone_exactly(words: list[str]) -> None:
    assert split_command(shlex.join(words)) == words


def test_quotes_of_windows_programs() -> None:
    with_escapes = split_command(r'C:\py.exe "C:\a b\c.py" --x="say \"hi\"" --z=1')
    assert with_escapes == ["C:\\py.exe", "C:\\a b\\c.py", '--x=say "hi"', "--z=1"]
    assert split_command(r'C:\py.exe --y "D:\out\" --z=1') == ["C:\\py.exe", "--y", "D:\\out\\", "--z=1"]


@pytest.mark.parametrize(("told", "found"), [("", False), (" train_on_input=True", True)])
def test_an_argument_of_lycoris_that_is_not_there_is_what_it_is_for_lycoris(told: str, found: bool) -> None:
    command = "accelerate launch train_network.py --network_module lycoris.kohya --network_args algo=ia3"
    assert value(read(command + told), "train_on_input") is found


def test_sdxl_is_told_by_the_script() -> None:
    assert value(read("accelerate launch sdxl_train_network.py --network_module networks.lora"), "sdxl")
    assert (
        value(read("--network_module=lycoris.kohya --network_args algo=loha"), "LoRA_type") == "LyCORIS/LoHa"
    )


def test_a_script_around_the_command_does_no_harm() -> None:
    imported = read("@echo off\r\ncd C:\\kohya\r\npython train_network.py --network_dim=3\r\npause\r\n")
    assert value(imported, "network_dim") == 3
    assert imported.report.attention == ()


def test_words_and_variables_that_mean_nothing_are_pointed_out() -> None:
    imported = read("accelerate launch train_network.py --output_dir=$OUT --seed 1 2 --network_dim=4")
    assert {entry.key for entry in imported.report.attention} == {"output_dir", "2"}


@pytest.mark.parametrize("script", ["flux_train_network.py", "train_db.py", "sdxl_train.py"])
def test_other_scripts_are_refused(script: str) -> None:
    with pytest.raises(UserError) as caught:
        read(f"accelerate launch {script} --network_dim=4")
    assert caught.value.message.code == "kohya.other_script"
    assert script in str(caught.value)


def test_an_open_quote_is_refused() -> None:
    with pytest.raises(UserError, match="quote"):
        read('accelerate launch train_network.py --output_dir="/a b')


TOML = """
pretrained_model_name_or_path = 'C:\\models\\a.safetensors'
[network]
network_module = "networks.lora"
network_dim = 32
unet_lr = 0.0002
text_encoder_lr = [0.00005, 0.00005]
[training]
lr_warmup_steps = 0.05
max_train_steps = 500
caption_prefix = "mine, "
seed = 7
"""


def test_config_toml_with_sections(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(TOML, encoding="utf-8")
    imported = read(path)
    wanted = {
        "pretrained_model_name_or_path": "C:\\models\\a.safetensors", "network_dim": 32, "unet_lr": 2e-4,
        "text_encoder_lr": 5e-5, "lr_warmup": 5, "lr_warmup_steps": 0, "max_train_steps": 500, "seed": 7,
        "learning_rate": 2e-6, "max_data_loader_n_workers": 8,
    }  # fmt: skip
    assert {key: value(imported, key) for key in wanted} == wanted
    assert [entry.key for entry in imported.report.attention] == ["caption_prefix"]
    assert to_sd_scripts(imported.settings, imported.carried)["caption_prefix"] == "mine, "


def test_a_command_brings_its_config_file(tmp_path: Path) -> None:
    (tmp_path / "config_lora.toml").write_text(TOML, encoding="utf-8")
    command = f"accelerate launch train_network.py --config_file={tmp_path}/config_lora.toml --seed=8"
    imported = read(command)
    assert value(imported, "network_dim") == 32
    assert value(imported, "seed") == 8, "the command line has the last word"
    kept_out = read(command, may_read=lambda path: False)
    assert value(kept_out, "network_dim") == 4
    assert [entry.key for entry in kept_out.report.attention] == ["config_file"]


def test_the_prompts_beside_kohyas_toml_come_along(tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "prompt.txt").write_text("a cat --w 512\na dog\n", encoding="utf-8")
    config = tmp_path / "config.toml"
    config.write_text(
        'network_module = "networks.lora"\nsample_prompts = "sample/prompt.txt"\n', encoding="utf-8"
    )
    assert value(read(config), "sample_prompts") == "a cat --w 512\na dog"
    config.write_text('network_module = "networks.lora"\nsample_prompts = "gone/p.txt"\n', encoding="utf-8")
    gone = read(config)
    assert value(gone, "sample_prompts") == ""
    assert [entry.key for entry in gone.report.attention] == ["sample_prompts"]


@pytest.mark.parametrize(
    ("option", "given", "setting", "wanted"),
    [
        ("optimizer_type", "", "optimizer", "AdamW"),
        ("optimizer_type", "AdaFactor", "optimizer", "Adafactor"),
        ("use_8bit_adam", True, "optimizer", "AdamW8bit"),
        ("lr_scheduler", "adafactor:0.01", "lr_scheduler", "adafactor"),
        ("lr_warmup_steps", "10%", "lr_warmup", 10), ("lr_warmup_steps", 1.0, "lr_warmup", 100),
        ("lr_warmup_steps", 1, "lr_warmup_steps", 1), ("resolution", [512, 768], "max_resolution", "512,768"),
        ("max_token_length", None, "max_token_length", 75), ("clip_skip", None, "clip_skip", 1),
        ("save_model_as", "pt", "save_model_as", "ckpt"), ("sdpa", True, "xformers", "sdpa"),
        ("network_train_unet_only", True, "text_encoder_lr", 0),
        ("network_train_text_encoder_only", True, "unet_lr", 0),
        ("text_encoder_lr", [], "text_encoder_lr", None),
        ("multires_noise_iterations", 6, "noise_offset_type", "Multires"),
        ("max_timestep", None, "max_timestep", 1000),
        ("network_args", ["block_size=4", "algo=dylora"], "LoRA_type", "Kohya LoCon"),
    ],
)  # fmt: skip
def test_sd_scripts_ways_of_saying_it(option: str, given: Any, setting: str, wanted: Any) -> None:
    args = {option: given}
    if option == "network_args":
        args |= {"network_module": "networks.lora", "network_args": ["conv_dim=4"]}
    assert value(from_sd_scripts(args), setting) == wanted


@pytest.mark.parametrize(
    ("schedule", "option", "given", "argument"),
    [
        ("cosine_with_min_lr", "lr_scheduler_min_lr_ratio", 0.2, "min_lr_ratio=0.2"),
        ("warmup_stable_decay", "lr_decay_steps", 30, "decay_steps=30"),
        ("warmup_stable_decay", "lr_decay_steps", "30%", "decay_steps=0.3"),
        ("inverse_sqrt", "lr_scheduler_timescale", 50, "timescale=50"),
    ],
)
def test_options_of_one_schedule_become_its_extra_arguments_and_back(
    schedule: str, option: str, given: Any, argument: str
) -> None:
    imported = from_sd_scripts({"lr_scheduler": schedule, option: given})
    assert argument in value(imported, "lr_scheduler_args")
    written = to_sd_scripts(imported.settings)
    assert written[option] == (0.3 if given == "30%" else given)
    assert "lr_scheduler_args" not in written
    preset = {"lr_scheduler": schedule, "optimizer": "AdamW", "epoch": 1}
    typed = read_text(json.dumps({**preset, "additional_parameters": f"--{option}={given}"}), "a.json")
    assert value(typed, "lr_scheduler_args") == argument
    assert value(typed, "additional_parameters") == ""
    keyed = read_text(json.dumps({**preset, option: given, "lr_scheduler_args": ""}), "a.json")
    assert value(keyed, "lr_scheduler_args") == argument


def test_an_option_of_another_schedule_is_of_no_effect() -> None:
    imported = from_sd_scripts({"lr_scheduler": "cosine", "lr_scheduler_min_lr_ratio": 0.2})
    assert value(imported, "lr_scheduler_args") == ""
    entry = next(e for e in imported.report.entries if e.key == "lr_scheduler_min_lr_ratio")
    assert entry.why == "kohya.no_effect"


@pytest.mark.parametrize(
    ("share", "steps", "percent", "exact"),
    [(0.1, 100, 10, 0), (0.34, 6, 34, 0), (0.25, 6, 0, 1), (0.1, 8, 0, 0), (0.5, 3, 0, 1), (0.9, 3, 0, 2)],
)
def test_a_share_for_the_warm_up_is_cut_off_to_steps_as_in_sd_scripts(
    share: float, steps: int, percent: float, exact: int
) -> None:
    args = {"lr_warmup_steps": share, "max_train_steps": steps, "lr_scheduler": "cosine"}
    chosen = from_sd_scripts(args).settings.optimizer
    assert warmup_steps(chosen, steps) == int(share * steps)
    assert (chosen.lr_warmup, chosen.lr_warmup_steps) == (percent, exact)


def test_a_share_of_a_run_of_unknown_length_stays_a_percentage() -> None:
    args = {"lr_warmup_steps": 0.34, "max_train_epochs": 2, "lr_scheduler": "cosine"}
    assert from_sd_scripts(args).settings.optimizer.lr_warmup == 34


def test_noise_of_both_kinds_stays_both() -> None:
    both = {"noise_offset": 0.1, "multires_noise_iterations": 6}
    imported = from_sd_scripts(both)
    assert not imported.report.attention
    assert value(imported, "noise_offset_type") == "Both"
    assert both.items() <= to_sd_scripts(imported.settings).items()
    file = to_kohya(imported.settings)
    assert file["noise_offset_type"] == "Multires"  # kohya_ss knows no other word for it
    assert read(file).settings == imported.settings


DATASET = """
[general]
caption_extension = ".txt"
shuffle_caption = true
[[datasets]]
resolution = 768
batch_size = 2
enable_bucket = true
  [[datasets.subsets]]
  image_dir = 'D:\\img\\10_cat'
  num_repeats = 10
  class_tokens = "cat"
  [[datasets.subsets]]
  image_dir = 'D:\\img\\5_dog'
  num_repeats = 5
  [[datasets.subsets]]
  image_dir = 'D:\\reg\\1_cat'
  is_reg = true
"""


def test_a_dataset_file_laid_out_as_folders_becomes_the_image_folder() -> None:
    imported = read_text(DATASET)
    wanted = {
        "train_data_dir": "D:\\img", "reg_data_dir": "D:\\reg", "dataset_config": "", "max_resolution": "768",
        "train_batch_size": 2, "caption_extension": ".txt", "shuffle_caption": True, "enable_bucket": True,
    }  # fmt: skip
    assert {key: value(imported, key) for key in wanted} == wanted
    assert imported.report.attention == ()


def test_any_other_dataset_file_stays_a_file(tmp_path: Path) -> None:
    path = tmp_path / "set.toml"
    text = DATASET.replace("num_repeats = 5", "num_repeats = 7\n  keep_tokens = 2")
    path.write_text(text, encoding="utf-8")
    imported = read(path)
    assert value(imported, "dataset_config") == str(path)
    assert not imported.report.attention, "all that the file says counts"
    pasted = read_text(text)
    assert "kohya.dataset_pasted" in {entry.note for entry in pasted.report.attention}


def test_folders_beside_the_dataset_file_are_found(tmp_path: Path) -> None:
    (tmp_path / "img" / "3_cat").mkdir(parents=True)
    path = tmp_path / "set.toml"
    path.write_text(
        "[[datasets]]\n[[datasets.subsets]]\nimage_dir='img/3_cat'\nnum_repeats=3\n", encoding="utf-8"
    )
    assert value(read(path), "train_data_dir") == str(tmp_path / "img")


def test_a_broken_dataset_file_is_refused() -> None:
    for text in (
        "datasets = [1]",
        "[[datasets]]\nsubsets = 3",
        "[[datasets]]\n[[datasets.subsets]]\nnum_repeats='x'",
    ):
        with pytest.raises(UserError):
            read_text(text)


AWKWARD = [
    "plain", "C:\\data\\new\\table", 'say "hi"', "it's", "C:\\it's \"here\"", "猫", "line\nbreak",
    "tab\there",
    "\x7f", "\\", "''", "a\\u0041", "#", "",
]  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD)
def test_our_toml_says_exactly_what_was_meant(text: str) -> None:
    table = {"text": text, "list": [text, 1, 2.5], "on": True, "zero": 0, "tiny": 1e-7, "big": 10**12}
    assert tomllib.loads(toml_text(table)) == table


def test_the_sd_scripts_command_reads_back_as_the_same_run() -> None:
    settings = Settings.from_flat({
        "output_dir": "C:\\out dir", "pretrained_model_name_or_path": "D:\\m\\new.safetensors", "sdxl": True,
        "max_grad_norm": 0, "prior_loss_weight": 0, "LoRA_type": "LyCORIS/LoKr", "training_comment": 'a "b"',
        "sample_prompts": "a cat --w 512\na dog", "max_train_epochs": 3, "gpu_ids": "0,1",
    })  # fmt: skip
    words, text = sd_scripts_command(settings)
    assert words[:2] == ["accelerate", "launch"]
    assert words[words.index("--gpu_ids") + 1] == "0,1"
    assert words[-3:] == ["sdxl_train_network.py", "--config_file", "C:\\out dir/config_lora.toml"]
    table = tomllib.loads(text)
    assert table["max_grad_norm"] == 0
    assert table["training_comment"] == 'a "b"'
    assert "a dog" in text.split("caption_extension")[0], "the prompts stand above, as comments"
    back = from_sd_scripts(table, sdxl=True).settings
    same = {key: value for key, value in settings.flat().items() if back.get(key) != value}
    ours = {"caption_extension", "sample_prompts", "epoch", "gpu_ids", "num_cpu_threads_per_process"}
    assert set(same) <= ours | {
        "max_train_steps",
        "wandb_run_name",
        "multires_noise_discount",
        "max_bucket_reso",
    }


def test_our_own_command() -> None:
    assert our_command("my preset.json") == ["python", "-m", "trainer", "train", "my preset.json"]


def test_what_sd_scripts_cannot_do_is_said() -> None:
    settings = Settings().replace(
        stop_text_encoder_training=50, no_token_padding=True, lr_scheduler="constant"
    )
    codes = {message.code for message in sd_scripts_cannot(settings)}
    assert codes == {"kohya.cannot_stop_text_encoder", "kohya.cannot_token_padding", "kohya.cannot_warm_up"}
    assert sd_scripts_cannot(Settings()) == ()


def test_toml_with_the_forms_own_names() -> None:
    text = '[basic]\nLoRA_type = "Standard"\noptimizer_type = "Lion"\n'
    text += 'resolution = "768,768"\n[folders]\nepoch = 3\n'
    imported = read_text(text, "settings.toml")
    assert value(imported, "optimizer") == "Lion"
    assert value(imported, "max_resolution") == "768,768"
    assert value(imported, "epoch") == 3


@pytest.mark.parametrize("zero", [0, 0.0, "0", "0.0"])
def test_alpha_0_is_the_rank(zero: Any) -> None:
    imported = from_sd_scripts({"network_dim": 32, "network_alpha": zero, "network_module": "networks.lora"})
    assert value(imported, "network_alpha") == 32
    [entry] = [entry for entry in imported.report.entries if entry.key == "network_alpha"]
    assert (entry.kind, entry.why) == ("converted", "kohya.alpha_zero")
    assert value(from_sd_scripts({"network_alpha": 0}), "network_alpha") == 4, "the rank that is not given"
    assert value(from_sd_scripts({"network_dim": 32}), "network_alpha") == 1, "alpha that is not given"


@pytest.mark.parametrize(
    ("module", "args", "wanted"),
    [
        ("networks.lora", ["conv_dim=8", "conv_alpha=0"], 8),
        ("networks.lora", ["conv_dim=8"], 1),
        ("networks.loha", ["conv_dim=8", "conv_alpha=0.0"], 8),
        ("lycoris.kohya", ["algo=locon", "conv_dim=8", "conv_alpha=0"], 6),
    ],
)
def test_an_alpha_of_0_for_convolutions(module: str, args: list[str], wanted: float) -> None:
    options = {"network_dim": 32, "network_alpha": 6, "network_module": module, "network_args": args}
    assert value(from_sd_scripts(options), "conv_alpha") == wanted


@pytest.mark.parametrize(
    ("option", "word", "wanted", "attention"),
    [
        ("max_token_length", 255, 225, True), ("max_token_length", 160, 150, True),
        ("max_token_length", 60, 75, True), ("save_precision", "float32", "float", False),
        ("save_precision", "bfloat16", "bf16", False), ("save_precision", "torch.float16", "fp16", False),
        ("mixed_precision", "fp32", "no", False), ("loss_type", "mse", "l2", False),
        ("optimizer_type", "PagedAdamW", "PagedAdamW32bit", False),
        ("optimizer_type", "Prodigyy", "Prodigy", True), ("lr_scheduler", "cosine_annealing", "cosine", True),
    ],
)  # fmt: skip
def test_another_choice_falls_to_the_nearest_and_is_marked(
    option: str, word: Any, wanted: Any, attention: bool
) -> None:
    imported = from_sd_scripts({option: word})
    [entry] = [one for one in imported.report.entries if one.key == option and one.setting]
    assert (entry.now, entry.kind, entry.attention) == (wanted, "converted", attention)


ONE_FILE = """
network_dim = 24
learning_rate = 3e-4
network_module = "networks.lora"
no_such_option = 5
[more]
max_train_epochs = 2
[general]
caption_prefix = "best,"
[[datasets]]
resolution = 96
batch_size = 3
  [[datasets.subsets]]
  image_dir = "pictures"
"""


@pytest.mark.parametrize("by_command", [False, True])
def test_options_and_datasets_in_one_file_are_both_read(tmp_path: Path, by_command: bool) -> None:
    path = tmp_path / "all.toml"
    path.write_text(ONE_FILE, encoding="utf-8")
    script = tmp_path / "run.sh"
    script.write_text(f"accelerate launch train_network.py --config_file {path} --seed 5", encoding="utf-8")
    imported = read(script if by_command else path)
    wanted = {
        "network_dim": 24, "learning_rate": 3e-4, "max_train_epochs": 2, "max_resolution": "96",
        "train_batch_size": 3, "dataset_config": str(path), "seed": 5 if by_command else None,
    }  # fmt: skip
    assert {key: value(imported, key) for key in wanted} == wanted
    keys = {entry.key.rpartition(".")[2] for entry in imported.report.entries}
    assert {"network_dim", "learning_rate", "no_such_option", "max_train_epochs", "caption_prefix"} <= keys
    assert {entry.key for entry in imported.report.attention} == {"no_such_option"}


@pytest.mark.parametrize("option", ["dataset_config", "config_file", "sample_prompts"])
def test_a_file_that_is_not_at_hand_is_told(option: str) -> None:
    imported = read_text(f"accelerate launch train_network.py --{option} gone/x.toml --network_dim=8")
    assert option in {entry.key for entry in imported.report.attention}


@pytest.mark.parametrize(
    ("encoding", "word"), [("cp932", "猫の写真"), ("gbk", "测试图片"), ("cp949", "고양이")]
)
def test_a_file_that_is_not_utf_8_says_how_it_was_read(tmp_path: Path, encoding: str, word: str) -> None:
    path = tmp_path / "old.toml"
    path.write_bytes(f'network_module = "networks.lora"\noutput_name = "{word}"\n'.encode(encoding))
    imported = read(path)
    [entry] = [one for one in imported.report.attention if one.why == "kohya.encoding"]
    said = " ".join(entry.lines("ja"))
    assert word in said, "one of the readings is the right one"
    if encoding != "cp949":
        assert value(imported, "output_name") == word
    path.write_text(f'network_module = "networks.lora"\noutput_name = "{word}"\n', encoding="utf-8")
    assert not read(path).report.attention
    assert not read(path).report.readings


@pytest.mark.parametrize(
    "damage", ["# \xe9t\xe9".encode("latin-1"), "# 样".encode("gbk"), "# 図".encode()[:-1], b"# \xff"]
)
def test_utf_8_with_a_damaged_letter_is_read_as_such(tmp_path: Path, damage: bytes) -> None:
    """A comment of another editor, a letter cut in two: the rest is as it was, in no other alphabet."""
    path = tmp_path / "lora.toml"
    text = 'network_module = "networks.lora"\noutput_name = "猫の写真とねこの絵"\n'
    path.write_bytes(text.encode() + damage)
    imported = read(path)
    assert imported.settings.get("output_name") == "猫の写真とねこの絵"
    [entry] = [one for one in imported.report.attention if one.why == "kohya.encoding"]
    assert "UTF-8 (\N{REPLACEMENT CHARACTER})" in str(entry.was)


@pytest.mark.parametrize(
    ("encoding", "word", "name"),
    [("cp932", "猫の写真", "Shift-JIS"), ("gbk", "测试图片", "GBK"), ("cp949", "고양이", "EUC-KR"),
     ("big5", "測試圖片", "Big5"), ("cp1252", "élève", "Windows-1252"), ("euc_jp", "猫の写真", "EUC-JP"),
     ("cp1251", "картинки", "Windows-1251"), ("cp1250", "Żółć", "Windows-1250"),
     ("gb18030", "测试㐂", "GBK")],
)  # fmt: skip
def test_a_reading_can_be_chosen(tmp_path: Path, encoding: str, word: str, name: str) -> None:
    path = tmp_path / "old.toml"
    path.write_bytes(f'network_module = "networks.lora"\noutput_name = "{word}"\n'.encode(encoding))
    offered = {reading.encoding: reading.sample for reading in read(path).report.readings}
    assert word in offered[name]
    chosen = read(path, encoding=name)
    assert value(chosen, "output_name") == word
    assert [reading.encoding for reading in chosen.report.readings if reading.used] == [name]
    assert not chosen.report.attention


@pytest.mark.parametrize(
    ("encoding", "word", "name"),
    [("cp932", "猫のキャラクター", "Shift-JIS"), ("euc_jp", "猫のキャラクター", "EUC-JP"),
     ("gb18030", "训练设置小猫", "GBK"), ("big5", "訓練設定小貓", "Big5"),
     ("cp1252", "Käse Größe", "Windows-1252"), ("cp1251", "настройки", "Windows-1251"),
     ("latin-1", "déjà vu à l'école", "Windows-1252")],
)  # fmt: skip
def test_the_likeliest_reading_comes_first(encoding: str, word: str, name: str) -> None:
    assert readings(f'output_name = "{word}"\n'.encode(encoding))[0][0] == name


@pytest.mark.parametrize(
    "encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32", "utf-8-sig", "iso2022_jp"]
)
def test_what_can_be_read_in_one_way_only_is_not_asked(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "old.toml"
    path.write_bytes('network_module = "networks.lora"\noutput_name = "猫の写真"\n'.encode(encoding))
    imported = read(path)
    assert value(imported, "output_name") == "猫の写真"
    assert not imported.report.readings


def test_the_chosen_reading_is_that_of_the_files_that_a_script_names(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes('output_name = "测试图片"\n'.encode("gbk"))
    (tmp_path / "p.txt").write_bytes("一张图片 --w 512\n".encode("gbk"))
    script = tmp_path / "run.sh"
    script.write_text("accelerate launch train_network.py --config_file c.toml --sample_prompts p.txt\n")
    asked = read(script).report
    assert {entry.key for entry in asked.attention} >= {"c.toml", "p.txt"}
    chosen = read(script, encoding="GBK")
    assert value(chosen, "output_name") == "测试图片"
    assert value(chosen, "sample_prompts") == "一张图片 --w 512"


DATASETS = "[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = 'x/3_a'\nnum_repeats = 3\n"


@pytest.mark.parametrize("text", [
    "[a]\nnetwork_dim = 4\n[b]\nnetwork_dim = 16\n{}", "network_dim = 4\n[b]\nnetwork_dim = 16\n{}",
    f"[a]\nnetwork_dim = 4\n[c]\nnetwork_dim = 16\n{DATASETS}[d]\n{{}}",
])  # fmt: skip
def test_every_key_has_a_line_though_sections_share_it(text: str):
    imported = read_text(text.format('network_module = "networks.lora"\n'))
    assert imported.settings.network.network_dim == 16
    assert [(entry.was, entry.why) for entry in imported.report.attention] == [(4, "kohya.key_hidden")]


@pytest.mark.parametrize("text", [
    "network_module: networks.lora\nnetwork_dim: 16\nlearning_rate: 1e-4\n",
    "# mine\n\nnetwork_dim: 16\nnetwork_module: 'networks.lora'\nlearning_rate: 0.0001",
])  # fmt: skip
def test_settings_in_yaml_are_read(text: str):
    settings = read_text(text).settings
    assert (settings.network.network_dim, settings.optimizer.learning_rate) == (16, 1e-4)


@pytest.mark.parametrize(("was", "now"), [("20", "taken"), ("２０", "converted"), (20, "taken")])
def test_a_number_that_reads_the_same_is_not_called_converted(was: Any, now: str) -> None:
    imported = read_text(json.dumps({"train_batch_size": was, "epoch": 3}), "a.json")
    [entry] = [entry for entry in imported.report.entries if entry.setting == "train_batch_size"]
    assert (entry.kind, entry.now, entry.attention) == (now, 20, False)


def test_a_network_that_is_no_text_is_named() -> None:
    imported = read_text("network_module = true\nlearning_rate = 1e-4\nmax_train_steps = 10\n", "a.toml")
    [entry] = [entry for entry in imported.report.attention if entry.key == "network_module"]
    assert entry.was == "True"


@pytest.mark.parametrize("named", ["data.toml", "./data.toml", "D:\\old place\\data.toml"])
def test_a_dataset_file_that_lies_beside_is_named_where_it_is(tmp_path: Path, named: str):
    """Its setting is looked up from where the program runs, not from the file that names it."""
    data = tmp_path / "data.toml"
    data.write_text("[[datasets]]\nresolution=128\n[[datasets.subsets]]\nimage_dir='/a'\n", encoding="utf-8")
    run = tmp_path / "run.toml"
    run.write_text(f"network_module = 'networks.lora'\ndataset_config = '{named}'\n", encoding="utf-8")
    assert Path(str(read(run).settings.get("dataset_config"))).resolve() == data
