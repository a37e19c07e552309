"""Tags and sentences about pictures: proposed, kept, gone on with, and written only when asked for."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.trainer.tools.lookers import SIDE, TAGS, captioner, florence, tagger
from trainer.errors import UserError
from trainer.events import Failed, Finished, Notice, Stopped, read_events
from trainer.files.job_folder import JobFolder
from trainer.jobs.run_tool import run_tool
from trainer.tools import hub_models, proposals
from trainer.tools.checks import check_values
from trainer.tools.hub_models import HubModel, wanted
from trainer.tools.table import TOOLS
from trainer.tools.tag import Choice, Tagger, prepared, read_tags, taken_tags

BLUE, GREY = (0, 0, 255), (120, 120, 120)


@pytest.fixture(scope="session")
def tagger_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tagger(tmp_path_factory.mktemp("tagger"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A blue picture, a grey one with a caption in a folder below, one that is see-through, one damaged."""
    place = tmp_path / "pictures"
    (place / "inner").mkdir(parents=True)
    Image.new("RGB", (20, 10), BLUE).save(place / "a.png")
    Image.new("RGB", (10, 10), GREY).save(place / "inner" / "b.png")
    (place / "inner" / "b.txt").write_text("my owl, blue sky\nsecond line\n", encoding="utf-8")
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(place / "c.png")
    whole = (place / "a.png").read_bytes()
    (place / "d.png").write_bytes(whole[: len(whole) // 2])
    return place


def run(tmp_path: Path, name: str, *, resume: bool = False, **values: Any) -> tuple[JobFolder, list[Any]]:
    folder = JobFolder.create(tmp_path, TOOLS[name].schema.read(values), name, "pictures")
    run_tool(folder, listen=lambda _event: None, resume=resume)
    return folder, [event for _, _, event in read_events(folder.events_file)]


def proposed(folder: JobFolder) -> dict[str, str]:
    return {Path(one.path).name: one.after for one in proposals.read_proposals(folder.path)}


def test_pictures_reach_the_tagger_as_it_takes_them(tagger_folder: Path):
    wide = Image.new("RGB", (20, 10), BLUE)
    pixels = prepared(wide, SIDE)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]  # white above
    assert pixels[SIDE // 2, 0].tolist() == [255, 0, 0]  # BGR
    assert Tagger(tagger_folder).scores(wide)[-1] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (Choice(), ["owl (bird)", "long hair", "^_^"]),
        (Choice(blanks=False), ["owl_(bird)", "long_hair", "^_^"]),
        (Choice(general=0.7), ["owl (bird)", "long hair"]),
        (Choice(character=0.99), ["long hair", "^_^"]),
        (Choice(ratings=True), ["general", "owl (bird)", "long hair", "^_^"]),
        (Choice(never=frozenset({"long hair"})), ["owl (bird)", "^_^"]),
        (Choice(only=frozenset({"long hair", "sky"})), ["long hair"]),
    ],
)
def test_tags_are_chosen_by_thresholds_and_lists(choice: Choice, names: list[str]):
    scores = np.array([0.9, 0.1, 0.8, 0.6, 0.95, 0.2])
    assert taken_tags(TAGS, scores, choice) == names


def test_tags_are_proposed_and_nothing_is_written(tmp_path: Path, folder: Path, tagger_folder: Path):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    job, events = run(tmp_path, "tag", folder=str(folder), model=str(tagger_folder), prefix="sks")
    assert proposed(job) == {
        "a.png": "sks, owl (bird), blue sky, long hair, ^_^",
        "c.png": "sks, owl (bird), blue sky, long hair, ^_^",  # see-through is white
    }
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    told = {event.code: event.values for event in events if isinstance(event, Notice)}
    assert told["tools.proposed"]["count"] == 2
    assert told["tools.captions_kept"]["count"] == 2
    assert Path(told["tools.prepare_unreadable"]["path"]).name == "d.png"


@pytest.mark.parametrize(
    ("existing", "caption"),
    [
        ("append", "sks, my owl, blue sky, owl (bird), long hair, ^_^"),
        ("overwrite", "sks, owl (bird), long hair, ^_^"),
    ],
)
def test_existing_captions_are_kept_in_front_or_replaced(
    tmp_path: Path, folder: Path, tagger_folder: Path, existing: str, caption: str
):
    values = {"folder": str(folder), "model": str(tagger_folder), "general_threshold": 0.5}
    job, _ = run(tmp_path, "tag", prefix="sks", existing=existing, **values)
    assert proposed(job)["b.png"] == caption


