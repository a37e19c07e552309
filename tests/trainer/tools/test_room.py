"""A disk without room for the result is told at the field before the work, to the byte of what is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from safetensors import safe_open

from tests.checkpoints import random_model, write_checkpoint
from tests.trainer.tools.made import lora, tensors
from trainer.errors import UserError
from trainer.tools import picture_copies
from trainer.tools.checks import check_values
from trainer.tools.table import TOOLS
from trainer.tools.tool import Work


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two checkpoints of SD1's names; the second has learned something."""
    folder = tmp_path_factory.mktemp("models")
    model = random_model("sd1")
    base = write_checkpoint(folder / "base.safetensors", model)
    for weight in model.denoiser.parameters():
        weight.data += 0.1
    return base, write_checkpoint(folder / "tuned.safetensors", model)


def forms(tmp_path: Path, base: Path) -> dict[str, dict[str, Any]]:
    """Tool -> a sound form whose result has a known size."""
    a, b = (lora(tmp_path / f"{name}.safetensors", tensors(8, 4, seed)) for seed, name in enumerate("ab"))
    dylora = lora(tmp_path / "d.safetensors", tensors(8, 4), ss_network_module="networks.dylora")
    fitting = {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (32, 32, 0)}
    fits = lora(tmp_path / "f.safetensors", tensors(2, 2, 0, fitting))
    (tmp_path / "own").mkdir()
    Image.effect_noise((90, 90), 60).save(tmp_path / "own" / "a.png")
    both = f"{a}\n{b}"
    return {
        "merge": {"loras": both, "precision": "float"},
        "merge at a rank": {"loras": both, "method": "closest of a rank", "rank": 3},
        "merge factors": {"loras": both, "method": "mixed factors"},
        "merge_into": {"model": str(base), "loras": str(fits), "precision": "fp16"},
        "resize": {"lora": str(a), "rank": 3},
        "split": {"lora": str(dylora), "rank": 4},
        "convert": {"lora": str(fits)},
        "metadata": {"lora": str(a), "title": "Momo"},
        "prepare": {"pictures": str(tmp_path / "own"), "instance_prompt": "x"},
    }


@pytest.mark.parametrize(
    "case",
    [
        "merge",
        "merge at a rank",
        "merge factors",
        "merge_into",
        "resize",
        "split",
        "convert",
        "metadata",
        "prepare",
    ],
)
def test_what_has_no_room_is_told_at_its_field(
    case: str, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, values = TOOLS[case.split(maxsplit=1)[0]], forms(tmp_path, models[0])[case]
    output = tmp_path / ("made" if case == "prepare" else "made.safetensors")
    form, _ = check_values(tool, {**values, "output": str(output)})
    assert form is not None
    tool.run(form, Work(lambda _event: None, lambda: False, tmp_path))
    whole = sum(path.stat().st_size for path in ([output] if output.is_file() else output.rglob("*.png")))
    tensors_ = 0
    if output.is_file():
        with safe_open(output, "pt") as file:
            tensors_ = sum(file.get_tensor(key).nbytes for key in file.keys())  # noqa: SIM118  # no mapping
    wanted = tensors_ or whole
    beside = wanted if tool.name in {"merge", "resize"} else 0  # the same again, until the file is whole

    def codes(free: int) -> list[tuple[str, str]]:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        problems = check_values(tool, {**values, "output": str(tmp_path / "new.safetensors")})[1]
        return [(problem.setting, problem.code) for problem in problems if problem.code == "tools.no_room"]

    assert codes(int((wanted + beside) * 0.9)) == [("output", "tools.no_room")]
    assert codes(whole + beside) == [], "what fits is not refused"


def test_an_extraction_ends_before_it_computes(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract, output = TOOLS["extract"], tmp_path / "new.safetensors"
    base, tuned = models
    form, _ = check_values(extract, {"base": str(base), "tuned": str(tuned), "output": str(output)})
    assert form is not None
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    reached: list[Any] = []
    with pytest.raises(UserError) as refused:
        extract.run(form, Work(reached.append, lambda: False, tmp_path))
    assert (refused.value.message.code, refused.value.setting) == ("tools.no_room", "output")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format_", ["as it is", "png"])
def test_a_disk_that_is_full_all_the_same_is_told_with_the_file(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's own answer: /dev/full takes nothing."""
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has a device that is always full")
    (tmp_path / "own").mkdir()
    Image.effect_noise((90, 90), 60).save(tmp_path / "own" / "a.bmp")
    (tmp_path / "full").symlink_to("/dev/full")
    monkeypatch.setattr(picture_copies, "partial_of", lambda _target: tmp_path / "full")
    values = {"pictures": str(tmp_path / "own"), "instance_prompt": "x", "repeats": 1, "format": format_}
    form, _ = check_values(TOOLS["prepare"], {**values, "output": str(tmp_path / "made")})
    assert form is not None
    with pytest.raises(OSError, match="No space left") as full:
        TOOLS["prepare"].run(form, Work(lambda _event: None, lambda: False, tmp_path))
    made = tmp_path / "made" / "img" / "1_x"
    assert Path(str(full.value.filename)) == made / ("a.bmp" if format_ == "as it is" else "a.png")
    assert list(made.iterdir()) == []
