"""`python -m trainer try`: strength 0 is the base model, a stronger LoRA changes more, wishes are checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.jobs.trial import WISH, answers, picture
from tests.trainer.runs import run
from trainer.errors import UserError
from trainer.families.table import SD1
from trainer.files.job_folder import JobFolder
from trainer.jobs.try_out import DrawRequest


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    folder = tmp_path_factory.mktemp("try")
    made, code = run(folder, unet_lr=0.05, save_every_n_steps=2)
    assert code == 0
    return made


def out(job: JobFolder, name: str) -> str:
    return str(job.path.parent.parent / "out" / name)


def test_the_lora_is_drawn_first_also_by_an_easel_that_was_warmed(job: JobFolder):
    file = out(job, "mascot.safetensors")
    said = answers(job, {"warm": True, "file": file}, {**WISH, "id": 1, "file": file})
    assert said[-1]["event"] == "done"
    assert [one["which"] for one in said if one["event"] == "drawn"] == ["lora", "base"]


def test_strength_is_the_files_own(job: JobFolder):
    file = out(job, "mascot.safetensors")
    wishes = [{**WISH, "id": i, "file": file, "strength": part} for i, part in enumerate((0, 0.05, 1.0))]
    said = answers(job, *wishes, {**WISH, "id": 3, "file": out(job, "mascot-step00000002.safetensors")})
    assert [one["event"] for one in said if one["event"] in ("loading", "ready")] == ["loading", "ready"]
    names = {(one["id"], one["which"]): one["name"] for one in said if one["event"] == "drawn"}
    base, little, full, early = (picture(job, names[i, "lora"]) for i in range(4))
    assert (base == picture(job, names[0, "base"])).all()
    assert names[1, "base"] == names[0, "base"], "drawn once"
    assert np.abs(full - base).mean() > np.abs(little - base).mean() > 0
    assert (early != full).any()


def test_a_file_that_is_gone_is_said(job: JobFolder):
    [last] = answers(job, {**WISH, "file": out(job, "none.safetensors")})[-1:]
    assert (last["event"], last["code"]) == ("failed", "core.file_missing")


@pytest.mark.parametrize(
    "change",
    [{"width": 32}, {"height": 4096}, {"strength": 3}, {"strength": "x"}, {"steps": 0}, {"sampler": "none"}],
)
def test_wishes_out_of_bounds_are_refused(change: dict[str, Any]):
    with pytest.raises(UserError):
        DrawRequest.from_json({**WISH, "file": "a.safetensors", **change}, SD1)


def test_the_process_speaks_json_only_shares_the_processor_and_ends_with_its_input(
    job: JobFolder, root: Path, tmp_path: Path
):
    wish = json.dumps({**WISH, "file": out(job, "mascot.safetensors"), "seed": 9})
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    with (tmp_path / "log.txt").open("w") as log:
        talker = subprocess.Popen(
            [sys.executable, "-m", "trainer", "try", str(job.path)],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**environment, "OMP_DISPLAY_ENV": "TRUE"},  # OpenMP says how it was set
        )
    assert talker.stdin
    assert talker.stdout
    talker.stdin.write(f"no json\n{wish}\n")
    talker.stdin.flush()
    heard = []
    for line in talker.stdout:
        heard.append(json.loads(line)["event"])
        if heard[-1] == "done":
            break
    talker.stdin.close()
    talker.stdout.close()
    assert talker.wait(30) == 0
    assert heard[0] == "loading"
    assert heard.count("drawn") == 2
    openmp = [line for line in (tmp_path / "log.txt").read_text().splitlines() if "OMP_WAIT_POLICY" in line]
    assert all("PASSIVE" in line for line in openmp)
    assert openmp or sys.platform != "linux"


@pytest.mark.parametrize(
    "kind",
    [
        "LyCORIS/LoHa",
        pytest.param("LyCORIS/Diag-OFT", marks=pytest.mark.long),
        pytest.param("Kohya DyLoRA", marks=pytest.mark.long),
    ],
)
def test_other_types_count_by_their_strength_too(tmp_path: Path, kind: str):
    trained, code = run(tmp_path, LoRA_type=kind, unet_lr=0.01, text_encoder_lr=0, network_dim=4, conv_dim=4)
    assert code == 0
    file = str(tmp_path / "out" / "mascot.safetensors")
    said = answers(trained, *({**WISH, "id": i, "file": file, "strength": 0.5 + i / 2} for i in range(2)))
    assert [one for one in said if one["event"] == "failed"] == []
    names = {(one["id"], one["which"]): one["name"] for one in said if one["event"] == "drawn"}
    base, half, full = (picture(trained, names[key]) for key in ((0, "base"), (0, "lora"), (1, "lora")))
    assert (half != base).any()
    assert (full != half).any()
