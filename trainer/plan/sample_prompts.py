"""The lines of "Sample prompts": a prompt and its options, as "a cat --n dog --w 512 --h 768 --d 1"."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from trainer.families.family import Family
from trainer.plan.pasted_prompts import as_lines, is_pasted
from trainer.problems import Problem, hint, repeated
from trainer.settings import SamplerName

SMALLEST, LARGEST = 64, 2048
MOST_DENOISING_STEPS = 1000


@dataclass(frozen=True)
class SamplePrompt:
    """A picture to draw while training."""

    prompt: str
    negative: str
    width: int
    """Pixels, as `height`: whole latents."""
    height: int
    seed: int | None = None
    """None: the run's choice."""
    scale: float = 7.5
    """How strictly the prompt is followed (classifier-free guidance)."""
    steps: int = 30
    sampler: str = ""
    """Blank: "Sample sampler"."""


def _steps(text: str) -> int:
    return max(1, min(MOST_DENOISING_STEPS, int(text)))


PROMPT_OPTIONS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
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


SEEDS = 2**64
"""torch draws from seeds below it."""
DASHES = "-‐‑‒–—―−－ー"
_WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(ord("a"), ord("z") + 1)})
OTHER_NAMES = {
    "width": "w", "height": "h", "seed": "d", "steps": "s", "cfg": "l", "scale": "l", "neg": "n",
    "negative": "n", "negative_prompt": "n", "sampler": "ss",
}  # fmt: skip
"""What other programs call options, and people who guess."""
_NAMES = sorted(
    [*PROMPT_OPTIONS, *OTHER_NAMES, *(name.translate(_WIDE) for name in PROMPT_OPTIONS)],
    key=len,
    reverse=True,
)
ALMOST = re.compile(
    rf"(?:[\s\u3000]+[{DASHES}]{{1,2}}|(?<=\S)--(?=\w+[\s=]+\S))(?P<name>{'|'.join(_NAMES)})"
    r"(?:(?=[\s\u3000]|$)|=|(?<=[\s\u3000−-][whdslg])(?=\d))(?P<value>[\s\u3000]*[0-9０-９.,、．，]+(?=[\s\u3000]|$))?(?P<gap>\u3000*)",
    re.IGNORECASE,
)
"""An option, or what is meant to be one: one dash or long ones, full-width blanks, letters and digits, no
blank or = before the value, another program's name.
"""
JSON = re.compile(r"[\[{][\[{\s]*\"")
FILE_PATTERN = re.compile(
    r"[^\s<>|?*]*[\\/][^<>|?*]*\.(txt|json|toml|ya?ml|csv)|\S+\.(txt|json|toml|ya?ml)", re.IGNORECASE
)
_WHOLE, _REAL = r"\d+", r"\d+\.?\d*|\.\d+"
NUMBERS = {"w": _WHOLE, "h": _WHOLE, "d": _WHOLE, "s": _WHOLE, "l": _REAL, "g": _REAL}
"""Options whose value is a number, and its form from beginning to end."""


def read_option(text: str) -> tuple[str, Any] | None:
    """Name and value of "w 512"; None for what is no option or has no value of its form."""
    for letters, (name, form, read) in PROMPT_OPTIONS.items():
        if match := re.match(rf"{letters} ({form})", text, re.IGNORECASE):
            try:
                return name, read(match[1])
            except ValueError:
                return None
    return None


def parse_line(line: str) -> dict[str, Any]:
    """The prompt of a line and its options, under sd-scripts' names, as sd-scripts reads them.

    But for the prompt itself, which is never an option: the reference takes "N gage phone" for a negative
    prompt.
    """
    prompt, *rest = line.split(" --")
    found = [option for part in rest if (option := read_option(part))]
    return {"prompt": prompt, **dict(found)}


def parse_lines(text: str, family: Family) -> list[SamplePrompt | Problem]:
    """What the lines ask of a model of this family, in order; hints for options that do nothing."""
    found: list[SamplePrompt | Problem] = []
    for number, line in asking_lines(text):
        line_of_options = f" {line}" if line.startswith("--") else line
        prompt, problems = _prompt_of(line_of_options, number, family)
        found += [prompt, *_written_otherwise(text, line_of_options, number), *problems]
    return [*found, *_pasted(text)]


def _pasted(text: str) -> list[Problem]:
    """One hint where prompts stand as other pages write them beneath pictures."""
    first = next(((number, line) for number, line in asking_lines(text) if is_pasted(line)), None)
    if first is None:
        return []
    number, line = first
    better = as_lines(text)
    fix = {"sample_prompts": better} if better != text else None
    return [hint("sample_prompts", "preflight.sample_pasted", fix, line=number, value=line[:40])]


def asking_lines(text: str) -> list[tuple[int, str]]:
    """The lines that ask for a picture, and their numbers: neither blank nor beginning with #."""
    lines = enumerate((line.strip() for line in text.splitlines()), 1)
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def prompts(text: str, family: Family) -> list[SamplePrompt]:
    """The pictures that "Sample prompts" asks for of a model of this family."""
    return [found for found in parse_lines(text, family) if isinstance(found, SamplePrompt)]


def mended(line: str) -> str:
    """The line with everything that is nearly an option written as one."""

    def option(found: re.Match[str]) -> str:
        name = unicodedata.normalize("NFKC", found["name"]).lower()
        name = OTHER_NAMES.get(name, name)
        value = unicodedata.normalize("NFKC", found["value"] or "").strip()
        if name in ("l", "g"):
            value = re.sub(r"[,、]", ".", value)
        return f" --{name}" + (f" {value}" if value else "") + (" " if found["gap"] else "")

    return ALMOST.sub(option, line)


