"""From a target and a module to the adapter of the chosen LoRA type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module

from torch import nn

from trainer import settings as schema
from trainer.errors import UserError
from trainer.lora.shapes import AlgorithmOptions, Shape
from trainer.lora.target import LoraTarget
from trainer.lora.types import ALGORITHMS, Algorithm, entry_shapes, is_lycoris, options_of
from trainer.network.adapters.adapter import Dropouts, Mode
from trainer.network.adapters.change import WeightChange
from trainer.network.adapters.low_rank import DyLoRA, LoConChain
from trainer.network.adapters.products import LowRankChange


def adapter_class(algorithm: Algorithm) -> type[WeightChange]:
    """What computes an algorithm."""
    module, _, name = ALGORITHMS[algorithm].adapter.partition(".")
    # By name: the table of algorithms is read where there is no torch.
    return getattr(import_module(f"trainer.network.adapters.{module}"), name)


def make_adapter(target: LoraTarget, module: nn.Module, network: schema.Network, mode: Mode) -> WeightChange:
    """Attach an adapter to a module; its weights are not drawn yet.

    Raises UserError where the rank cannot be had for this module (BOFT).
    """
    options = _options(target, network)
    # A file's own shapes win ("DIM from weights"): types may choose differently, e.g. LoKr's factor.
    shapes = target.shapes or _shapes(target, module, options)
    if "lokr_w1" in shapes and "lokr_w2" in shapes:  # two whole factors: LyCORIS knows no alpha for these
        # So that alpha / rank is 1, also in the file.
        target = replace(target, alpha=target.dim)
    # DoRA asks for ‖W + ΔW‖ of each row, which a chain of small layers does not know.
    kind = LowRankChange if options.dora and target.algorithm == "lora" else adapter_class(target.algorithm)
    dropouts = Dropouts(
        network.network_dropout, network.rank_dropout, network.module_dropout, network.rank_dropout_scale
    )
    adapter = kind(target, module, shapes, options, dropouts, mode)
    if isinstance(adapter, LoConChain):
        adapter.bypass = network.bypass_mode
    if isinstance(adapter, DyLoRA):
        # Of the same name in kohya's trainer and in LyCORIS, and not the same thing.
        adapter.nested = is_lycoris(network)
    return adapter


def _options(target: LoraTarget, network: schema.Network) -> AlgorithmOptions:
    """The settings' options; those that show in a file's tensors as they are there."""
    options = options_of(network)
    if target.algorithm == "norm":
        return AlgorithmOptions()
    if target.shapes is None:
        return options
    names = target.shapes
    # What the file has decides over what the form says, or its tensors would have no place.
    return replace(options, dora="dora_scale" in names, rescaled="rescale" in names)


def _shapes(target: LoraTarget, module: nn.Module, options: AlgorithmOptions) -> Mapping[str, Shape]:
    weight = module.weight
    # Shapes are those of files, in which SD2's projections are convolutions.
    shape = tuple(weight.shape) + ((1, 1) if target.as_convolution else ())  # pyright: ignore[reportArgumentType, reportOptionalMemberAccess, reportAttributeAccessIssue]  # a layer's weight
    has_bias = getattr(module, "bias", None) is not None
    try:
        return entry_shapes(target.algorithm, shape, target.dim, options, bias=has_bias)
    except ValueError as error:
        values = {"rank": target.dim, "outputs": shape[0]}
        raise UserError("core.boft_rank", "network_dim", **values) from error
