"""Every tool's form: words in both languages, and what stands in its way is told with a fix."""

from __future__ import annotations

import errno
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.checkpoints import random_model, write_checkpoint
from tests.trainer.tools.made import lora, tensors
from trainer.errors import UserError
from trainer.files.roots import Roots
from trainer.messages import LANGUAGES, texts
from trainer.tools.checks import check_values
from trainer.tools.places import NEW, READ
from trainer.tools.shares import shares
from trainer.tools.table import TOOLS
from trainer.tools.tool import Tool, Work

JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龥]")
languages = pytest.mark.parametrize("language", LANGUAGES)
tools = pytest.mark.parametrize("tool", TOOLS.values(), ids=list(TOOLS))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return lora(tmp_path / "a.safetensors", tensors(8, 4))


def codes(name: str, roots: Roots | None = None, **values: object) -> dict[str, list[str]]:
    """Setting -> codes of its problems."""
    found: dict[str, list[str]] = {}
    for problem in check_values(TOOLS[name], values, roots)[1]:
        found.setdefault(problem.setting, []).append(problem.code)
    return found


def fix(name: str, key: str, **values: object) -> object:
    fixes = [problem.fix or {} for problem in check_values(TOOLS[name], values)[1]]
    return next(one[key] for one in fixes if key in one)


@languages
@tools
def test_a_tool_has_its_words(language, tool):
    told = texts(language)
    assert [*told["tools"][tool.name]] == ["title", "about", "act"]
    for key, setting in tool.schema.items():
        help_ = tool.schema.told(key, told["tool_settings"])
        assert help_["does"], key
        assert bool(JAPANESE.search(help_["does"])) == (language == "ja"), key
        assert ("meaning" in help_) == (language == "ja"), key
        assert set(help_) <= {"meaning", "does", "usual", "too_much", "goes_with"}, key
        assert setting.spec.group in told["tool_groups"]
        words = tool.schema.told(key, told["tool_choices"])
        assert [*words] == [str(choice) for choice in setting.choices or setting.spec.suggestions], key
        assert all(words.values()), key


@languages
def test_no_word_is_left_over(language):
    told = texts(language)
    assert set(told["tools"]) == set(TOOLS)
    used = {key for tool in TOOLS.values() for key in tool.schema}
    own = {f"{tool.name}.{key}" for tool in TOOLS.values() for key in tool.schema}
    for kind in ("tool_settings", "tool_choices"):
        assert set(told[kind]) <= used | own
        for key in used & set(told[kind]):  # some tool says it in these words
            assert any(
                key in tool.schema and f"{tool.name}.{key}" not in told[kind] for tool in TOOLS.values()
            ), key


def test_both_languages_say_as_much():
    english, japanese = (texts(language)["tool_settings"] for language in LANGUAGES)
    assert set(english) == set(japanese)
    for key, parts in english.items():
        assert {*parts} == {*japanese[key]} - {"meaning"}, key


@tools
def test_a_blank_form_says_what_is_missing(tool):
    form, problems = check_values(tool, {})
    assert form is None
    required = {key for key, one in tool.schema.items() if one.spec.required and one.default == ""}
    assert {problem.setting for problem in problems if problem.blocks} == required
    assert {problem.code for problem in problems if problem.blocks} == {"tools.blank"}


def test_a_free_name_beside_the_file_is_proposed(file: Path):
    proposed = fix("resize", "output", lora=str(file))
    assert proposed == str(file.with_name("a-resized.safetensors"))
    file.with_name("a-resized.safetensors").touch()
    assert fix("resize", "output", lora=str(file)) == str(file.with_name("a-resized-2.safetensors"))


def paths_of(tool: Tool) -> list[str]:
    return [key for key, one in tool.schema.items() if one.spec.widget in (*READ, *NEW, "shares")]


