"""Read foreign text safely: limits on size and depth, no NaN, no key twice; never a traceback."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import yaml

from trainer.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 2_000_000
"""The largest file of settings; kohya_ss's own are below 10 KB, our presets too."""
MOST_ALIASES = 20
"""Of YAML: each may stand for a whole table, and a table may hold more of them."""
MOST_KEYS = 3_000
MOST_VALUES = 50_000
"""Of settings, in all their lists and tables; other programs' files have some hundreds, dataset files too."""
MOST_YAML = 200_000
MOST_YAML_PARTS = 20_000
"""Characters of YAML, and its values, beginnings and ends of lists …: its reader takes 0.1 ms for each."""
DEEPEST = 8
HALF_LETTERS = re.compile("[\ud800-\udfff]")
"""Lone surrogates, which JSON can say and no file can hold."""
BOMS = {
    b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig",
}  # fmt: skip


Encoding = Literal[
    "Shift-JIS", "EUC-JP", "GBK", "Big5", "EUC-KR", "Windows-1252", "Windows-1251", "Windows-1250"
]
ENCODINGS: dict[str, Encoding] = {
    "cp932": "Shift-JIS", "gb18030": "GBK", "big5": "Big5", "cp949": "EUC-KR", "euc_jp": "EUC-JP",
    "cp1252": "Windows-1252", "cp1251": "Windows-1251", "cp1250": "Windows-1250",
}  # fmt: skip
"""What is written where a program names no encoding: Japanese (Windows, and Unix of old), Chinese, Korean,
Western, Russian, Central European.
"""
UNLIKELY = re.compile(
    r"""
    [\uff61-\uff9f\ue000-\uf8ff]                          # half-width kana, private use
    | [\x80-\xff]{3,}                                     # accents in rows
    | [\xa1-\xbf\xd7\xf7](?=[^\W\d_]) | (?<=[^\W\d_])[\xa1-\xb4\xb6-\xbf\xd7\xf7]  # signs in words
    | (?<=[A-Za-z])[\u0400-\u04ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af](?=[A-Za-z])  # a lone foreign one
    """,
    re.VERBOSE,
)
"""Letters that show a wrong reading."""
BLANK_BETWEEN = re.compile("(?<=[\u3400-\u9fff]) (?=[\u3400-\u9fff])")
USUAL: Mapping[Encoding, str] = {"GBK": "gb2312", "EUC-KR": "iso2022_kr"}
"""The older part of an encoding, which has the letters of everyday."""
COMMON: Mapping[Encoding, frozenset[str]] = {
    "GBK": frozenset(
        "的一是不了人我在有他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小心多天而能"
        "好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知样现分将外但身些与高意进"
        "法此实回二理美点月明其种声全情部正名定女力机给等几很间新打因重被走电四门相东海口使教西再平真听世气信北少关并内加"
        "化由先山五水万眼体总才场师书比住员笑性光白红黄黑蓝绿紫灰金银粉橙色肤眉嘴唇耳鼻脸双牙齿胸腰腿脚指尾翅角发辫马短卷直"
        "裙裤衣服衫袜鞋帽丝带领结袖背景坐站躺跪跑跳抱拿戴穿衫制校泳装站视窗镜狐狸猫狗兔狼龙鸟鱼花草树云雪雨星空夜室街床椅桌"
        "孩男者幅画像照片风格动漫写立绘单独微闭张睁表羞怒哭泪甜可爱丽古湖河岸城市房屋森林沙滩阳光"
    ),
    "EUC-KR": frozenset(
        "이다는에의가을하고를지은로한기사도자리어나아대시서있정그인들으게수해일과전부장보여상원스요제주것면구만라조국동공세생성문"
        "모드안유신거소비경관마야선무했더위발용없화중러당년오교개치트적와우때말년물심건강산실재명계분단외본속았었니까네습"
        "녀남머긴짧흰검빨파란노랑초록보라회색금은분홍갈눈동코입술귀손팔다리꼬날개뿔치옷바지셔츠신양말모리본안경가방"
        "미소웃울앉누워달뛰안들쓰입고배하늘바꽃나무풀구름비별밤방거침대의책상집숲강호해변도시창문햇빛"
        "여우늑토끼강아양곰새물용말소년복드레스원피교복수영티셔츠재킷코트얼굴표정부끄럼화난눈감은혼명그림사진풍만예쁜귀운"
    ),
}  # fmt: skip
"""Letters of everyday: most of a text is made of them, and of a wrong reading few are."""
DAMAGED_UTF_8 = "UTF-8 (\N{REPLACEMENT CHARACTER})"
"""UTF-8 with some letters that are none: two files put together, or one that was cut within a letter."""
WHOLE_FOR_BROKEN = 4
"""Letters beyond ASCII that must be whole for each that is none; in other encodings most are none."""
KANA = re.compile("[ぁ-んァ-ヶ]")


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The file's content. Raises UserError when it is missing, no file, unreadable or too large."""
    try:
        if not path.is_file():
            raise UserError("kohya.no_file", path=str(path))
        size = path.stat().st_size
        if size > most:
            raise UserError("kohya.too_large", path=str(path), size=f"{size:,}", most=f"{most:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise UserError("kohya.unreadable", path=str(path), reason=str(error)) from error


def decoded(data: bytes, name: str) -> str:
    """Text in UTF-8, UTF-16 with its mark, or an encoding of Windows; raises UserError for anything else."""
    text = readings(data)[0][1] if readings(data) else "\x00"
    if "\x00" in text:
        raise UserError("kohya.not_text", path=name)
    return text


def readings(data: bytes) -> list[tuple[str, str]]:
    """Name of the encoding and text; where it is no UTF, every reading that fits, the likeliest first."""
    encoding = _utf_of(data)
    with suppress(UnicodeDecodeError):
        return [(encoding, data.decode(encoding))]
    fitting: list[tuple[Encoding, str]] = []
    for codec, name in ENCODINGS.items():
        with suppress(UnicodeDecodeError):
            fitting.append((name, data.decode(codec)))
    damaged = [(DAMAGED_UTF_8, text)] if (text := _nearly_utf_8(data)) else []
    return [*damaged, *_by_common_letters(sorted(fitting, key=_unlikeliness))]


def _by_common_letters(found: list[tuple[Encoding, str]]) -> list[tuple[Encoding, str]]:
    """Chinese and Korean share their bytes: of these two, where either is the likeliest and as little speaks
    against the other, that one goes first which has more letters of everyday.
    """
    texts = dict(found)
    if len(texts) < 2 or found[0][0] not in COMMON or not texts.keys() >= COMMON.keys():
        return found
    against = {name: _unlikeliness((name, texts[name]))[0] for name in COMMON}
    first = max(COMMON, key=lambda name: (-against[name], _common(name, texts[name]), name == found[0][0]))
    return sorted(found, key=lambda reading: reading[0] != first)


def _common(name: Encoding, text: str) -> int:
    return sum(letter in COMMON[name] for letter in text)


def _nearly_utf_8(data: bytes) -> str:
    """The text where all but a few letters are UTF-8, those as marks; "" where they are not."""
    text = data.decode("utf-8-sig", errors="replace")
    broken = text.count("\N{REPLACEMENT CHARACTER}")
    whole = sum(not letter.isascii() for letter in text) - broken
    return text if whole >= WHOLE_FOR_BROKEN * broken else ""


def _unlikeliness(reading: tuple[Encoding, str]) -> tuple[int, int]:
    """How many letters speak against a reading, and (where as many do) how many blanks.

    Chinese in kana is Japanese, which looks alike; of the languages with such letters, Korean has blanks.
    """
    name, text = reading
    against = sum(len(found) for found in UNLIKELY.findall(text))
    against += len(KANA.findall(text)) if name in ("GBK", "Big5", "EUC-KR") else 0
    usual = USUAL.get(name)
    against += len(text) - len(text.encode(usual, "ignore").decode(usual)) if usual else 0
    return against, len(BLANK_BETWEEN.findall(text))


def is_utf(data: bytes) -> bool:
    """Whether the text says in one way only what it says."""
    with suppress(UnicodeDecodeError):
        data.decode(_utf_of(data))
        return True
    return False


def _utf_of(data: bytes) -> str:
    """By its mark; without one by the zeros of plain letters, or by the signs of old mail."""
    if marked := next((BOMS[mark] for mark in BOMS if data.startswith(mark)), ""):
        return marked
    even, odd = data[:1000:2].count(0), data[1:1000:2].count(0)
    if max(even, odd) > len(data[:1000]) // 8 and not min(even, odd):
        return "utf-16-be" if even else "utf-16-le"
    return "iso2022_jp" if b"\x1b$B" in data and data.isascii() else "utf-8"


def parse_json(text: str, name: str, most_values: int = MOST_VALUES) -> dict[str, Any]:
    """An object in JSON. Raises UserError for anything else, for NaN, for a key twice, for absurd depth or
    more than `most_values` values.
    """

    def whole(text: str) -> int:
        if len(text) > 40:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text)

    def real(text: str) -> float:
        if not math.isfinite(float(text)):
            raise ValueError(f"{text[:40]} is too large a number")
        return float(text)

    def refuse(text: str) -> Any:
        raise ValueError(f"{text} is no number")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key, value in pairs:
            if key in content:
                raise UserError("kohya.key_twice", path=name, key=key[:80])
            content[key] = value
        return content

    def load() -> Any:
        return json.loads(
            text, parse_int=whole, parse_float=real, parse_constant=refuse, object_pairs_hook=unique
        )

    return _checked(load, text, name, "JSON", most_values)


