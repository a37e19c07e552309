"""Checks of the folders with pictures: their layout, unreadable pictures, captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.data.captions import extension as caption_ending
from trainer.data.captions import other_readings
from trainer.data.folders import FolderScan, TrainImage, repeats_and_words
from trainer.problems import Problem, block, counted, hint, some_names
from trainer.settings import TRAINING, Captions, Folders

SAID_OF_BROKEN = {
    "preflight.pictures_broken": ("empty", "no_picture", "truncated"),
    "preflight.pictures_closed": ("no_access", "missing"),
    "preflight.pictures_huge": ("too_large",),
}
"""What is said of pictures that cannot be read, by the reasons why."""


def check(folders: Folders, captions: Captions, pictures: FolderScan, reg: FolderScan) -> Iterator[Problem]:
    """Problems of the folders; `pictures` and `reg` are what `scans` found."""
    if not folders.train_data_dir:
        yield block("train_data_dir", "preflight.images_missing")
    else:
        yield from _check_layout("train_data_dir", folders.train_data_dir, pictures)
        if folders.reg_data_dir:
            yield from _check_layout("reg_data_dir", folders.reg_data_dir, reg)
    yield from check_captions(pictures, captions)
    yield from _check_reg(folders, pictures, reg)


def _check_layout(key: str, folder: str, scan: FolderScan) -> Iterator[Problem]:
    """The layout: the folder is the parent of folders named like 10_cat."""
    path, label = Path(folder), TRAINING[key].spec.label
    blank = {key: ""} if key == "reg_data_dir" else None
    if not path.is_dir():
        code = "preflight.folder_is_file" if path.is_file() else "preflight.folder_not_found"
        fix = {key: str(path.parent)} if path.is_file() else blank
        yield block(key, code, fix, label=label, path=folder, parent=str(path.parent))
    elif not scan.images:
        yield _no_pictures(key, path, scan)
    else:
        yield from _left_out(key, label, scan)
    yield from check_broken(key, label, scan)


def check_broken(key: str, label: str, scan: FolderScan) -> Iterator[Problem]:
    """Pictures that cannot be read, by the reasons why."""
    for code, reasons in SAID_OF_BROKEN.items():
        paths = [broken.path for broken in scan.broken if broken.reason in reasons]
        if paths:
            listed = some_names([f"{path.parent.name}/{path.name}" for path in paths])
            yield hint(key, code, None, count=f"{len(paths):,}", names=listed, label=label)


def _no_pictures(key: str, path: Path, scan: FolderScan) -> Problem:
    """Why no picture is found, and the way out where there is an obvious one."""
    label, values = TRAINING[key].spec.label, {"label": TRAINING[key].spec.label, "path": str(path)}
    unnumbered = [ignored for ignored in scan.ignored if ignored.reason == "no_number" and ignored.pictures]
    if scan.loose:
        own = repeats_and_words(path.name)
        if own and own[0] >= 1:
            parent = str(path.parent)
            return block(
                key, "preflight.folder_parent", {key: parent}, **values, name=path.name, parent=parent
            )
        example = f"10_{path.name}"
        return block(key, "preflight.folder_loose", None, **values, count=f"{scan.loose:,}", example=example)
    if unnumbered:
        unread = some_names([ignored.name for ignored in unnumbered])
        example = f"10_{unnumbered[0].name}"
        return block(key, "preflight.folder_unnumbered", None, **values, found=unread, example=example)
    if dates := [ignored.name for ignored in scan.ignored if ignored.reason == "many_repeats"]:
        example = f"10_{dates[0].partition('_')[2] or dates[0]}"
        return block(
            key, "preflight.folder_repeats", None, **values, found=some_names(dates), example=example
        )
    if zeros := [
        ignored for ignored in scan.ignored if ignored.reason == "zero_repeats" and ignored.pictures
    ]:
        unread = some_names([ignored.name for ignored in zeros])
        example = f"10_{zeros[0].name.partition('_')[2]}"
        return block(key, "preflight.folder_zero", None, **values, found=unread, example=example)
    if scan.not_read:
        return block(key, "preflight.folder_kinds", None, **values, kinds=list(scan.not_read))
    if nested := [ignored for ignored in scan.ignored if ignored.reason == "nested"]:
        inner = path / nested[0].name
        fix = {key: str(inner.parent)} if repeats_and_words(inner.name) else None
        return block(
            key, "preflight.folder_nested", fix, **values, name=nested[0].name, parent=str(inner.parent)
        )
    if scan.broken:
        return block(key, "preflight.folder_all_broken", None, **values)
    return block(
        key,
        "preflight.folder_empty",
        {key: ""} if key == "reg_data_dir" else None,
        label=label,
        path=str(path),
    )


def _left_out(key: str, label: str, scan: FolderScan) -> Iterator[Problem]:
    """Pictures that are there and will not be read."""
    if scan.loose:
        yield hint(key, "preflight.left_loose", count=f"{scan.loose:,}", label=label)
    for reason in ("no_number", "zero_repeats", "many_repeats", "nested", "no_access"):
        items = [
            item
            for item in scan.ignored
            if item.reason == reason and (item.pictures or reason == "no_access")
        ]
        if items:
            count = f"{sum(item.pictures for item in items):,}"
            listed = some_names([item.name for item in items])
            example = f"10_{items[0].name}"
            severity = block if reason == "many_repeats" else hint
            yield severity(
                key, f"preflight.left_{reason}", None, label=label, names=listed, count=count, example=example
            )
    if scan.not_read:
        yield hint(key, "preflight.left_kinds", None, label=label, kinds=counted(scan.not_read))
    if scan.transparent:
        yield hint(key, "preflight.transparent", None, label=label, count=f"{scan.transparent:,}")
    if scan.animated:
        yield hint(key, "preflight.animated", None, label=label, count=f"{scan.animated:,}")


def check_captions(scan: FolderScan, captions: Captions) -> Iterator[Problem]:
    """Pictures without captions, and captions that are empty or no UTF-8."""
    if not scan.images:
        return
    ending, total = caption_ending(captions.caption_extension), len(scan.images)
    captioned = scan.captions_found
    endings = scan.extensions.copy()
    endings.pop(ending, None)
    values = {"ending": ending, "total": f"{total:,}", "missing": f"{total - captioned:,}"}
    if not captioned and endings:
        likeliest, count = endings.most_common(1)[0]
        fix = {"caption_extension": likeliest}
        values |= {"other": likeliest, "count": f"{count:,}"}
        yield hint("caption_extension", "preflight.captions_elsewhere", fix, **values)
    elif not captioned:
        words = some_names(sorted({image.class_tokens for image in scan.images if image.class_tokens}))
        code = "preflight.captions_none" if words else "preflight.captions_no_words"
        yield hint("caption_extension", code, None, **values, words=words)
    elif captioned < total:
        without = [f"{image.folder}/{image.path.name}" for image in scan.images if not image.caption_found]
        yield hint("caption_extension", "preflight.captions_some", None, **values, names=some_names(without))
    if scan.blank_captions:
        listed = some_names([path.name for path in scan.blank_captions])
        yield hint(
            "caption_extension",
            "preflight.captions_blank",
            count=f"{len(scan.blank_captions):,}",
            names=listed,
        )
    if scan.odd_captions:
        listed = some_names([path.name for path in scan.odd_captions])
        first = next(iter(scan.odd_captions))
        yield hint(
            "caption_extension",
            "preflight.captions_encoding",
            count=f"{len(scan.odd_captions):,}",
            names=listed,
            encodings=some_names([*dict.fromkeys(scan.odd_captions.values())]),
            name=first.name,
            samples=" / ".join(f"{encoding}: {line[:30]}" for encoding, line in other_readings(first)),
        )


def _check_reg(folders: Folders, pictures: FolderScan, reg: FolderScan) -> Iterator[Problem]:
    if not reg.images or not pictures.images:
        return
    if Path(folders.reg_data_dir).resolve() == Path(folders.train_data_dir).resolve():
        yield block("reg_data_dir", "preflight.reg_same", {"reg_data_dir": ""})
        return
    yield from check_reg_fits("reg_data_dir", pictures.images, reg.images)


def check_reg_fits(key: str, images: Sequence[TrainImage], reg: Sequence[TrainImage]) -> Iterator[Problem]:
    """More regularisation pictures than an epoch has room for."""
    room = sum(image.repeats for image in images)
    if len(reg) > room:
        yield hint(key, "preflight.reg_many", used=f"{room:,}", total=f"{len(reg):,}")
