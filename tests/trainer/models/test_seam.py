"""What is true of one family only stands in that family's own files: names of its classes and its numbers.

Read from the programs' own words (tokens and syntax trees), so comments and docstrings are free to explain,
and names of settings ("unet_lr") are no knowledge of a model.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.settings import TRAINING

ROOT = Path(__file__).parents[3]
OWN = (
    "trainer/families/",
    "trainer/models/configs/",
    *(
        f"trainer/models/{name}.py"
        for name in (
            "sd", "sdxl", "sd_files", "schedule", "samplers", "single_file", "clip",
            "checkpoint_names", "lora_names", "table",
        )
    ),
)  # fmt: skip
"""Files of a family, or of the formats that its models and LoRA files have."""
FORMATS = ("trainer/kohya/", "trainer/lora/", "trainer/tools/")
"""Rooms that read other programs' files, in which the denoiser is called "unet"."""
CLASSES = re.compile(r"UNet|DDPM|Ddpm|AutoencoderKL|CLIPText|StableDiffusion")
NUMBERS = {4, 8, 1000, 0.18215, 0.13025, 77, 768, 2048}
"""Latent channels, pixels per latent, timesteps, scales of latents; tokens; widths of text."""
ROOMS = ("models", "network", "distributed", "training", "jobs", "judge", "data", "plan", "preflight")
OTHER_MEANINGS: dict[str, dict[float, str]] = {
    "network/adapters/factored.py": {4: "dimensions of a convolution's input"},
    "network/adapters/low_rank.py": {4: "dimensions of a convolution's input"},
    "network/adapters/rotations.py": {4: "dimensions of a convolution's output"},
    "models/allocator.py": {4: "a parameter of mallopt"},
    "models/lean/attention.py": {2048: "places"},
    "network/peft_layer.py": {4: "dimensions of a convolution's weight"},
    "jobs/console.py": {1000: "bytes in a kB"},
    "judge/points.py": {4: "timesteps judged at", 8: "points"},
    "data/picture_files.py": {4: "bytes of a length"},
    "data/pixels.py": {4: "EXIF; hues", 8: "EXIF; steps of hue", 2048: "fixed point"},
    "data/prompt_attention.py": {1000: "brackets; weights"},
    "plan/lr_schedule.py": {1000: "limits of arguments"},
    "plan/memory.py": {4: "bytes of a float32", 8: "bytes an optimizer keeps"},
    "plan/optimizer_args.py": {8: "bits", 1000: "limits of arguments"},
    "plan/run.py": {4: "bytes of a float32"},
    "plan/sample_prompts.py": {1000: "steps of a sample", 2048: "largest sample"},
    "plan/state_facts.py": {8: "bytes of a hash", 1000: "files looked at"},
    "preflight/dataset_file.py": {8: "names said at most"},
    "preflight/lora_type.py": {4: "least size of OFT's blocks"},
    "preflight/pictures.py": {2048: "largest bucket"},
}
"""The same numbers meaning something else."""


def programs(*below: str) -> Iterator[tuple[str, str]]:
    """Path and text of each program outside the families' own files."""
    for folder in below:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(OWN):
                yield name, path.read_text(encoding="utf-8")


def words(text: str) -> Iterator[str]:
    """Every name that a program uses, and every text of it that is no docstring."""
    tree = ast.parse(text)
    spoken = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken:
            yield node.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.string


def numbers(text: str) -> set[float]:
    """A family's numbers that stand in a program."""
    constants = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    return {value for value in constants if isinstance(value, (int, float)) and value in NUMBERS}


def test_classes_of_one_family_are_named_in_its_own_files_only():
    classes = {
        name: sorted({word for word in words(text) if CLASSES.search(word) and " " not in word})
        for name, text in programs("trainer", "app")
    }
    assert {name: some for name, some in classes.items() if some} == {}


def test_the_denoiser_is_called_unet_only_where_a_setting_or_a_file_does():
    """Texts may: kohya_ss calls every family's denoiser "unet" in LoRA files and states."""
    named = re.compile(r"(^|_)unet(_|$)", re.IGNORECASE)
    names = {
        name: {token for token in re.findall(r"[A-Za-z_]\w*", code_of(text)) if named.search(token)}
        - set(TRAINING)
        for name, text in programs("trainer", "app")
        if not name.startswith(FORMATS)
    }
    assert {name: some for name, some in names.items() if some} == {}


def code_of(text: str) -> str:
    """A program without its comments and texts."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return " ".join(token.string for token in tokens if token.type == tokenize.NAME)


def test_numbers_of_one_family_stand_in_its_own_files_only():
    """A number that means something else is named in OTHER_MEANINGS, with what it means."""
    standing = {
        name.removeprefix("trainer/"): numbers(text)
        for name, text in programs(*(f"trainer/{room}" for room in ROOMS))
    }
    other = {name: {*meanings} for name, meanings in OTHER_MEANINGS.items()}
    assert {name: values for name, values in standing.items() if values} == other


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("x = 1  # a UNet of 4 channels", False),
        ('"""A UNet."""\nx = 1', False),
        ("from diffusers import UNet2DConditionModel as Net", True),
        ('getattr(diffusers, "DDPMScheduler")', True),
        ("models.sd.StableDiffusion()", True),
    ],
)
def test_comments_do_not_count_and_disguises_do(text: str, counts: bool):
    assert any(CLASSES.search(word) for word in words(text)) == counts
