"""Captions become tokens and embeddings as in the reference trainer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from tests.trainer.references import reference
from tests.trainer.tiny import fresh_model
from trainer.errors import UserError
from trainer.families import table
from trainer.models.clip import Tokens, clean_caption, encode_text, tokenize
from trainer.models.sd_files import load_tokenizer
from trainer.training.text_cache import CaptionEncoder

SD1, SD2 = (load_tokenizer(family.text_encoders[0]) for family in (table.SD1, table.SD2))


@pytest.fixture(scope="module")
def encoder() -> CLIPTextModel:
    torch.manual_seed(0)
    sizes: Any = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    return CLIPTextModel(CLIPTextConfig(**sizes)).eval()


def filled(rows: list[list[Any]], width: int = 77) -> list[list[Any]]:
    """Undo the shortening of the recorded rows: the last value repeats."""
    return [row + row[-1:] * (width - len(row)) for row in rows]


@pytest.mark.parametrize("length", [75, 150, 225])
@pytest.mark.parametrize("family", ["v1", "v2"])
def test_tokens_equal_the_reference(family: str, length: int) -> None:
    tokenizer = SD1 if family == "v1" else SD2
    for caption, rows in reference("tokens")[f"{family}_{length}"]:
        assert tokenize(tokenizer, [caption], length).ids[0].tolist() == filled(rows), caption


def test_weighted_tokens_equal_the_reference() -> None:
    for case in reference("prompt_attention"):
        if "ids" in case:
            tokens = tokenize(SD1, [case["prompt"]], 150, weighted=True)
            assert tokens.ids[0].tolist() == filled(case["ids"]), case["prompt"]
            assert tokens.weights is not None
            assert torch.allclose(tokens.weights[0], torch.tensor(filled(case["weights"])))
            short = tokenize(SD1, [case["prompt"]], 75, weighted=True)
            assert short.ids[0].tolist() == filled([case["ids77"]]), case["prompt"]
            assert short.weights is not None
            assert torch.allclose(short.weights[0], torch.tensor(filled([case["weights77"]])))


def test_a_batch_is_the_same_as_its_captions_alone() -> None:
    captions = ["a cat", "a much longer caption about a dog " * 4]
    together = tokenize(SD1, captions, 150)
    for index, caption in enumerate(captions):
        assert torch.equal(together.ids[index], tokenize(SD1, [caption], 150).ids[0])


def test_long_captions_are_cut_at_the_chosen_length() -> None:
    caption = " ".join(["cat"] * 300)
    for length in (75, 150, 225):
        ids = tokenize(SD1, [caption], length).ids
        assert ids.flatten().tolist().count(SD1.convert_tokens_to_ids("cat</w>")) == length


def test_no_token_padding_fills_up_to_the_longest_caption_only() -> None:
    ids = tokenize(SD1, ["a cat", "a black cat"], pad=False).ids
    assert ids.shape == (2, 1, 5)
    assert ids[0, 0].tolist()[-2:] == [49407, 49407]
    long = tokenize(SD1, [" ".join(["cat"] * 100)], 150, pad=False).ids
    assert long.shape == (1, 2, 77)


def test_full_width_letters_are_read_like_plain_ones() -> None:
    assert clean_caption("ＳＫＳ　ｃａｔ、１ｇｉｒｌ") == "SKS cat、1girl"
    assert torch.equal(tokenize(SD1, ["ｃａｔ"]).ids, tokenize(SD1, ["cat"]).ids)


def test_a_weight_that_is_no_number_names_the_caption() -> None:
    with pytest.raises(UserError) as error:
        tokenize(SD1, ["a (cat:1.1.1)"], weighted=True)
    assert "a (cat:1.1.1)" in str(error.value)


def test_one_chunk_gives_the_last_layer(encoder: CLIPTextModel) -> None:
    tokens = tokenize(SD1, ["a cat", "a dog"])
    embeds = encode_text(encoder, tokens)
    assert embeds.shape == (2, 77, 16)
    assert torch.equal(embeds, encoder(tokens.ids[:, 0]).last_hidden_state)
    assert torch.equal(embeds, encode_text(encoder, tokens, clip_skip=0))


def test_clip_skip_takes_an_earlier_layer_and_the_final_norm(encoder: CLIPTextModel) -> None:
    tokens = tokenize(SD1, ["a cat"])
    kept = encoder.encoder.layers
    encoder.encoder.layers = kept[:-1]
    try:
        expected = encoder(tokens.ids[:, 0]).last_hidden_state
    finally:
        encoder.encoder.layers = kept
    assert torch.allclose(encode_text(encoder, tokens, clip_skip=2), expected)
    assert not torch.allclose(encode_text(encoder, tokens, clip_skip=1), expected)


def test_clip_skip_beyond_the_layers_is_refused(encoder: CLIPTextModel) -> None:
    tokens = tokenize(SD1, ["a cat"])
    layers = len(encoder.encoder.layers)
    encode_text(encoder, tokens, clip_skip=layers)
    for value in (layers + 1, layers + 2, 12):
        with pytest.raises(UserError, match="Clip skip"):
            encode_text(encoder, tokens, clip_skip=value)


def test_chunks_are_joined_without_their_inner_marks(encoder: CLIPTextModel) -> None:
    tokens = tokenize(SD1, ["cat " * 80], 150)
    embeds = encode_text(encoder, tokens)
    first, second = encoder(tokens.ids[0]).last_hidden_state
    assert torch.allclose(embeds[0], torch.cat([first[:-1], second[1:]]), atol=1e-6)


def test_weights_scale_the_embeddings_of_their_words(encoder: CLIPTextModel) -> None:
    plain = encode_text(encoder, tokenize(SD1, ["a cat"]))
    weighted = encode_text(encoder, tokenize(SD1, ["a (cat:2)"], weighted=True))
    assert torch.allclose(weighted[0, 2], 2 * plain[0, 2])
    assert torch.allclose(weighted[0, [0, 1, 3]], plain[0, [0, 1, 3]])


def test_without_weights_brackets_are_plain_text(encoder: CLIPTextModel) -> None:
    assert tokenize(SD1, ["a (cat:2)"]).weights is None
    assert not torch.equal(tokenize(SD1, ["a (cat:2)"]).ids, tokenize(SD1, ["a cat"]).ids)


def test_tokens_move_to_a_device() -> None:
    moved = Tokens(torch.zeros(1, 1, 3), torch.ones(1, 1, 3)).to(torch.device("meta"))
    assert moved.ids.is_meta
    assert moved.weights is not None
    assert moved.weights.is_meta


def test_a_half_precision_text_encoder_gets_the_sum_of_all_gradients_in_full_digits() -> None:
    """As in the reference: 16 layers read the embeddings, and each has its part in the gradient."""
    model = fresh_model()
    text_encoder: Any = model.text_encoders[0]
    text_encoder.to(torch.bfloat16).requires_grad_(True)
    captions = CaptionEncoder(model, torch.device("cpu"), learning=True)
    with torch.autocast("cpu", torch.bfloat16):
        embeds = captions(["a cat"]).embeds
        embeds.retain_grad()
        torch.stack([(embeds.to(torch.bfloat16) * 2.0**-power).sum() for power in (0, 12)]).sum().backward()
    assert embeds.grad is not None
    assert embeds.grad.unique().tolist() == [1 + 2.0**-12]  # in bf16 the small part would be lost