MOST_TOML = 500_000
"""Characters of TOML: its reader takes seconds for more."""
STRINGS = re.compile(
    r"""
    "{3} (?:[^\\] | \\.)*? (?: "{3} | \Z )  |  '{3} .*? (?: '{3} | \Z )  # of several lines
  | " (?:[^"\\\n] | \\.)* (?: " | $ )         |  ' [^'\n]* (?: ' | $ )       # of one line
  | \# [^\n]*                                                              # comments
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
"""One that does not end goes on to the end: so each letter is looked at once, whatever the text is."""


WINDOWS_PATH = re.compile(r"""^"(?: [A-Za-z]:\\(?![\\/"]) | \\\\[\w.-]+\\(?!\\) )""", re.VERBOSE)
"""Begins with a drive or a server as Windows shows it; single backslashes before n or t would be marks."""
NO_ESCAPE = re.compile(
    r"""(?<!\\)(?:\\\\)*\\(?! ["\\bfnrt/] | u[0-9A-Fa-f]{4} | U[0-9A-Fa-f]{8} | \s )""", re.VERBOSE
)


def check_backslashes(
    text: str, name: str, language: str, *, is_wrong: re.Pattern[str] = WINDOWS_PATH
) -> None:
    """Refuse strings in double quotes that hold single backslashes."""
    for found in STRINGS.finditer(text):
        if found[0].startswith('"') and is_wrong.search(found[0]):
            line = text.count("\n", 0, found.start()) + 1
            code = "kohya.backslash_toml" if language == "TOML" else "kohya.backslash_json"
            raise UserError(code, path=name, line=line, text=found[0][:80])


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """A table in TOML. Raises UserError like `parse_json`.

    The depth of dotted keys is looked at first: the reader's work and memory grow with its square.
    """
    if len(text) > MOST_TOML:
        raise UserError("kohya.too_large", path=name, size=f"{len(text):,}", most=f"{MOST_TOML:,}")
    if _deepest_key(text) > DEEPEST:
        raise UserError("kohya.too_deep", path=name)
    return _checked(lambda: tomllib.loads(text), text, name, "TOML")


def _deepest_key(text: str) -> int:
    """The most parts that a key with dots has, counted up to one more than `DEEPEST`; 0 for none."""
    keys = re.sub(r"[\w-]+", "k", STRINGS.sub("k", text))
    keys = re.sub(r"[ \t]+", "", keys)
    return next((count for count in range(DEEPEST + 1, 0, -1) if ".".join("k" * count) in keys), 0)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's table. Raises UserError."""
    return parse_toml(decoded(read_bytes(path), path.name), path.name)


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """A mapping in YAML: plain values only, few aliases. Raises UserError like `parse_json`."""
    if len(text) > MOST_YAML:
        raise UserError("kohya.too_large", path=name, size=f"{len(text):,}", most=f"{MOST_YAML:,}")

    def load() -> Any:
        try:
            # Before anything is built; the rest of a file with more is not looked at.
            events = list(islice(yaml.parse(text, Loader=yaml.SafeLoader), MOST_YAML_PARTS + 1))
            if len(events) > MOST_YAML_PARTS:
                raise UserError("kohya.too_many_values", path=name, most=f"{MOST_YAML_PARTS:,}")
            if sum(isinstance(event, yaml.AliasEvent) for event in events) > MOST_ALIASES:
                raise ValueError(f"more than {MOST_ALIASES} aliases")
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from error

    return _checked(load, "", name, "YAML")


def read_table(path: Path) -> dict[str, Any]:
    """The table in a TOML file, or in a JSON file by its ending. Raises UserError."""
    return parse_table(decoded(read_bytes(path), path.name), path)


def parse_table(text: str, path: Path) -> dict[str, Any]:
    """The table in a file's text: TOML, or JSON by its ending. Raises UserError."""
    parse = parse_json if path.suffix.lower() == ".json" else parse_toml
    return parse(text, path.name)


def _checked(
    load: Callable[[], Any], text: str, name: str, language: str, most_values: int = MOST_VALUES
) -> dict[str, Any]:
    if "\\" in text:
        check_backslashes(text, name, language)
    try:
        content = load()
    except RecursionError:
        raise UserError("kohya.too_deep", path=name) from None
    except ValueError as error:  # includes json.JSONDecodeError and tomllib.TOMLDecodeError
        check_backslashes(text, name, language, is_wrong=NO_ESCAPE)
        raise UserError("kohya.no_such_format", path=name, format=language, reason=str(error)[:200]) from None
    if not isinstance(content, dict):
        raise UserError("kohya.no_object", path=name, format=language)
    if len(content) > MOST_KEYS:
        raise UserError("kohya.too_many_keys", path=name, count=len(content), most=MOST_KEYS)
    check_values(content, name, most_values)
    return content


def check_values(values: Mapping[Any, Any], name: str, most: int = MOST_VALUES) -> None:
    """Refuse what no file of settings holds: depth beyond `DEEPEST`, more than `most` values, NaN, infinity,
    keys that are no text.
    """
    waiting: list[tuple[Any, int]] = [(values, 0)]
    left = most
    while waiting:
        value, depth = waiting.pop()
        left -= len(value) if isinstance(value, (Mapping, list, tuple)) else 0
        if left < 0:
            raise UserError("kohya.too_many_values", path=name, most=f"{most:,}")
        if depth > DEEPEST:
            raise UserError("kohya.too_deep", path=name)
        if isinstance(value, str) and not value.isascii() and HALF_LETTERS.search(value):
            raise UserError("kohya.not_text", path=name)
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError("kohya.not_finite", path=name)
        if isinstance(value, Mapping):
            if any(not isinstance(key, str) for key in value):
                raise UserError("kohya.no_object", path=name, format="JSON")
            waiting += [(key, depth) for key in value]
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, (list, tuple)):
            waiting += [(inner, depth + 1) for inner in value]