def test_captions_are_written_on_demand_and_other_lines_stay(
    tmp_path: Path, folder: Path, tagger_folder: Path
):
    run(tmp_path, "tag", folder=str(folder), model=str(tagger_folder), existing="append", write=True)
    assert (folder / "a.txt").read_text(encoding="utf-8") == "owl (bird), blue sky, long hair, ^_^\n"
    first, second = (folder / "inner" / "b.txt").read_text(encoding="utf-8").splitlines()
    assert first.startswith("my owl, blue sky, owl (bird)")
    assert second == "second line"


def test_nothing_is_written_over_what_has_changed_since(tmp_path: Path, folder: Path, tagger_folder: Path):
    job, _ = run(tmp_path, "tag", folder=str(folder), model=str(tagger_folder))
    (folder / "a.txt").write_text("typed meanwhile", encoding="utf-8")
    with pytest.raises(UserError) as refused:
        proposals.write_proposals(proposals.read_proposals(job.path), ".txt")
    assert refused.value.message.code == "tools.caption_changed"
    assert not (folder / "c.txt").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_picture_whose_name_is_no_text_is_told_and_the_others_are_tagged(
    tmp_path: Path, folder: Path, tagger_folder: Path
):
    Image.new("RGB", (10, 10)).save(os.fsdecode(os.fsencode(folder) + b"/a\xff.png"))
    job, events = run(tmp_path, "tag", folder=str(folder), model=str(tagger_folder))
    assert set(proposed(job)) == {"a.png", "c.png"}
    assert "tools.name_no_text" in {event.code for event in events if isinstance(event, Notice)}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are shorter")
def test_a_caption_of_the_longest_name_is_written(tmp_path: Path, folder: Path, tagger_folder: Path):
    longest = folder / f"{'猫' * 83}.png"
    (folder / "a.png").rename(longest)
    run(tmp_path, "tag", folder=str(folder), model=str(tagger_folder), write=True)
    assert longest.with_suffix(".txt").read_text(encoding="utf-8").startswith("owl (bird)")


def test_nothing_is_written_where_one_folder_is_closed(
    tmp_path: Path, folder: Path, tagger_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    job, _ = run(tmp_path, "tag", folder=str(folder), model=str(tagger_folder), existing="append")
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != folder / "inner")
    with pytest.raises(UserError) as refused:
        proposals.write_proposals(proposals.read_proposals(job.path), ".txt")
    assert (refused.value.message.code, refused.value.setting) == ("tools.captions_closed", "folder")
    assert not (folder / "a.txt").exists()


def test_an_interrupted_job_goes_on_where_it_stopped(tmp_path: Path, folder: Path, tagger_folder: Path):
    job, _ = run(tmp_path, "tag", folder=str(folder), model=str(tagger_folder))
    lines = (job.path / proposals.PROPOSALS_FILE).read_bytes().splitlines(keepends=True)
    first = json.loads(lines[0])
    kept = json.dumps({**first, "after": "kept"}).encode()
    (job.path / proposals.PROPOSALS_FILE).write_bytes(
        kept + b"\n" + lines[1][:20]
    )  # killed in the middle of a line
    job.stop_file.unlink(missing_ok=True)
    run_tool(job, listen=lambda _event: None, resume=True)
    assert proposed(job)[Path(first["path"]).name] == "kept"
    assert len(proposed(job)) == 2


def test_stop_keeps_what_is_proposed(tmp_path: Path, folder: Path, tagger_folder: Path):
    values = {"folder": str(folder), "model": str(tagger_folder)}
    job = JobFolder.create(tmp_path, TOOLS["tag"].schema.read(values), "tag", "pictures")
    job.stop_file.touch()
    assert run_tool(job, listen=lambda _event: None) == 3
    *_, last = (event for _, _, event in read_events(job.events_file))
    assert isinstance(last, Stopped)


def harmed_tagger(folder: Path, harm: str) -> Path:
    place = tagger(folder, rows=5 if harm == "rows" else len(TAGS), side=100_000 if harm == "huge" else SIDE)
    if harm == "no table":
        (place / "selected_tags.csv").unlink()
    elif harm == "empty table":
        (place / "selected_tags.csv").write_bytes(b"")
    elif harm == "no model":
        (place / "model.onnx").unlink()
    elif harm == "rubbish":
        (place / "model.onnx").write_bytes(b"no model at all")
    elif harm in {"uint8", "batch", "inputs", "oblong"}:
        onnx = pytest.importorskip("onnx")
        model = onnx.load(place / "model.onnx")
        shape = model.graph.input[0].type.tensor_type.shape.dim
        if harm == "uint8":
            model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
            model.graph.node[0].input[0] = "floats"
            cast = onnx.helper.make_node("Cast", ["input"], ["floats"], to=onnx.TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
        elif harm == "batch":
            shape[0].dim_value = 4
        elif harm == "oblong":
            shape[1].dim_value = 2 * SIDE
        else:
            model.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))
        onnx.save(model, place / "model.onnx")
    return place


