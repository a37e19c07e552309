"""Emphasis in captions, compared with the reference's parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.references import reference
from trainer.data.prompt_attention import parse_weights

CASES = reference("prompt_attention")


@pytest.mark.parametrize("case", CASES, ids=[case["prompt"] for case in CASES])
def test_pieces_and_weights_equal_the_reference(case: dict) -> None:
    if isinstance(case["parsed"], str):
        with pytest.raises(ValueError, match="could not convert"):
            parse_weights(case["prompt"])
    else:
        assert [list(piece) for piece in parse_weights(case["prompt"])] == case["parsed"]


@given(st.text(alphabet="ab ()[]:\\1.,", max_size=30))
def test_any_text_is_read_or_refused_and_words_are_kept(text: str) -> None:
    try:
        pieces = parse_weights(text)
    except ValueError:
        return
    joined = "".join(piece for piece, _ in pieces)
    assert [letter for letter in joined if letter in "ab"] == [letter for letter in text if letter in "ab"]
