"""Pictures into the folder layout: what is made can be trained on, originals stay, nothing is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from trainer.data.folders import scan_folder
from trainer.errors import UserError
from trainer.tools.prepare import CopyOptions, TrainingFolder, carry_out, preparation_of, training_folder_name


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Pictures as people have them: in folders, of one name twice, one lying on its side, one broken."""
    folder = tmp_path / "own"
    (folder / "more").mkdir(parents=True)
    for name, size in (("a.png", (60, 40)), ("more/a.jpg", (300, 200)), ("b.webp", (40, 40))):
        Image.new("RGB", size, "red").save(folder / name)
    (folder / "a.txt").write_text("sks cat, red", encoding="utf-8")
    side = Image.new("RGB", (80, 20), "blue")
    exif = side.getexif()
    exif[0x0112] = 6
    side.save(folder / "side.jpg", exif=exif)
    (folder / "broken.png").write_bytes(b"")
    return folder


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_result_is_what_training_reads(own: Path, tmp_path: Path) -> None:
    before = snapshot(own)
    preparation = preparation_of(
        tmp_path / "cat", [TrainingFolder(own, training_folder_name(7, "sks", "cat"))], CopyOptions()
    )
    assert not (tmp_path / "cat").exists(), "a plan makes nothing"
    assert [(path.name, why) for path, why in preparation.left_out] == [("broken.png", "empty")]
    assert carry_out(preparation) == preparation.pictures == 4
    scan = scan_folder(tmp_path / "cat" / "img", ".txt")
    assert {(image.repeats, image.class_tokens) for image in scan.images} == {(7, "sks cat")}
    assert sorted(image.path.stem for image in scan.images) == ["a", "a-2", "b", "side"], "none is replaced"
    assert [image.caption for image in scan.images if image.path.name == "a.png"] == ["sks cat, red"]
    assert snapshot(own) == before
    assert {path.name for path in (tmp_path / "cat").iterdir()} == {"img", "reg", "log", "model"}


def test_again_it_adds_only_what_is_new(own: Path, tmp_path: Path) -> None:
    sources = [TrainingFolder(own, "1_x")]
    carry_out(preparation_of(tmp_path / "cat", sources, CopyOptions()))
    (tmp_path / "cat/img/1_x/a.txt").write_text("edited", encoding="utf-8")
    Image.new("RGB", (9, 9)).save(own / "new.png")
    again = preparation_of(tmp_path / "cat", sources, CopyOptions())
    assert [step.target.name for step in again.steps] == ["new.png"]
    carry_out(again)
    assert (tmp_path / "cat/img/1_x/a.txt").read_text(encoding="utf-8") == "edited"


def test_smaller_and_converted_copies_are_upright_and_keep_their_shape(own: Path, tmp_path: Path) -> None:
    carry_out(
        preparation_of(
            tmp_path / "cat", [TrainingFolder(own, "1_x")], CopyOptions(longest_side=50, format="webp")
        )
    )
    sizes = {}
    for path in (tmp_path / "cat/img/1_x").glob("*.webp"):
        with Image.open(path) as image:
            sizes[path.stem] = image.size
    assert sizes == {"a": (50, 33), "a-2": (50, 33), "b": (40, 40), "side": (12, 50)}


def test_links_take_no_room_and_captions_are_copies(own: Path, tmp_path: Path) -> None:
    carry_out(preparation_of(tmp_path / "cat", [TrainingFolder(own, "1_x")], CopyOptions(how="link")))
    made = tmp_path / "cat/img/1_x"
    assert (made / "a.png").samefile(own / "a.png")
    assert not (made / "a.txt").samefile(own / "a.txt"), "editing it must not change the original"


def test_regularisation_pictures_go_beside(own: Path, tmp_path: Path) -> None:
    sources = [
        TrainingFolder(own, "10_sks cat"),
        TrainingFolder(own / "more", training_folder_name(1, "cat"), "reg"),
    ]
    carry_out(preparation_of(tmp_path / "cat", sources, CopyOptions()))
    assert [image.path.name for image in scan_folder(tmp_path / "cat/reg", ".txt", is_reg=True).images] == [
        "a.jpg"
    ]


def test_the_made_folder_inside_the_pictures_is_not_taken_again(own: Path) -> None:
    carry_out(preparation_of(own / "cat", [TrainingFolder(own, "1_x")], CopyOptions()))
    assert not preparation_of(own / "cat", [TrainingFolder(own, "1_x")], CopyOptions()).steps


@pytest.mark.parametrize("word", ["a/b", "..\\x", "a:b", "what?", "end."])
def test_words_that_cannot_stand_in_a_name_are_refused(word: str) -> None:
    with pytest.raises(UserError) as refused:
        training_folder_name(1, word)
    assert refused.value.setting == "instance_prompt"


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        preparation_of(tmp_path / "cat", [TrainingFolder(tmp_path, "1_x")], CopyOptions())
    assert (refused.value.message.code, refused.value.setting) == ("tools.prepare_no_pictures", "pictures")
