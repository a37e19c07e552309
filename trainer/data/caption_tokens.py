"""How CLIP reads a caption: its plain characters, and how many tokens it makes of them. Loads no torch."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FOLDER = Path(__file__).parents[1] / "models" / "configs" / "clip_tokenizer"
FOR_UNKNOWN = "<|endoftext|>"
WORD_PATTERN = (
    r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
)
"""How CLIP parts a text before it looks for tokens."""
QUOTE_TABLE = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"'}
)
COMPATIBLE = re.compile("[\ufb00-\ufb06\u0132\u0133\u01f1-\u01f3\uff01-\uff5e\uff61-\uff9f\u3000]+")


def clean_caption(text: str) -> str:
    """Text as CLIP's own tokenizer prepares it before lower-casing.

    Entities of HTML, ligatures, full-width and half-width letters and curly quotes become plain
    characters, so that a caption typed with a Japanese keyboard is read like the same words in ASCII.
    """
    if "<" not in text:
        text = html.unescape(text)
    text = COMPATIBLE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    return unicodedata.normalize("NFC", text.translate(QUOTE_TABLE))


_counts: dict[str, int] = {}


def token_count(text: str) -> int:
    """How many tokens a text has, the marks not counted; remembered. SD1, SD2 and SDXL count alike."""
    if text not in _counts:
        _counts[text] = len(_tokenizer().encode(clean_caption(text)).ids)
    return _counts[text]


def known_count(text: str) -> int | None:
    """The same where it was counted before; else None."""
    return _counts.get(text)


def cut_at(text: str, limit: int) -> tuple[str, str]:
    """What `limit` tokens hold of a caption, and what is cut off, as CLIP reads both."""
    clean = clean_caption(text)
    offsets = _tokenizer().encode(clean).offsets
    end = offsets[limit][0] if len(offsets) > limit else len(clean)
    return clean[:end].rstrip(), clean[end:].strip()


def words_in_pieces(text: str) -> dict[str, int]:
    """Words of a caption that CLIP hardly knows, and of how many tokens it makes them up.

    Of letters beyond ASCII: those with a letter that is no token of its own (most Japanese ones). Others:
    those that are read nearly letter by letter.
    """
    clean = clean_caption(text)
    read = _tokenizer().encode(clean)
    spans: dict[int, list[tuple[int, int]]] = {}
    for word, span in zip(read.word_ids, read.offsets, strict=True):
        if word is not None:
            spans.setdefault(word, []).append(span)
    pieces = {clean[parts[0][0] : parts[-1][1]]: len(parts) for parts in spans.values()}
    return {word: count for word, count in pieces.items() if word.isalpha() and _is_hardly_known(word, count)}


def _is_hardly_known(word: str, pieces: int) -> bool:
    return (pieces > 2 and len(word) < 2 * pieces) if word.isascii() else pieces > len(word)


@cache
def _tokenizer() -> Tokenizer:
    """CLIP's, without transformers (which would load torch)."""
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    vocab = json.loads((TOKENIZER_FOLDER / "vocab.json").read_text(encoding="utf-8"))
    lines = (TOKENIZER_FOLDER / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [
        (first, second) for first, second in map(str.split, lines[1:] if lines[0][:1] == "#" else lines)
    ]
    made = Tokenizer(BPE(vocab, merges, end_of_word_suffix="</w>", unk_token=FOR_UNKNOWN))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return made