@pytest.mark.parametrize(
    "harm",
    ["rows", "no table", "empty table", "no model", "rubbish", "huge", "uint8", "batch", "inputs", "oblong"],
)
def test_what_is_no_tagger_is_told(tmp_path: Path, folder: Path, harm: str):
    place = harmed_tagger(tmp_path / "bad", harm)
    _, events = run(tmp_path, "tag", folder=str(folder), model=str(place))
    assert isinstance(events[-1], Failed)
    assert (events[-1].code, events[-1].setting) == ("tools.not_for_tag", "model")
    assert events[-1].values["name"] == "bad"


def test_a_file_of_a_tagger_leads_to_its_folder(folder: Path, tagger_folder: Path):
    _, [problem] = check_values(
        TOOLS["tag"], {"folder": str(folder), "model": str(tagger_folder / "model.onnx")}
    )
    assert problem.fix == {"model": str(tagger_folder)}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_table_of_tags_may_begin_with_a_mark(tmp_path: Path, mark: bytes):
    rows = "\n".join(["name,category", *(f"{name},{kind}" for name, kind in TAGS)])
    (tmp_path / "selected_tags.csv").write_bytes(mark + rows.encode())
    assert read_tags(tmp_path / "selected_tags.csv") == TAGS


@pytest.mark.parametrize(
    "ending",
    [".png", "png", ".JPG", ".webp", ".gif", ".npz", ".safetensors", ".", "../x", ".a/b", ".\0"],
)
def test_captions_are_never_written_into_other_files(
    tmp_path: Path, folder: Path, tagger_folder: Path, ending: str
):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    values = {"folder": str(folder), "model": str(tagger_folder), "existing": "overwrite", "write": True}
    _, [problem] = check_values(TOOLS["tag"], {**values, "extension": ending})
    assert (problem.setting, problem.code) == ("extension", "tools.no_caption_ending")
    assert check_values(TOOLS["tag"], {**values, **(problem.fix or {})})[1] == []
    _, events = run(tmp_path, "tag", **values, extension=ending)
    assert (events[-1].code, events[-1].setting) == ("tools.no_caption_ending", "extension")
    picture = proposals.Proposal(str(folder / "a.png"), "", "sks")
    with pytest.raises(UserError):
        proposals.write_proposals([picture], ending)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_is_appended_again_adds_nothing(tmp_path: Path, folder: Path, tagger_folder: Path):
    values = {"folder": str(folder), "model": str(tagger_folder), "existing": "append", "write": True}
    for _ in range(2):
        run(tmp_path, "tag", **values, prefix="sks, cat")
        assert (folder / "a.txt").read_text(encoding="utf-8") == (
            "sks, cat, owl (bird), blue sky, long hair, ^_^\n"
        )


@pytest.mark.parametrize(
    ("existing", "before", "parts", "caption"),
    [
        ("append", "a cat, on a mat", ["a cat, on a mat"], "sks, a cat, on a mat"),
        ("append", "sks, red", ["a cat, red"], "sks, red, a cat, red"),
        ("overwrite", "red", ["a cat, on a mat, a cat"], "sks, a cat, on a mat, a cat"),
        ("overwrite", "", ["sks", " two\nlines ", ""], "sks, two lines"),
    ],
)
def test_a_sentence_stays_whole_and_stands_once(
    existing: proposals.Existing, before: str, parts: list[str], caption: str
):
    wish = proposals.Selection(Path(), existing=existing, first="sks")
    assert proposals.combined(before, parts, wish) == caption


def test_captions_that_cannot_be_told_apart_or_read_are_left_out(
    tmp_path: Path, folder: Path, tagger_folder: Path
):
    Image.new("RGB", (9, 9)).save(folder / "a.webp")
    (folder / "c.txt").mkdir()
    (folder / "phone.heic").write_bytes(b"x")
    (folder / "self").symlink_to(folder)
    job, events = run(tmp_path, "tag", folder=str(folder), model=str(tagger_folder), existing="append")
    assert set(proposed(job)) == {"a.png", "b.png"}
    told = {event.code: event.values for event in events if isinstance(event, Notice)}
    assert Path(told["tools.caption_shared"]["path"]).name == "a.webp"
    assert Path(told["tools.caption_closed"]["path"]).name == "c.png"
    assert told["tools.prepare_kinds"]["kinds"] == [".heic (1)"]


