"""The lines of "Sample prompts": a prompt and its options, as "a cat --n dog --w 512 --h 768 --d 1"."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from trainer.problems import Problem, hint
from trainer.settings import SamplerName

SMALLEST, LARGEST = 64, 2048


@dataclass(frozen=True)
class SamplePrompt:
    """A picture to draw while training."""

    prompt: str
    negative: str = ""
    width: int = 512
    """A multiple of 8, as `height`."""
    height: int = 512
    seed: int | None = None
    """None: the run's choice."""
    scale: float = 7.5
    """How strictly the prompt is followed (classifier-free guidance)."""
    steps: int = 30
    sampler: str = ""
    """Blank: "Sample sampler"."""


def _steps(text: str) -> int:
    return max(1, min(1000, int(text)))


OPTIONS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "w": ("width", r"\d+", int),
    "h": ("height", r"\d+", int),
    "d": ("seed", r"\d+", int),
    "s": ("sample_steps", r"\d+", _steps),
    "l": ("scale", r"[\d.]+", float),
    "g": ("guidance_scale", r"[\d.]+", float),
    "n": ("negative_prompt", r".+", str),
    "ss": ("sample_sampler", r".+", str),
    "cn": ("controlnet_image", r".+", str),
    "ctr": ("cfg_trunc_ratio", r"[\d.]+", float),
    "rcfg": ("renorm_cfg", r"[\d.]+", float),
    "fs": ("flow_shift", r"[\d.]+", str),
}
"""Letters after "--": their name, the form of the value, and how it is read."""
OTHER_MODELS = ("cn", "ctr", "rcfg", "fs")
"""Options that mean something to other kinds of models only."""


def read_option(text: str) -> tuple[str, Any] | None:
    """Name and value of "w 512"; None for what is no option or has no value of its form."""
    for letters, (name, form, read) in OPTIONS.items():
        if match := re.match(rf"{letters} ({form})", text, re.IGNORECASE):
            try:
                return name, read(match[1])
            except ValueError:
                return None
    return None


def parse_line(line: str) -> dict[str, Any]:
    """The prompt of a line and its options, under sd-scripts' names, as sd-scripts reads them.

    The prompt itself is looked at as an option too ("w 20 people" asks for 20 pixels of width): so does
    the reference.
    """
    prompt, *rest = line.split(" --")
    found = [option for part in (prompt, *rest) if (option := read_option(part))]
    return {"prompt": prompt, **dict(found)}


def parse_lines(text: str) -> list[SamplePrompt | Problem]:
    """What the lines ask for, in order; hints for options that do nothing. Blank lines and lines that
    begin with # are left out.
    """
    found: list[SamplePrompt | Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        line_of_options = f" {stripped}" if stripped.startswith("--") else stripped
        prompt, problems = _prompt_of(line_of_options, number)
        found += [prompt, *problems]
    return found


def prompts(text: str) -> list[SamplePrompt]:
    """The pictures that "Sample prompts" asks for."""
    return [found for found in parse_lines(text) if isinstance(found, SamplePrompt)]


def _prompt_of(line: str, number: int) -> tuple[SamplePrompt, list[Problem]]:
    options = parse_line(line)
    width, height = options.get("width", 512), options.get("height", 512)
    sampler = options.get("sample_sampler", "").strip()
    problems = [*_idle_options(line, number), *_odd_values(number, width, height, sampler)]
    sampler = sampler if sampler in get_args(SamplerName) else ""
    prompt = SamplePrompt(
        options["prompt"].strip(),
        options.get("negative_prompt", "").strip(),
        _side(width),
        _side(height),
        options.get("seed"),
        options.get("scale", options.get("guidance_scale", 7.5)),
        options.get("sample_steps", 30),
        sampler,
    )
    return prompt, problems


def _side(pixels: int) -> int:
    return max(SMALLEST, pixels - pixels % 8)


def _idle_options(line: str, number: int) -> list[Problem]:
    """Hints for options that are unknown, have no fitting value, or mean nothing here."""
    problems: list[Problem] = []
    for part in line.split(" --")[1:]:
        letters, _, value = part.partition(" ")
        if letters.lower() not in OPTIONS:
            problems.append(
                hint("sample_prompts", "preflight.sample_option", line=number, option=f"--{letters}")
            )
        elif letters.lower() in OTHER_MODELS:
            problems.append(
                hint("sample_prompts", "preflight.sample_idle", line=number, option=f"--{letters}")
            )
        elif read_option(part) is None and value.strip():
            problems.append(
                hint(
                    "sample_prompts",
                    "preflight.sample_value",
                    line=number,
                    option=f"--{letters}",
                    value=value,
                )
            )
    return problems


def _odd_values(number: int, width: int, height: int, sampler: str) -> list[Problem]:
    problems: list[Problem] = []
    if sampler and sampler not in get_args(SamplerName):
        problems.append(hint("sample_prompts", "preflight.sample_sampler", line=number, sampler=sampler))
    if min(width, height) < SMALLEST:
        size = f"{_side(width)} × {_side(height)}"
        problems.append(hint("sample_prompts", "preflight.sample_small", line=number, size=size))
    if max(width, height) > LARGEST:
        size = f"{width:,} × {height:,}"
        problems.append(hint("sample_prompts", "preflight.sample_large", line=number, size=size))
    return problems
