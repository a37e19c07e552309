"""Attention of a denoiser: diffusers' answers without what a plain layer does not need, and on CPUs with a
quicker backward pass.

torch's kernel for CPUs does the backward pass in bfloat16 in small blocks whose products are narrow. Here
they are large products. Backward in ms between 4096 places, on an Intel Xeon with AMX:

    heads, size         torch    here
    8, 40                 380     268    one thread
    10, 64                520     352
    8, 40                 192     146    two threads
    8, 40                 197     189    two threads that sleep while they wait

Between few places (the words of a prompt, small maps) that gains nothing, or loses. Scores are rounded to
bfloat16 before they become weights: gradients are off by 0.5 to 0.75 % of their size (1 to 1.4 % where each
place attends to few), with torch's kernel by 0.4 to 0.5 %. The forward pass, and float32, are torch's.
"""

from __future__ import annotations

from functools import cache
from math import log2, sqrt
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

MANY_PLACES = 2048
"""Queries and keys from which on large products are quicker."""
BLOCK = 512
"""Keys at a time: with 4096 queries their weights are 4 MB."""
CENTRE = 6
"""Weights are held times two to this: bfloat16 is most exact in an exponent near zero, and a weight of a
64th is as far from those of even attention as from those that attend to one place."""
LOG2_E = log2(torch.e)


class LeanAttention(AttnProcessor2_0):
    """diffusers' processor for a layer without norms, masks and residual inside (`can_attend_leanly`)."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """(B, places, width), perhaps with what to attend to (B, M, width') -> (B, places, width)."""
        masked = any(each is not None for each in (*args, *kwargs.values()))
        if masked or hidden_states.dim() != 3 or torch.compiler.is_compiling():  # a map has four
            return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        layers: Any = attn
        sides = (layers.to_q(hidden_states), layers.to_k(context), layers.to_v(context))
        query, key, value = (side.unflatten(2, (attn.heads, -1)).transpose(1, 2) for side in sides)
        return layers.to_out[0](attend(query, key, value).transpose(1, 2).flatten(2))


def can_attend_leanly(layer: Attention) -> bool:
    """Whether LeanAttention does all that this layer's own processor does."""
    inside = (layer.spatial_norm, layer.group_norm, layer.norm_q, layer.norm_k, layer.norm_cross)
    plain = all(each is None for each in inside) and not layer.residual_connection
    if type(layer.processor) is not AttnProcessor2_0 or not plain or layer.to_out is None:
        return False
    dropout = layer.to_out[1]
    return isinstance(dropout, nn.Dropout) and dropout.p == 0 and layer.rescale_output_factor == 1


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query · key / √d) · value: (B, heads, N, d) and twice (B, heads, M, d) -> (B, heads, N, d)."""
    numbers = {each.dtype for each in (query, key, value)}
    many = min(query.shape[2], key.shape[2]) >= MANY_PLACES
    learns = torch.is_grad_enabled() and query.device.type == "cpu"
    if learns and many and numbers == {torch.bfloat16} and knows_weights():
        return cast("Tensor", _Attention.apply(query, key, value))
    return F.scaled_dot_product_attention(query, key, value)


@cache
def knows_weights() -> bool:
    """Whether torch's private operation gives what scaled_dot_product_attention does, and its log-sums."""
    query, key, value = torch.linspace(-2, 2, 3 * 2 * 3 * 5).sin().view(3, 1, 2, 3, 5).bfloat16()
    try:
        output, logsum = _with_logsum(query, key, value)
    except (AttributeError, RuntimeError, TypeError, ValueError):  # another torch may not have it
        return False
    with torch.autocast("cpu", enabled=False):
        scores = (query.float() @ key.float().mT) / sqrt(query.shape[-1])
    alike = torch.equal(output, F.scaled_dot_product_attention(query, key, value))
    return (
        alike and logsum.shape == scores.shape[:3] and torch.allclose(logsum, scores.logsumexp(-1), atol=0.02)
    )


def _with_logsum(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The output (B, heads, N, d) and the logarithm of what each softmax divides by (B, heads, N)."""
    operation = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001  # the public one keeps the sums to itself
    return operation(query, key, value)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # torch passes what apply() got
        output, logsum = _with_logsum(query, key, value)
        ctx.save_for_backward(query, key, value, output, logsum)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  # see above
        query, key, value, output, logsum = ctx.saved_tensors
        found = tuple(torch.empty_like(each) for each in (query, key, value))
        # As many heads at a time as there are threads: each has products of its own.
        together = torch.get_num_threads()
        for batch in range(len(query)):
            for head in range(0, query.shape[1], together):
                at = batch, slice(head, head + together)
                given = (each[at] for each in (query, key, value, output, logsum, gradient))
                for whole, part in zip(found, _of_heads(*given), strict=True):
                    whole[at] = part
        return found


def _of_heads(
    query: Tensor, key: Tensor, value: Tensor, output: Tensor, logsum: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Some heads' gradients of query (h, N, d), key and value (h, M, d) by that of the output (h, N, d)."""
    scale = 1 / sqrt(query.shape[2])
    # What is subtracted from each score, and from each gradient of a weight, is a column of the product.
    asked = _with_column(query.float() * (scale * LOG2_E), CENTRE - logsum * LOG2_E)
    wanted = _with_column(gradient, -(gradient.float() * output).sum(2))
    ones = key.new_ones(*key.shape[:2], 2)
    keys, values = torch.cat([key, ones], 2), torch.cat([value, ones], 2)
    low = (gradient * 2.0**-CENTRE).contiguous()
    query = query.contiguous()
    by_query = torch.zeros_like(query.mT, dtype=torch.float32)
    by_key, by_value = torch.empty_like(key), torch.empty_like(value)
    # Asked for anew, such blocks might be mapped anew each time.
    block = query.new_empty(2, len(query), min(BLOCK, key.shape[1]), query.shape[1])
    for start in range(0, key.shape[1], BLOCK):
        some = slice(start, start + BLOCK)
        weights, by_scores = block[:, :, : key[:, some].shape[1]]
        torch.bmm(keys[:, some], asked, out=weights).exp2_()  # (h, keys, N)
        by_value[:, some] = weights.bmm(low)
        torch.bmm(values[:, some], wanted, out=by_scores).mul_(weights)
        by_key[:, some] = by_scores.bmm(query)
        by_query += keys[:, some, :-2].mT.bmm(by_scores)
    factor = scale * 2.0**-CENTRE
    return by_query.mul_(factor).mT, by_key.mul_(factor), by_value


def _with_column(rows: Tensor, column: Tensor) -> Tensor:
    """(h, N, d) with a float32 column (h, N), transposed: (h, d + 2, N) in bfloat16, the column as two."""
    coarse = column.bfloat16()
    fine = (column - coarse.float()).bfloat16()
    return torch.cat([rows.mT.bfloat16(), coarse[:, None], fine[:, None]], 1)