def _written_otherwise(text: str, line: str, number: int) -> list[Problem]:
    """A hint for a line whose options are not read as they are meant, or that names a file."""
    if FILE_PATTERN.fullmatch(line.strip()):
        return [hint("sample_prompts", "preflight.sample_file", line=number, path=line.strip()[:80])]
    if JSON.match(line):
        return [hint("sample_prompts", "preflight.sample_json", line=number, value=line.strip()[:40])]
    if is_pasted(line):  # told once, by _pasted
        return []
    better = mended(line).strip()
    if parse_line(f" {better}") == parse_line(f" {line.strip()}") or better == line.strip():
        return []
    lines = text.splitlines()
    fix = {"sample_prompts": "\n".join([*lines[: number - 1], better, *lines[number:]])}
    return [hint("sample_prompts", "preflight.sample_dashes", fix, line=number, better=better[:120])]


def _prompt_of(line: str, number: int, family: Family) -> tuple[SamplePrompt, list[Problem]]:
    options, step = parse_line(line), family.latents.factor
    width, height = (options.get(side, family.sample_side) for side in ("width", "height"))
    sampler = options.get("sample_sampler", "").strip()
    problems = [
        *_odd_beginning(line, number),
        *_idle_options(line, number),
        *_of_other_pages(line, number),
        *_odd_values(number, width, height, step, sampler),
    ]
    seed = options.get("seed")
    if seed is not None and seed >= SEEDS:
        seed %= SEEDS
        problems.append(hint("sample_prompts", "preflight.sample_seed", line=number, seed=str(seed)))
    sampler = sampler if sampler in get_args(SamplerName) else ""
    prompt = SamplePrompt(
        options["prompt"].strip(),
        options.get("negative_prompt", "").strip(),
        _side(width, step),
        _side(height, step),
        seed,
        options.get("scale", options.get("guidance_scale", 7.5)),
        options.get("sample_steps", 30),
        sampler,
    )
    return prompt, problems


def _side(pixels: int, step: int) -> int:
    """A side that is drawn instead: whole latents."""
    return max(SMALLEST, pixels - pixels % step)


def _odd_beginning(line: str, number: int) -> list[Problem]:
    """Hints for a line without a prompt, and for one that sd-scripts would take for an option."""
    prompt = line.split(" --", maxsplit=1)[0].strip()
    if not prompt:
        return [hint("sample_prompts", "preflight.sample_blank", line=number)]
    if read_option(prompt):
        return [hint("sample_prompts", "preflight.sample_leading", line=number, value=prompt[:40])]
    return []


def _idle_options(line: str, number: int) -> list[Problem]:
    """Hints for options that are unknown, have no fitting value, or mean nothing here."""
    problems: list[Problem] = []
    for part in line.split(" --")[1:]:
        letters, _, value = part.partition(" ")
        if letters.lower() not in PROMPT_OPTIONS:
            problems.append(
                hint("sample_prompts", "preflight.sample_option", line=number, option=f"--{letters}")
            )
        elif letters.lower() in OTHER_MODELS:
            problems.append(
                hint("sample_prompts", "preflight.sample_idle", line=number, option=f"--{letters}")
            )
        elif problem := _odd_number(letters, value.strip(), number, read=read_option(part) is not None):
            problems.append(problem)
    return problems


def _of_other_pages(line: str, number: int) -> list[Problem]:
    """Hints for an option that stands twice, and for other pages' words that load a LoRA."""
    letters = [part.partition(" ")[0].lower() for part in line.split(" --")[1:]]
    twice = [one for one in repeated(letters) if one in PROMPT_OPTIONS][:1]
    found = [
        hint("sample_prompts", "preflight.sample_twice", line=number, option=f"--{one}") for one in twice
    ]
    if tag := re.search(r"<(?:lora|lyco|hypernet):[^<>]{1,100}>", line, re.IGNORECASE):
        found.append(hint("sample_prompts", "preflight.sample_tag", line=number, tag=tag[0][:60]))
    return found


def _odd_number(letters: str, value: str, number: int, *, read: bool) -> Problem | None:
    """A value that is no number, or not all of it; or one that another is taken for."""
    values = {"line": number, "option": f"--{letters}", "value": value[:60]}
    if not value and letters.lower() != "n":  # none is as good as a blank one
        return hint("sample_prompts", "preflight.sample_bare", None, **values)
    if letters.lower() not in NUMBERS:
        return None
    if not read:
        return hint("sample_prompts", "preflight.sample_value", None, **values)
    if not re.fullmatch(NUMBERS[letters.lower()], value):
        return hint("sample_prompts", "preflight.sample_partly", None, **values)
    if letters.lower() == "s" and not 1 <= int(value) <= MOST_DENOISING_STEPS:
        return hint("sample_prompts", "preflight.sample_steps", None, **values, used=_steps(value))
    return None


def _odd_values(number: int, width: int, height: int, step: int, sampler: str) -> list[Problem]:
    problems: list[Problem] = []
    if sampler and sampler not in get_args(SamplerName):
        problems.append(hint("sample_prompts", "preflight.sample_sampler", line=number, sampler=sampler))
    if min(width, height) < SMALLEST:
        size = f"{_side(width, step)} × {_side(height, step)}"
        problems.append(hint("sample_prompts", "preflight.sample_small", line=number, size=size))
    elif width % step or height % step:
        size = f"{_side(width, step)} × {_side(height, step)}"
        problems.append(hint("sample_prompts", "preflight.sample_eighths", line=number, size=size, step=step))
    if max(width, height) > LARGEST:
        size = f"{width:,} × {height:,}"
        problems.append(hint("sample_prompts", "preflight.sample_large", line=number, size=size))
    return problems
