"""LoRA types that a tool cannot take are told at its field, before the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.tools.made import lora, tensors
from trainer.errors import UserError
from trainer.lora.shapes import AlgorithmOptions
from trainer.lora.types import Algorithm, entry_shapes
from trainer.messages import LANGUAGES, texts
from trainer.tools.checks import check_values
from trainer.tools.convert import convert
from trainer.tools.table import TOOLS

NAME = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
SHAPE = (16, 24)
USUAL = AlgorithmOptions()
DORA = AlgorithmOptions(dora=True)
KINDS: Mapping[str, tuple[Algorithm, AlgorithmOptions]] = {
    "plain": ("lora", USUAL), "dora": ("lora", DORA), "loha": ("loha", USUAL),
    "loha_dora": ("loha", DORA), "lokr": ("lokr", USUAL), "glora": ("glora", USUAL),
    "ia3": ("ia3", USUAL), "diag_oft": ("diag-oft", USUAL), "boft": ("boft", USUAL),
    "full": ("full", USUAL),
}  # fmt: skip
NO_FACTORS = ("dora", "loha_dora", "glora", "ia3", "diag_oft", "boft")


def file_of(folder: Path, kind: str) -> Path:
    """A file with one module of a type."""
    algorithm, options = KINDS[kind]
    shapes = entry_shapes(algorithm, SHAPE, 2 if algorithm != "boft" else 4, options, bias=False)
    made = {f"{NAME}.{entry}": torch.rand(shape) for entry, shape in shapes.items()}
    if algorithm == "ia3":
        made[f"{NAME}.on_input"] = torch.tensor(data=True)
    return lora(folder / f"{kind}.safetensors", {**made, f"{NAME}.alpha": torch.tensor(1.0)})


def codes(tool: str, **values: Any) -> dict[str, str]:
    """Setting -> code of what stops the run."""
    return {one.setting: one.code for one in check_values(TOOLS[tool], values)[1] if one.blocks}


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_factors_is_told_before_it_is_resized_or_merged(kind: str, tmp_path: Path) -> None:
    file, output = file_of(tmp_path, kind), str(tmp_path / "new.safetensors")
    plain = lora(tmp_path / "other.safetensors", tensors(2, 1))
    refused = "tools.needs_model" if kind in NO_FACTORS else ""
    assert codes("resize", lora=str(file), output=output) == ({"lora": refused} if refused else {})
    both = f"{plain}\n{file}"
    assert codes("merge", loras=both, output=output) == ({"loras": refused} if refused else {})


@pytest.mark.parametrize("kind", ["loha", "lokr", "full"])
def test_only_plain_files_are_mixed_and_another_method_is_offered(kind: str, tmp_path: Path) -> None:
    values = {"loras": str(file_of(tmp_path, kind)), "output": str(tmp_path / "new.safetensors")}
    assert codes("merge", **values, method="mixed factors") == {"method": "tools.only_plain"}
    fixes = [one.fix for one in check_values(TOOLS["merge"], {**values, "method": "mixed factors"})[1]]
    assert fixes == [{"method": "side by side"}]


def test_a_module_of_no_known_type_is_told_with_its_entries(tmp_path: Path) -> None:
    made = {**tensors(2, 1), f"{NAME}_2.secret": torch.rand(4)}
    file, output = str(lora(tmp_path / "odd.safetensors", made)), str(tmp_path / "new.safetensors")
    for tool in ("resize", "convert"):
        assert codes(tool, lora=file, output=output) == {"lora": "tools.unknown_type"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_diffusers_has_no_names_for_is_told_before_it_is_converted(kind: str, tmp_path: Path) -> None:
    file, output = file_of(tmp_path, kind), tmp_path / "new.safetensors"
    found = codes("convert", lora=str(file), output=str(output))
    if kind in ("plain", "dora"):
        assert found == {}
        return
    wanted = "tools.convert_needs_model" if kind in NO_FACTORS else "tools.convert_only_plain"
    assert found == {"lora": wanted}
    with pytest.raises(UserError) as refused:
        convert(file, output)
    assert refused.value.message.code == wanted
    # "Resize" is advised where it takes the file, and nowhere else.
    takes = not codes("resize", lora=str(file), output=str(output))
    for language in LANGUAGES:
        told = texts(language)
        assert (told["tools"]["resize"]["title"] in told["messages"][wanted]["fix"]) == takes


def test_lengths_of_columns_are_told_before_the_run(tmp_path: Path) -> None:
    made = {**tensors(2, 1, 0, {NAME: (16, 24, 0)}), f"{NAME}.dora_scale": torch.rand(1, 24)}
    file, output = lora(tmp_path / "columns.safetensors", made), str(tmp_path / "new.safetensors")
    assert codes("convert", lora=str(file), output=output) == {"lora": "tools.convert_needs_model"}
