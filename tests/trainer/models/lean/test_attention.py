"""Attention between many places: torch's answers, and gradients as near to the exact ones as bfloat16 is."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from trainer.models.checkpointing import ATTENTION
from trainer.models.lean import attention
from trainer.models.lean.attention import MANY_PLACES, LeanAttention, attend, knows_weights
from trainer.models.lean.build import make_lean


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    """Heads are taken as many at a time as there are threads: three heads are not a multiple of two."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def sides(queries: int, keys: int, peak: float = 1, dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    """Query, key and value of two batches and three heads, in diffusers' order of memory."""
    torch.manual_seed(0)
    made = [torch.randn(2, places, 3, 16) for places in (queries, keys, keys)]
    made[0] *= peak
    return [each.to(dtype).transpose(1, 2).requires_grad_() for each in made]


def gradients(compute: Any, given: Sequence[Tensor], dtype: torch.dtype | None = None) -> list[Tensor]:
    """Output and gradients of query, key and value."""
    asked = [each.detach().to(dtype or each.dtype).requires_grad_() for each in given]
    output = compute(*asked)
    torch.manual_seed(1)
    towards = torch.randn(output.shape).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, asked, towards)]


def distance(found: Tensor, exact: Tensor) -> float:
    """Of two tensors, as a share of the exact one's size."""
    return float((found.double() - exact).norm() / exact.norm())


def takes_products(given: Sequence[Tensor]) -> bool:
    """Whether the backward pass is ours."""
    return "_Attention" in type(attend(*given).grad_fn).__name__


@pytest.mark.skipif(not knows_weights(), reason="this torch keeps the sums to itself")
@pytest.mark.parametrize("peak", [1, 4])
@pytest.mark.parametrize(
    ("queries", "keys"), [(MANY_PLACES, MANY_PLACES), (MANY_PLACES + 70, MANY_PLACES + 1)]
)
def test_gradients_are_as_exact_as_bfloat16(queries: int, keys: int, peak: float) -> None:
    given = sides(queries, keys, peak)
    assert takes_products(given)
    exact = gradients(F.scaled_dot_product_attention, given, torch.float64)
    torchs = gradients(F.scaled_dot_product_attention, given)
    output, *found = gradients(attend, given)
    assert torch.equal(output, torchs[0])
    for ours, theirs, right in zip(found, torchs[1:], exact[1:], strict=True):
        assert distance(ours, right) < 4 * distance(theirs, right) < 0.03


@pytest.mark.parametrize(
    ("places", "dtype"), [((MANY_PLACES, 77), torch.bfloat16), ((MANY_PLACES,) * 2, torch.float32)]
)
def test_few_places_and_wide_numbers_are_left_to_torch(places: tuple[int, int], dtype: torch.dtype) -> None:
    given = sides(*places, dtype=dtype)
    assert not takes_products(given)
    for ours, theirs in zip(
        gradients(attend, given), gradients(F.scaled_dot_product_attention, given), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_torch_without_the_private_operation_computes_as_it_does(monkeypatch) -> None:
    def missing(*_: Tensor) -> tuple[Tensor, Tensor]:
        raise AttributeError

    knows_weights.cache_clear()
    monkeypatch.setattr(attention, "_with_logsum", missing)
    assert not takes_products(sides(MANY_PLACES, MANY_PLACES))
    knows_weights.cache_clear()


def test_its_output_can_be_kept_under_gradient_checkpointing() -> None:
    torch.manual_seed(0)
    layer = Attention(32, heads=2, dim_head=16).bfloat16().requires_grad_(False)
    knows_weights.cache_clear()  # as a new process
    make_lean(layer)
    x = torch.randn(1, MANY_PLACES, 32).bfloat16().requires_grad_()
    kept = [getattr(torch.ops.aten, name).default for name in ATTENTION if hasattr(torch.ops.aten, name)]
    contexts = partial(create_selective_checkpoint_contexts, kept)
    output = checkpoint(layer, x, use_reentrant=False, context_fn=contexts)
    assert isinstance(output, Tensor)
    found = torch.autograd.grad(output.float().square().sum(), x)
    right = torch.autograd.grad(layer(x).float().square().sum(), x)
    assert torch.equal(found[0], right[0])


@pytest.mark.parametrize("words", [None, 12])
def test_a_layer_gives_what_diffusers_does(words: int | None) -> None:
    torch.manual_seed(0)
    plain = Attention(48, cross_attention_dim=20 if words else None, heads=3, dim_head=16).requires_grad_(
        False
    )
    lean = copy.deepcopy(plain)
    make_lean(lean)
    assert isinstance(lean.processor, LeanAttention)
    context = torch.randn(2, words, 20) if words else None
    found = []
    for layer in (plain, lean):
        x = torch.linspace(-1, 1, 2 * 30 * 48).sin().view(2, 30, 48).requires_grad_()
        output = layer(x, encoder_hidden_states=context, attention_mask=None)
        found.append((output, *torch.autograd.grad(output.sum(), x)))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_a_mask_and_layers_that_do_more_are_diffusers_own() -> None:
    torch.manual_seed(0)
    layer = Attention(48, heads=3, dim_head=16).requires_grad_(False)
    mask, x = torch.zeros(1, 1, 30), torch.randn(1, 30, 48)
    mask[..., 9:] = -10_000
    masked = layer(x, attention_mask=mask)
    make_lean(layer)
    assert torch.equal(layer(x, attention_mask=mask), masked)
    assert not torch.allclose(layer(x), masked)
    others: list[dict[str, Any]] = [
        {"norm_num_groups": 4},
        {"residual_connection": True},
        {"rescale_output_factor": 2.0},
        {"dropout": 0.1},
    ]
    for options in others:
        other = Attention(48, heads=3, dim_head=16, **options)
        make_lean(other)
        assert type(other.processor) is AttnProcessor2_0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no card")
def test_a_card_computes_with_torch() -> None:
    assert not takes_products(
        tuple(each.detach().cuda().requires_grad_() for each in sides(MANY_PLACES, MANY_PLACES))
    )