@tools
@pytest.mark.parametrize("odd", ["x" * 300, "a/" * 3000, "file://[", "x" * 300 + "/y"])
def test_a_path_that_cannot_be_is_told_at_its_setting(tool: Tool, odd: str):
    for key in paths_of(tool):
        form, problems = check_values(tool, {key: odd})
        assert form is None
        assert any(problem.blocks and problem.setting == key for problem in problems), key


@tools
def test_a_path_in_a_closed_folder_is_told_at_its_setting(tool: Tool, tmp_path: Path, monkeypatch):
    closed, stat = tmp_path / "closed", Path.stat

    def guarded(path: Path, **options: Any) -> Any:  # as the system says it; nothing is closed to root
        if closed in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", guarded)
    for key in paths_of(tool):
        _, problems = check_values(tool, {key: str(closed / "in" / "x.safetensors")})
        told = [problem.code for problem in problems if problem.setting == key]
        assert told == ["preflight.path_closed"], key


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("gone.safetensors", "tools.missing"),
        (".", "tools.no_file"),
        ("note.txt", "tools.ending"),
        ("\0", "preflight.path_impossible"),
    ],
)
def test_what_is_read_must_be_there_and_of_its_kind(tmp_path: Path, wrong: str, code: str):
    (tmp_path / "note.txt").touch()
    assert codes("verify", lora=f"{tmp_path}/{wrong}") == {"lora": [code]}


