"""Captions as lists of tags, and what is done to many of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from trainer.errors import UserError

TagList = list[str]


def split_tags(caption: str, separator: str) -> TagList:
    """The parts between separators, without blank ones."""
    return [part for part in (part.strip() for part in caption.split(separator)) if part]


def join_tags(tags: Iterable[str], separator: str) -> str:
    """Tags as a caption: "1girl, red hair"."""
    return f"{separator} ".join(tags) if separator.strip() else separator.join(tags)


def same(one: str, other: str) -> bool:
    """Whether two tags are one, whatever their capitals, and "_" or a blank between words."""
    return _plain(one) == _plain(other)


def _plain(tag: str) -> str:
    return " ".join(tag.replace("_", " ").casefold().split())


def _among(wanted: Sequence[str]) -> Callable[[str], bool]:
    plain = {_plain(tag) for tag in wanted}
    return lambda tag: _plain(tag) in plain


def add(tags: TagList, new: TagList, *, front: bool) -> TagList:
    """With tags that it lacks."""
    has = _among(tags)
    fresh = [tag for tag in new if not has(tag)]
    return [*fresh, *tags] if front else [*tags, *fresh]


def remove(tags: TagList, old: TagList) -> TagList:
    """Without some."""
    is_old = _among(old)
    return [tag for tag in tags if not is_old(tag)]


def replace(tags: TagList, old: TagList, new: TagList) -> TagList:
    """With others in the place of some (of several only once)."""
    is_old = _among(old)
    at = next((place for place, tag in enumerate(tags) if is_old(tag)), None)
    if at is None:
        return tags
    rest = [*remove(tags[:at], old), *remove(tags[at:], old)]
    has = _among(rest)
    place = len(remove(tags[:at], old))
    return [*rest[:place], *(tag for tag in new if not has(tag)), *rest[place:]]


def front(tags: TagList, wanted: TagList) -> TagList:
    """Some of them first, in the order in which they are named."""
    is_wanted = _among(wanted)
    first = [tag for name in wanted for tag in tags if same(tag, name)]
    return [*first, *(tag for tag in tags if not is_wanted(tag))]


def once(tags: TagList) -> TagList:
    """Each tag the first time only."""
    found: dict[str, str] = {}
    for tag in tags:
        found.setdefault(_plain(tag), tag)
    return list(found.values())


def sort(tags: TagList, keep: int) -> TagList:
    """By the alphabet; the first `keep` stay first ("Keep n tokens")."""
    return [*tags[:keep], *sorted(tags[keep:], key=str.casefold)]


def edited(caption: str, wish: Mapping[str, Any], separator: str = ",") -> str:
    """A caption after {"do": "add" | "remove" | "replace" | "front" | "sort" | "once" | "text", "tags", "by",
    "front", "keep"}; several lines are changed one by one. Raises UserError for another wish.
    """
    return "\n".join(_edited(line, wish, separator) for line in caption.split("\n"))


def _edited(line: str, wish: Mapping[str, Any], separator: str) -> str:
    do, named, by = str(wish.get("do")), str(wish.get("tags") or ""), str(wish.get("by") or "")
    if do == "text":
        return line.replace(named, by) if named else line
    tags, wanted = split_tags(line, separator), split_tags(named, separator)
    keep = wish.get("keep")
    ways: dict[str, Callable[[], TagList]] = {
        "add": lambda: add(tags, wanted, front=bool(wish.get("front"))),
        "remove": lambda: remove(tags, wanted),
        "replace": lambda: replace(tags, wanted, split_tags(by, separator)),
        "front": lambda: front(tags, wanted),
        "sort": lambda: sort(tags, keep if isinstance(keep, int) and keep > 0 else 0),
        "once": lambda: once(tags),
    }
    if do not in ways:
        raise UserError("page.room_no_edit")
    new = ways[do]()
    return line if new == tags else join_tags(new, separator)
