"""*Try the demo*, as the page starts it: the mascot appears where it was asked for, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from presets.demo.make import measure

MASCOT_WHITE, MASCOT_YELLOW, RED_CIRCLE = 0, 1, 2  # lines of the preset's sample prompts
Samples = dict[tuple[int, int], np.ndarray]


@pytest.fixture(scope="module")
def samples(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """(step, prompt) -> picture of the demo's own run, sampled only before and after."""
    folder = tmp_path_factory.mktemp("demo")
    settings = ["--set", f"output_dir={folder}", "--set", "sample_every_n_steps=160"]
    command = [sys.executable, "-m", "trainer", "train", "presets/demo.json", "--job", str(folder / "job")]
    subprocess.run([*command, *settings], cwd=root, check=True, timeout=900)
    found = {}
    for path in (folder / "job" / "samples").glob("*.png"):
        step, prompt = path.stem.split("_")
        with Image.open(path) as picture:
            found[int(step), int(prompt)] = np.asarray(picture.convert("RGB"))
    return found


@pytest.mark.parametrize("prompt", [MASCOT_WHITE, MASCOT_YELLOW])
def test_mascot_appears_where_something_else_was(samples: Samples, prompt: int):
    before, after = (measure.mascot_distance(samples[step, prompt]) for step in (0, 160))
    assert before > 0.16  # no mascot yet: other figures are this far away
    assert after < 0.15
    assert after < before - 0.03


def test_prompt_without_the_trigger_still_gives_what_it_gave(samples: Samples):
    before, after = samples[0, RED_CIRCLE], samples[160, RED_CIRCLE]
    for picture in (before, after):
        assert (measure.main_color(picture), measure.shape_of(picture)) == ("red", "circle")
        assert measure.ground_of(picture) == "white"
    assert measure.picture_change(before, after) < 0.15  # two drawings by one caption differ as much