@pytest.mark.parametrize(
    ("wrong", "code", "mended"),
    [
        ("a.safetensors", "tools.exists", "a-2.safetensors"),
        ("A.SAFETENSORS/x.safetensors", "tools.no_place", None),
        ("small", "tools.ending_new", "small.safetensors"),
        ("small.ckpt", "tools.ending_new", "small.ckpt.safetensors"),
        ("猫" * 78 + ".safetensors", "tools.long_name", None),
        ("to_nowhere.safetensors", "tools.exists", "to_nowhere-2.safetensors"),
    ],
)
def test_what_is_written_needs_a_free_name(file: Path, wrong: str, code: str, mended: str | None):
    name = wrong.replace("A.SAFETENSORS", file.name)
    (file.parent / "to_nowhere.safetensors").symlink_to(file.parent / "gone.safetensors")
    values: dict[str, Any] = {"lora": str(file), "output": str(file.parent / name)}
    assert codes("resize", **values) == {"output": [code]}
    if mended:
        assert fix("resize", "output", **values) == str(file.parent / mended)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Folders that may not be written, as the system says it; nothing is closed to root."""
    folders: set[Path] = set()
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) not in folders)
    return folders


def test_a_folder_that_is_closed_is_told_before_the_work(file: Path, closed: set[Path]):
    closed.add(file.parent)
    output = file.parent / "new" / "small.safetensors"
    assert codes("resize", lora=str(file), output=str(output)) == {"output": ["tools.closed_place"]}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for place in ("a.png", "more/b.png"):
        Image.new("RGB", (16, 16)).save(folder / place)
    return folder


@pytest.mark.parametrize("below", ["", "img", "img/10_sks", "log"])
def test_training_folders_that_are_closed_are_told_before_the_work(
    below: str, pictures: Path, tmp_path: Path, closed: set[Path]
):
    root = tmp_path / "training"
    (root / "img" / "10_sks").mkdir(parents=True)
    (root / "log").mkdir()
    ask = partial(codes, "prepare", pictures=str(pictures), instance_prompt="sks", output=str(root))
    assert ask() == {}
    closed.add(root / below)
    # What exists already and gets nothing new may be closed.
    wanted = {} if below == "log" else {"output": ["tools.closed_place"]}
    assert ask() == ({} if below == "img" else wanted)


def test_a_file_in_the_place_of_a_training_folder_is_told(pictures: Path, tmp_path: Path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "reg").write_bytes(b"")
    root = str(tmp_path / "training")
    found = codes("prepare", pictures=str(pictures), instance_prompt="sks", output=root)
    assert found == {"output": ["tools.no_place"]}


@pytest.mark.parametrize(("write", "blocks"), [(True, True), (False, False)])
def test_folders_that_captions_cannot_be_written_into_are_told(
    write: bool, blocks: bool, pictures: Path, tmp_path: Path, closed: set[Path]
):
    for name in ("model.onnx", "selected_tags.csv"):
        (tmp_path / name).write_bytes(b"")
    closed.add(pictures / "more")
    values = {"folder": str(pictures), "model": str(tmp_path), "write": write}
    _, problems = check_values(TOOLS["tag"], values)
    told = [problem for problem in problems if problem.setting == "folder"]
    assert [(problem.code, problem.blocks) for problem in told] == [("tools.captions_closed", blocks)]
    assert str(pictures / "more") in str(told[0].said("ja"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no names that are no text")
def test_names_that_are_no_text_are_told(file: Path):
    """Such a job could not be written down."""
    odd = Path(os.fsdecode(os.fsencode(file.parent) + b"/a\xff.safetensors"))
    file.rename(odd)
    assert codes("verify", lora=str(odd)) == {"lora": ["preflight.path_impossible"]}
    assert "preflight.path_impossible" in codes("resize", lora=str(odd), output=str(odd))["output"]


def test_a_relative_name_is_refused(file: Path):
    assert codes("resize", lora=str(file), output="small.safetensors") == {"output": ["tools.relative"]}


def test_pasted_paths_are_cleaned(file: Path):
    form, _ = check_values(TOOLS["verify"], {"lora": f' "{file}" '})
    assert form is not None
    assert form.get("lora") == str(file)


@pytest.mark.parametrize("key", ["lora", "output"])
def test_behind_listen_every_place_lies_in_the_folders(file: Path, tmp_path: Path, key: str):
    inside = tmp_path / "mine"
    inside.mkdir()
    mine = lora(inside / "b.safetensors", tensors(4, 4))
    values: dict[str, Any] = {"lora": str(mine), "output": str(inside / "c.safetensors")}
    roots = Roots((inside.resolve(),), strict=True)
    assert codes("resize", roots, **values) == {}
    outside = {"lora": str(file), "output": str(tmp_path / "c.safetensors")}
    assert codes("resize", roots, **{**values, key: outside[key]}) == {key: ["preflight.outside"]}


@pytest.mark.parametrize(
    ("method", "target", "code", "mended"),
    [
        ("ratio of values", 1, "tools.ratio_small", 10.0),
        ("share of the sum", 1.5, "tools.share_large", 0.9),
        ("share of the energy", 90, "tools.share_large", 0.9),
    ],
)
def test_a_target_that_no_rule_can_mean(file: Path, method: str, target: float, code: str, mended: float):
    values: dict[str, Any] = {
        "lora": str(file),
        "output": f"{file.parent}/o.safetensors",
        "method": method,
        "target": target,
    }
    assert codes("resize", **values) == {"target": [code]}
    assert fix("resize", "target", **values) == mended


def test_files_with_strengths_are_read(file: Path):
    out = str(file.with_name("m.safetensors"))
    for text in (str(file), f"{file}:0.8", f"\n '{file}' \n{file}:-.5\n", f"{file}:1"):
        assert set(codes("merge", loras=text, output=out).get("loras", [])) <= {"tools.share_twice"}
    for odd in (":1e9", ":", ":x", ":0.5:0.5", ": strong", ":nan", ":--1"):
        assert codes("merge", loras=f"{file}{odd}", output=out) == {"loras": ["tools.share"]}, odd
    assert codes("merge", loras=f"{file}:1000", output=out) == {"loras": ["tools.share"]}
    assert codes("merge", loras=f"{file}:0", output=out) == {"loras": ["tools.share_zero"]}
    assert codes("merge", loras=f"{file}\n{file}.gone", output=out)["loras"] == ["tools.missing"]


@pytest.mark.parametrize(
    ("typed", "strength"),
    [
        (" : 0.5", 0.5),
        (":0,5", 0.5),
        ("：０．５", 0.5),
        (":−1", -1.0),
        (":+.25", 0.25),
        ("", 1.0),
        (":2.", 2.0),
    ],
)
def test_a_strength_is_read_as_people_type_it(typed: str, strength: float):
    assert shares(f"/my: loras/a.safetensors{typed}") == [(Path("/my: loras/a.safetensors"), strength)]
    assert shares(f"C:\\a.SAFETENSORS{typed}")[0].strength == strength


def test_loras_of_two_families_are_not_merged(file: Path, tmp_path: Path):
    wide = {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k": (64, 2048, 0)}
    lora(tmp_path / "xl.safetensors", tensors(8, 4, modules=wide))
    out = f"{tmp_path}/m.safetensors"
    for text in (f"{file}\n{tmp_path}/xl.safetensors", f"{tmp_path}/xl.safetensors\n{file}:0.5"):
        assert codes("merge", loras=text, output=out) == {"loras": ["tools.loras_of_two_families"]}
    assert codes("merge", loras=f"{file}\n{file}:0.2", output=out) == {"loras": ["tools.share_twice"]}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("merge", {}),
        ("merge", {"method": "closest of a rank"}),
        ("merge", {"method": "mixed factors"}),
        ("resize", {}),
        ("resize", {"method": "share of the energy"}),
    ],
)
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_of_a_damaged_file_nothing_is_made_and_its_name_is_told(
    name: str, values: dict[str, str], number: float, file: Path, tmp_path: Path
):
    broken = tensors(8, 4)
    broken["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"][3, 2] = number
    save_file(broken, tmp_path / "broken.safetensors")
    key, text = ("lora", "") if name == "resize" else ("loras", f"{file}\n")
    given = {key: f"{text}{tmp_path}/broken.safetensors", "output": f"{tmp_path}/o.safetensors", **values}
    with pytest.raises(UserError) as refused:
        TOOLS[name].run(TOOLS[name].schema.read(given), Work(lambda _event: None, lambda: False, tmp_path))
    assert refused.value.message.code == "tools.weights_damaged"
    assert refused.value.setting == key
    assert refused.value.message.values["name"] == "broken.safetensors"
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "broken.safetensors"}


def test_mixed_factors_need_one_rank(file: Path, tmp_path: Path):
    other = lora(tmp_path / "b.safetensors", tensors(4, 4))
    values: dict[str, Any] = {
        "loras": f"{file}\n{other}",
        "output": f"{tmp_path}/m.safetensors",
        "method": "mixed factors",
    }
    assert codes("merge", **values) == {"method": ["tools.ranks_differ"]}
    assert fix("merge", "method", **values) == "side by side"


def test_extract_wants_two_models_that_are_files(root: Path, tmp_path: Path):
    model = str(root / "presets" / "demo" / "model")
    values: dict[str, Any] = {"tuned": model, "base": model, "output": f"{tmp_path}/o.safetensors"}
    assert codes("extract", **values) == {"base": ["tools.one_file"]}
    (tmp_path / "x.safetensors").write_bytes(b"x" * 99)
    values["base"] = str(tmp_path / "x.safetensors")
    assert codes("extract", **values) == {"base": ["tools.model_unreadable"]}


NO_MODELS: dict[str, str] = {
    "lora": "tools.model_is_lora", "vae": "tools.model_unknown", "embedding": "tools.model_unknown",
    "page": "files.is_page", "pointer": "files.is_pointer", "empty": "files.is_empty",
    "cut off": "tools.model_unreadable",
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp("whole") / "whole.safetensors", random_model("sd1"))


def no_model(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.safetensors"
    begins = {"page": b"<html><body>", "pointer": b"version https://git-lfs.github.com/spec/v1", "empty": b""}
    if kind == "vae":
        save_file(
            {"encoder.conv_in.weight": torch.zeros(4, 3, 3, 3), "decoder.conv_in.weight": torch.zeros(4)},
            path,
        )
    elif kind == "embedding":
        save_file({"emb_params": torch.zeros(2, 768)}, path)
    elif kind in begins:
        path.write_bytes(begins[kind])
    else:
        lora(path, tensors(4, 4), ss_base_model_version="sd_v1")
        if kind == "cut off":
            path.write_bytes(path.read_bytes()[:-50])
    return path


@pytest.mark.parametrize(
    ("name", "setting"),
    [("extract", "base"), ("extract", "tuned"), ("merge_into", "model"), ("regularisation", "model")],
)
@pytest.mark.parametrize("kind", NO_MODELS)
def test_what_is_no_model_is_named_where_a_model_is_wanted(
    name: str, setting: str, kind: str, whole: Path, tmp_path: Path
):
    wrong = str(no_model(kind, tmp_path))
    values: dict[str, dict[str, Any]] = {
        "extract": {"base": str(whole), "tuned": str(whole)},
        "merge_into": {"model": str(whole), "loras": str(lora(tmp_path / "l.safetensors", tensors(4, 4)))},
        "regularisation": {"class_prompt": "owl"},
    }
    output = f"{tmp_path}/reg" if name == "regularisation" else f"{tmp_path}/new.safetensors"
    assert codes(name, **{**values[name], "output": output, setting: wrong})[setting] == [NO_MODELS[kind]]


def test_split_offers_the_ranks_of_the_file(tmp_path: Path):
    module = "networks.dylora"
    nested = lora(
        tmp_path / "d.safetensors", tensors(8, 4), ss_network_module=module, ss_network_args='{"unit": "4"}'
    )
    values: dict[str, Any] = {"lora": str(nested), "output": f"{tmp_path}/s.safetensors", "rank": 6}
    assert codes("split", **values) == {"rank": ["files.extract_rank"]}
    assert fix("split", "rank", **values) == 4
    plain = lora(tmp_path / "p.safetensors", tensors(8, 4), ss_network_module="networks.lora")
    assert codes("split", **{**values, "lora": str(plain)}) == {"lora": ["files.no_dylora"]}


def test_metadata_offers_what_the_file_says_and_wants_a_change(tmp_path: Path):
    told = lora(tmp_path / "t.safetensors", tensors(4, 4), **{"modelspec.title": "Owl"})
    values: dict[str, Any] = {"lora": str(told), "output": f"{tmp_path}/o.safetensors"}
    found = codes("metadata", **values)
    assert found == {"lora": ["tools.metadata_told"], "title": ["tools.metadata_nothing"]}
    assert fix("metadata", "title", **values) == "Owl"
    assert codes("metadata", **values, title="Owl 2") == {}
    assert codes("metadata", **values, title="Owl") == {"title": ["tools.metadata_nothing"]}
    gone = codes("metadata", **values, author="-")
    assert gone == {"title": ["tools.metadata_nothing"]}
    assert codes("metadata", **values, without_history=True) == {"lora": ["tools.metadata_told"]}


def test_prepare_lists_all_before_it_does_anything(root: Path, tmp_path: Path):
    pictures = root / "presets" / "demo" / "pictures" / "10_sks mascot"
    values: dict[str, Any] = {"pictures": str(pictures), "output": f"{tmp_path}/t", "instance_prompt": "sks"}
    form, problems = check_values(TOOLS["prepare"], {**values, "class_prompt": "owl"})
    assert form is not None, problems
    preview = TOOLS["prepare"].preview
    assert preview is not None
    listed = [message.code for message in preview(form)]
    assert listed[0] == "tools.prepare_sum"
    assert listed.count("tools.prepare_copy") >= 10
    assert list(tmp_path.iterdir()) == []
    wrong = codes("prepare", **{**values, "instance_prompt": "a/b"})
    assert wrong == {"instance_prompt": ["tools.prepare_words"]}
    without = codes("prepare", **{**values, "reg_pictures": str(tmp_path)})
    assert without == {"reg_pictures": ["tools.prepare_no_pictures"]}


@tools
def test_a_tool_that_writes_proposes_a_name(tool):
    assert bool(tool.suffix) == any(setting.spec.widget in NEW for setting in tool.schema.values())
