"""Captions to text embeddings: tokens, chunks of 77, clip skip, weighted captions.

CLIP reads 75 tokens between a begin and an end mark. Longer captions are read in chunks, each with its
own marks, and joined again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from trainer.data.caption_tokens import clean_caption
from trainer.data.prompt_attention import parse_weights
from trainer.errors import UserError

CHUNK = 75
END = 49407
"""Id of the end mark, in OpenAI's vocabulary and OpenCLIP's."""


@dataclass(frozen=True)
class Tokens:
    """Token ids of a batch, (B, n, 77); one shorter chunk where padding is off."""

    ids: Tensor
    weights: Tensor | None = None
    """How much each token counts, same shape; None without "Weighted captions"."""

    def to(self, device: torch.device) -> Tokens:
        """The same on a device."""
        return Tokens(self.ids.to(device), None if self.weights is None else self.weights.to(device))


def tokenize(
    tokenizer: CLIPTokenizer,
    captions: Sequence[str],
    max_token_length: int = 75,
    *,
    weighted: bool = False,
    pad: bool = True,
) -> Tokens:
    """Token ids of captions, cut at `max_token_length` (75, 150, 225) tokens.

    `pad=False` is "No token padding": filled up only to the longest caption of the batch. Raises
    UserError for a weight that is no number.
    """
    rows = [_weighted_row(tokenizer, text) if weighted else _plain_row(tokenizer, text) for text in captions]
    length = max_token_length
    # Longer ones are read in whole chunks all the same.
    if not pad and max(len(ids) for ids, _ in rows) <= CHUNK:
        length = max(len(ids) for ids, _ in rows)
    chunked = [_chunks(tokenizer, ids[:length], weights[:length], length) for ids, weights in rows]
    ids = torch.tensor([row for row, _ in chunked])
    return Tokens(ids, torch.tensor([row for _, row in chunked]) if weighted else None)


ClipModel = CLIPTextModel | CLIPTextModelWithProjection


def encode_text(text_encoder: ClipModel, tokens: Tokens, clip_skip: int = 1) -> Tensor:
    """Text embeddings (B, 77, D), or (B, 75·n + 2, D) for n chunks.

    `clip_skip` 2 takes the last layer but one. Each chunk's marks are dropped but for the first begin
    and the last end. Raises UserError for a layer that the text encoder does not have.
    """
    ids = tokens.ids.flatten(0, 1)
    # The layers between are kept only where one of them is asked for.
    if clip_skip <= 1:
        return _joined(text_encoder(ids).last_hidden_state, tokens)
    hidden = text_encoder(ids, output_hidden_states=True).hidden_states  # the first is of no layer
    if clip_skip >= len(hidden):
        raise UserError("core.clip_skip_layers", "clip_skip", layers=len(hidden) - 1, value=clip_skip)
    # The norm belongs to the last layer; Stable Diffusion passes the other ones through it, too.
    return _joined(_final_norm(text_encoder)(hidden[-clip_skip]), tokens)


def encode_penultimate(text_encoder: ClipModel, tokens: Tokens) -> tuple[Tensor, Tensor | None]:
    """What SDXL reads of an encoder: the last layer but one without the final norm, and the pooled vector.

    (B, 77, D) or (B, 75·n + 2, D) as `encode_text`; (B, P), or None of an encoder without projection.
    """
    answer = text_encoder(tokens.ids.flatten(0, 1), output_hidden_states=True)
    pooled = None
    if isinstance(text_encoder, CLIPTextModelWithProjection):
        # Of the last layer, although the text is read from the one before: so SDXL was trained.
        pooled = _pooled(text_encoder, answer.last_hidden_state, tokens.ids)
    return _joined(answer.hidden_states[-2], tokens), pooled


def _pooled(text_encoder: CLIPTextModelWithProjection, hidden: Tensor, ids: Tensor) -> Tensor:
    """(B, P): the last layer at the first end mark of the first chunk. Weights of captions do not count.

    transformers' own `text_embeds` looks for the highest id: the same but where a caption has tokens of an
    embedding behind the vocabulary.
    """
    first = hidden.reshape(*ids.shape, -1)[:, 0]  # (B, 77, D)
    place = (ids[:, 0] == END).int().argmax(dim=1)  # 0 where there is none, as in the reference
    return text_encoder.text_projection(first[torch.arange(len(first), device=first.device), place])


def _joined(embeds: Tensor, tokens: Tokens) -> Tensor:
    """(B·n, 77, D) as (B, 77, D) or (B, 75·n + 2, D), each row times its token's weight."""
    batch, count, width = tokens.ids.shape
    embeds = embeds.reshape(batch, count, width, -1)
    if tokens.weights is not None:
        weights = tokens.weights.to(embeds.dtype)
        embeds = embeds * weights.unsqueeze(-1)
    if count == 1:
        return embeds[:, 0]
    # The marks between chunks go, as in the reference: the denoiser is to see one caption.
    inner = embeds[:, :, 1:-1].reshape(batch, count * (width - 2), -1)
    return torch.cat([embeds[:, 0, :1], inner, embeds[:, -1, -1:]], dim=1)


def _final_norm(text_encoder: ClipModel) -> Any:
    """transformers 5.6 took CLIPTextModel's inner `text_model` away."""
    return getattr(text_encoder, "text_model", text_encoder).final_layer_norm


Row = tuple[list[int], list[float]]


def _plain_row(tokenizer: CLIPTokenizer, text: str) -> Row:
    """Ids without marks; every token counts once."""
    ids = tokenizer(clean_caption(text), truncation=False, verbose=False).input_ids[1:-1]
    # Begin and end mark are put around each chunk, not around the whole.
    return ids, [1.0] * len(ids)


def _weighted_row(tokenizer: CLIPTokenizer, text: str) -> Row:
    """Ids without marks and the weight each was given."""
    try:
        pieces = parse_weights(text)
    except ValueError as error:
        raise UserError("core.caption_weight", "weighted_captions", caption=text) from error
    ids: list[int] = []
    weights: list[float] = []
    for piece, weight in pieces:
        # Piece by piece, as the reference: a word that a bracket cuts becomes other tokens.
        row, _ = _plain_row(tokenizer, piece)
        ids += row
        weights += [weight] * len(row)
    return ids, weights


def _chunks(
    tokenizer: CLIPTokenizer, ids: list[int], weights: list[float], length: int
) -> tuple[list[list[int]], list[list[float]]]:
    """`length` tokens as chunks with marks.

    OpenAI's CLIP pads with the end mark. OpenCLIP pads with another token after one end mark, and every
    chunk has one.
    """
    begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    size, fill = min(length, CHUNK), length - len(ids)
    # One end mark behind the words; the last place of a chunk is its own end.
    inner, inner_weights = [*ids, end, *[pad] * fill], [*weights, *[1.0] * (fill + 1)]
    id_rows, weight_rows = [], []
    for start in range(0, max(length, 1), CHUNK):
        row = [begin, *inner[start : start + size], inner[length]]
        if length > CHUNK and pad != end:  # as the reference: so, too, where a token is the pad's
            row[-1] = row[-1] if row[-2] in (end, pad) else end
            row[1] = end if row[1] == pad else row[1]
        id_rows.append(row)
        weight_rows.append([1.0, *inner_weights[start : start + size], 1.0])
    return id_rows, weight_rows
