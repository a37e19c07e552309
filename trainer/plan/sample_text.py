"""How a picture was drawn, as text in its PNG ("parameters"), in the form of AUTOMATIC1111's page.

prompt, "Negative prompt: …" where there is one, and a line "Steps: 20, Sampler: Euler a, …"
(modules/infotext_utils.py there). A value with a comma, a colon or a line break is written as a JSON string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from trainer.plan.sample_prompts import SamplePrompt

PNG_KEY = "parameters"
"""Of the PNG's text."""
LORA, STEP, RUN = "Lora", "Lora step", "Run"
"""Entries of our own: the LoRA's name, after how many steps, and the job that drew the picture."""
SAMPLER_NAMES = {
    "ddim": "DDIM", "pndm": "PLMS", "lms": "LMS", "euler": "Euler", "euler_a": "Euler a", "heun": "Heun",
    "dpm_2": "DPM2", "dpm_2_a": "DPM2 a", "dpmsolver++": "DPM++ 2M", "dpmsingle": "DPM++ 2S",
}  # fmt: skip
"""Samplers under the names of that page; one without such a name keeps its own."""
ENTRY = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def picture_text(prompt: SamplePrompt, seed: int, sampler: str, more: Mapping[str, object]) -> str:
    """The text of a picture. `sampler` as in "Sample sampler"; `more`: entries after the usual ones."""
    plain = sampler.removeprefix("k_")
    entries = {
        "Steps": prompt.steps,
        "Sampler": SAMPLER_NAMES.get(plain, plain),
        "CFG scale": f"{prompt.scale:g}",
        "Seed": seed,
        "Size": f"{prompt.width}x{prompt.height}",
        **more,
    }
    lines = [prompt.prompt]
    if prompt.negative:
        lines.append(f"Negative prompt: {prompt.negative}")
    return "\n".join([*lines, ", ".join(f"{name}: {_quoted(str(value))}" for name, value in entries.items())])


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value


def text_entries(text: str) -> dict[str, str]:
    """The entries of a picture's last line; none where it is no such text."""
    *_, last = text.strip().splitlines() or [""]
    found = {name: _plain(value) for name, value in ENTRY.findall(last)}
    return found if "Steps" in found else {}


def _plain(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value.strip()
    except ValueError:
        return value