def test_a_caption_model_describes_each_picture(tmp_path: Path, folder: Path):
    place = captioner(tmp_path / "blip")
    values = {"folder": str(folder), "model": str(place), "prefix": "sks", "max_tokens": 5}
    job, events = run(tmp_path, "caption", **values)
    assert not isinstance(events[-1], Failed), events[-1]
    assert set(proposed(job)) == {"a.png", "c.png"}
    assert all(text.startswith("sks") and "\n" not in text for text in proposed(job).values())
    (place / "config.json").write_text('{"model_type": "clip"}', encoding="utf-8")
    _, events = run(tmp_path, "caption", **values)
    assert (events[-1].code, events[-1].setting) == ("tools.not_for_caption", "model")


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return captioner(tmp_path_factory.mktemp("blip"))


@pytest.mark.parametrize("harm", ["cut off", "empty", "of another model", "of another size"])
def test_weights_that_do_not_fit_are_no_caption_model(
    tmp_path: Path, folder: Path, blip_folder: Path, harm: str
):
    place = copytree(blip_folder, tmp_path / "bad")
    weights = place / "model.safetensors"
    if harm == "of another model":
        save_file({"some.weight": torch.zeros(3)}, weights, {"format": "pt"})
    elif harm == "of another size":
        sizes = place / next(path.name for path in place.glob("*process*.json"))
        sizes.write_text(sizes.read_text(encoding="utf-8").replace(": 16", ": 24"), encoding="utf-8")
    else:
        weights.write_bytes(weights.read_bytes()[: 2000 if harm == "cut off" else 0])
    _, events = run(tmp_path, "caption", folder=str(folder), model=str(place), max_tokens=5)
    assert (events[-1].code, events[-1].setting) == ("tools.not_for_caption", "model")


def test_a_sentence_gets_no_longer_than_the_model_can(tmp_path: Path, folder: Path, blip_folder: Path):
    values = {"folder": str(folder), "model": str(blip_folder), "max_tokens": 500}
    job, events = run(tmp_path, "caption", **values)
    assert isinstance(events[-1], Finished), events[-1]
    assert len(proposed(job)) == 2
    _, events = run(tmp_path, "caption", **values, prompt="a photo of " * 20)
    assert (events[-1].code, events[-1].setting) == ("tools.caption_long", "prompt")


def test_florence_describes_and_takes_its_tasks_as_questions(tmp_path: Path, folder: Path):
    place = florence(tmp_path / "florence")
    values = {"folder": str(folder), "model": str(place), "max_tokens": 6, "prefix": "sks"}
    for prompt in ("", "<MORE_DETAILED_CAPTION>", "what is in the sky"):
        job, events = run(tmp_path, "caption", prompt=prompt, **values)
        assert not isinstance(events[-1], Failed), events[-1]
        captions = proposed(job)
        assert set(captions) == {"a.png", "c.png"}
        for text in captions.values():
            assert re.fullmatch(r"sks,( (a|photo|of|an|owl|in|the|sky))+", text), text
    _, events = run(tmp_path, "caption", prompt="<CAPTION> in short", **values)
    assert (events[-1].code, events[-1].setting) == ("tools.caption_prompt", "prompt")


def test_a_model_of_the_hub_is_fetched_only_after_a_yes_to_its_size_and_licence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    model = HubModel("me/tagger", ("model.onnx", "selected_tags.csv"), 379_000_000, "apache-2.0")
    monkeypatch.setattr(hub_models, "_ask", lambda repo, use: model)  # called so
    monkeypatch.setattr(hub_models, "_told", {})
    values = {"folder": str(folder), "model": "me/tagger"}
    form, [problem] = check_values(TOOLS["tag"], values)
    assert form is None
    assert "379 MB" in problem.said().what
    assert "apache-2.0" in problem.said().what
    assert problem.fix == {"download": "me/tagger"}
    assert check_values(TOOLS["tag"], {**values, "download": "me/tagger"})[1] == []
    assert check_values(TOOLS["tag"], {**values, "download": "you/tagger"})[1] != []


def test_a_model_in_the_hubs_cache_needs_no_question(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    tagger(tmp_path / "hub" / "models--me--tagger" / "snapshots" / "abc")
    assert check_values(TOOLS["tag"], {"folder": str(folder), "model": "me/tagger"})[1] == []


def test_only_what_is_needed_is_fetched():
    names = [
        "README.md", "config.json", "tokenizer.json", "pytorch_model.bin", "model.safetensors", "tf_model.h5",
        "onnx/model.onnx", "pytorch_model.bin.index.json",
    ]  # fmt: skip
    assert wanted(names, "caption") == ("config.json", "tokenizer.json", "model.safetensors")
    assert wanted([*names, "model.onnx", "selected_tags.csv"], "tag") == ("model.onnx", "selected_tags.csv")
    assert "pytorch_model.bin" in wanted([name for name in names if "safetensors" not in name], "caption")
