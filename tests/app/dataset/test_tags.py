"""What is done to many captions at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dataset.tags import edited, split_tags
from trainer.errors import UserError

CASES = [
    ({"do": "add", "tags": "red, new"}, "a, red, b", "a, red, b, new"),
    ({"do": "add", "tags": "new", "front": True}, "a, b", "new, a, b"),
    ({"do": "add", "tags": "new"}, "", "new"),
    ({"do": "remove", "tags": "RED_hair"}, "a, red hair, b", "a, b"),
    ({"do": "remove", "tags": "red"}, "red hair", "red hair"),
    ({"do": "replace", "tags": "a, c", "by": "x, y"}, "a, b, c", "x, y, b"),
    ({"do": "replace", "tags": "a", "by": ""}, "a, b", "b"),
    ({"do": "replace", "tags": "b", "by": "c"}, "a, b, c", "a, c"),
    ({"do": "replace", "tags": "z", "by": "x"}, "a,b", "a,b"),
    ({"do": "front", "tags": "c, b"}, "a, b, c", "c, b, a"),
    ({"do": "sort", "keep": 1}, "z, c, B, a", "z, a, B, c"),
    ({"do": "sort", "keep": -3}, "b, a", "a, b"),
    ({"do": "once"}, "a, b, A, long_hair, long hair", "a, b, long_hair"),
    ({"do": "text", "tags": "cat", "by": "dog"}, "a cat, cats", "a dog, dogs"),
    ({"do": "text", "tags": "", "by": "dog"}, "a cat", "a cat"),
    ({"do": "add", "tags": "z"}, "a\nb", "a, z\nb, z"),
]


@pytest.mark.parametrize(("wish", "before", "after"), CASES)
def test_a_wish_changes_the_caption(wish, before, after):
    assert edited(before, wish) == after


def test_another_separator_is_kept():
    assert edited("a;b", {"do": "add", "tags": "c"}, ";") == "a; b; c"


@pytest.mark.parametrize("wish", [{}, {"do": "delete"}, {"do": None}])
def test_an_unknown_wish_is_refused(wish):
    with pytest.raises(UserError):
        edited("a", wish)


@given(st.text(max_size=60), st.sampled_from(["remove", "once", "front", "sort"]), st.text(max_size=20))
def test_nothing_is_invented(caption, do, tags):
    new = edited(caption, {"do": do, "tags": tags})
    for before, after in zip(caption.split("\n"), new.split("\n"), strict=True):
        assert set(split_tags(after, ",")) <= set(split_tags(before, ","))
        assert edited(after, {"do": do, "tags": tags}) == after
