"""Foreign text: what is refused, in which sentence, and how little it may cost."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from trainer.errors import UserError
from trainer.files.reading import (
    DEEPEST,
    MOST_TOML,
    MOST_VALUES,
    MOST_YAML,
    parse_json,
    parse_toml,
    parse_yaml,
)


def refused(read: object, text: str) -> UserError:
    with pytest.raises(UserError) as error:
        read(text, "a.toml")  # pyright: ignore[reportCallIssue]  # one of the two readers
    assert "{" not in str(error.value)
    return error.value


DEEP = {
    "bare": ".".join("a" * 20_000) + " = 1",
    "quoted": ".".join(['"b c"'] * 20_000) + " = 1",
    "blanks": " . ".join(["'c'"] * 20_000) + " = 1",
    "table": "[" + ".".join("d" * 20_000) + "]",
    "tables": "[[" + ".".join("d" * 20_000) + "]]",
    "inline": "x = {" + ".".join("e" * 20_000) + " = 1}",
    "later": "x = 1\ny = '''\n'''\n" + ".".join("f" * 20_000) + " = 1",
    "just": ".".join("g" * (DEEPEST + 1)) + " = 1",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_deep_keys_are_counted_not_built(text: str) -> None:
    tracemalloc.start()
    error = refused(parse_toml, text)
    assert error.message.code == "kohya.too_deep"
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_dots_that_make_no_key_deep_are_read() -> None:
    text = """
    a = "1.2.3.4.5.6.7.8.9.10.11.12" # b.c.d.e.f.g.h.i.j.k.l
    c = 'x.y.z.a.b.c.d.e.f.g.h.i'
    d.e.f.g = 1.5
    g = \"\"\"
    a.b.c.d.e.f.g.h.i.j.k.l \\" m.n.o.p.q.r.s.t.u
    \"\"\"
    [1.2.3]
    """
    assert set(parse_toml(text, "a.toml")) == {"a", "c", "d", "g", "1"}


HARD = {
    "words": "x",
    "double quotes": '"',
    "single quotes": "'",
    "dots": ".",
    "word and dot": "a. ",
    "blanks": " ",
    "open strings": '"""\\"',
    "open tables": "[",
    "comments": "#",
}


@pytest.mark.parametrize("piece", HARD.values(), ids=HARD)
def test_no_text_takes_longer_than_its_length(piece: str) -> None:
    """Would not end in a year if the work grew with the square of the length."""
    refused(parse_toml, "a = 1\n" + piece * (MOST_TOML // len(piece) - 10) + "\n=")


def test_more_than_any_settings_need_is_not_begun() -> None:
    assert refused(parse_toml, "a = 1\n" * MOST_TOML).message.code == "kohya.too_large"


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_json, '{"a": [' + ",".join(["[]"] * 1_000_000) + "]}"),
        (parse_json, '{"a": [' + ",".join(["[{}]"] * (MOST_VALUES // 2)) + "]}"),
        (parse_toml, "a = [" + "[]," * (MOST_VALUES + 1) + "]"),
        (parse_yaml, "a:\n" + "- []\n" * (MOST_YAML // 6)),
        (parse_yaml, "a:\n" + "- 1\n" * (MOST_YAML // 5)),
    ],
    ids=["lists", "lists within lists", "TOML", "YAML of lists", "YAML of numbers"],
)
def test_more_values_than_any_settings_have_are_refused_before_they_are_used(parse: Any, text: str) -> None:
    assert refused(parse, text).message.code == "kohya.too_many_values"


def test_a_long_yaml_is_not_begun() -> None:
    assert refused(parse_yaml, "a: " + "x" * MOST_YAML).message.code == "kohya.too_large"


def test_as_many_values_as_a_large_file_has_are_read() -> None:
    assert len(parse_json('{"a": [' + ",".join(["1"] * (MOST_VALUES - 1)) + "]}", "a.json")["a"]) > 10_000


BACKSLASHES = [
    r"C:\Users\me\model.safetensors",
    r"D:\new\train",
    r"E:\temp",
    r"c:\u0041\x",
    r"\\nas\train\b",
    r"C:\data",
    r"data\img",
    r"img\10_cat",
]


@pytest.mark.parametrize("path", BACKSLASHES)
def test_single_backslashes_are_named_with_their_line_and_cure(path: str) -> None:
    error = refused(parse_toml, f'x = 1\ny = "fine\\\\so"\nz = "{path}"')
    assert error.message.code == "kohya.backslash_toml"
    assert error.message.values["line"] == 3
    assert path[:10] in str(error)
    assert "double each" in str(error)
    assert "single quotes" in str(error)
    error = refused(parse_json, f'{{\n"x": 1,\n"z": "{path}"}}')
    assert (error.message.code, error.message.values["line"]) == ("kohya.backslash_json", 3)


@pytest.mark.parametrize(
    "text",
    [
        r'"C:\\Users\\me"', r'"C:/new/train"', r"'C:\new\train'",
        r'"\\\\nas\\train"', r'"a\nb\t\"c\""', r'"\u00e9"',
        r'"(red\\) car"', r"'''C:\new'''", '"tip: \\"C:\\\\x\\""', r'"a # \\"',
    ],
)  # fmt: skip
def test_sound_backslashes_pass(text: str) -> None:
    assert isinstance(parse_toml(f"x = {text}", "a.toml")["x"], str)
    if text.startswith('"'):
        assert isinstance(parse_json(f'{{"x": {text}}}', "a.json")["x"], str)
