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
    if not pad and max(len(ids) for ids, _ in rows) <= CHUNK:
        length = max(len(ids) for ids, _ in rows)
    chunked = [_chunks(tokenizer, ids[:length], weights[:length], length) for ids, weights in rows]
    ids = torch.tensor([row for row, _ in chunked])
    return Tokens(ids, torch.tensor([row for _, row in chunked]) if weighted else None)


TextEncoder = CLIPTextModel | CLIPTextModelWithProjection


def encode_text(text_encoder: TextEncoder, tokens: Tokens, clip_skip: int = 1) -> Tensor:
    """Text embeddings (B, 77, D), or (B, 75·n + 2, D) for n chunks.

    `clip_skip` 2 takes the last layer but one. Each chunk's marks are dropped but for the first begin
    and the last end. Raises UserError for a layer that the text encoder does not have.
    """
    batch, count, width = tokens.ids.shape
    ids = tokens.ids.reshape(batch * count, width)
    if clip_skip <= 1:
        embeds = text_encoder(ids).last_hidden_state
    else:
        hidden = text_encoder(ids, output_hidden_states=True).hidden_states  # the first is of no layer
        if clip_skip >= len(hidden):
            raise UserError("core.clip_skip_layers", "clip_skip", layers=len(hidden) - 1, value=clip_skip)
        embeds = _final_norm(text_encoder)(hidden[-clip_skip])
    embeds = embeds.reshape(batch, count, width, -1)
    if tokens.weights is not None:
        weights = tokens.weights.to(embeds.dtype)
        embeds = embeds * weights.unsqueeze(-1)
    if count == 1:
        return embeds[:, 0]
    inner = embeds[:, :, 1:-1].reshape(batch, count * (width - 2), -1)
    return torch.cat([embeds[:, 0, :1], inner, embeds[:, -1, -1:]], dim=1)


def _final_norm(text_encoder: TextEncoder) -> Any:
    """transformers 5.6 took CLIPTextModel's inner `text_model` away."""
    return getattr(text_encoder, "text_model", text_encoder).final_layer_norm


Row = tuple[list[int], list[float]]


def _plain_row(tokenizer: CLIPTokenizer, text: str) -> Row:
    """Ids without marks; every token counts once."""
    ids = tokenizer(clean_caption(text), truncation=False, verbose=False).input_ids[1:-1]
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
    size = min(length, CHUNK)
    id_rows, weight_rows = [], []
    for start in range(0, max(length, 1), CHUNK):
        inner = ids[start : start + size]
        fill = size - len(inner)
        id_rows.append([begin, *inner, end, *[pad] * fill])
        if (
            length > CHUNK and id_rows[-1][1] == pad
        ):  # as the reference: so, too, where a caption begins with "!"
            id_rows[-1][1] = end
        weight_rows.append([1.0, *weights[start : start + size], *[1.0] * fill, 1.0])
    return id_rows, weight_rows
