"""The entries of "LoRA type": which algorithm each is, and which modules of a model it changes.

Torch-free: the checks and the plan need it as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from trainer import settings as schema
from trainer.families.layers import LayerKind
from trainer.settings import LYCORIS

Algorithm = Literal["lora", "dylora", "loha", "lokr", "glora", "ia3", "diag-oft", "boft", "full", "norm"]

ALGORITHMS: dict[str, Algorithm] = {
    "Standard": "lora", "Kohya LoCon": "lora", "LoRA-FA": "lora", "Kohya DyLoRA": "dylora",
    "Kohya LoHa": "loha", "Kohya LoKr": "lokr", "LyCORIS/LoCon": "lora", "LyCORIS/LoHa": "loha",
    "LyCORIS/LoKr": "lokr", "LyCORIS/DyLoRA": "dylora", "LyCORIS/GLoRA": "glora", "LyCORIS/iA3": "ia3",
    "LyCORIS/BOFT": "boft", "LyCORIS/Diag-OFT": "diag-oft", "LyCORIS/Native Fine-Tuning": "full",
}  # fmt: skip
RANKLESS: tuple[Algorithm, ...] = ("ia3", "full", "norm")
"""These have no rank and no alpha."""
WITHOUT_ALPHA: tuple[Algorithm, ...] = (*RANKLESS, "diag-oft", "boft")
"""Alpha does not change how strong these are."""
WITH_UP: tuple[Algorithm, ...] = ("lora", "dylora")
"""These have a lora_up, which LoRA+ speeds up."""


class Preset(NamedTuple):
    """What a LyCORIS preset changes."""

    kinds: frozenset[LayerKind]
    convolutions: bool
    """Whether convolutions beyond 1x1 are among them."""


_TRANSFORMER: frozenset[LayerKind] = frozenset({"attention", "transformer"})
_TEXT: frozenset[LayerKind] = frozenset({"text_attention", "text_mlp"})
_LINEAR: frozenset[LayerKind] = _TRANSFORMER | _TEXT | frozenset[LayerKind]({"resnet", "time"})
PRESETS: dict[str, Preset] = {
    "full": Preset(_LINEAR | frozenset[LayerKind]({"stem"}), convolutions=True),
    "full-lin": Preset(_LINEAR, convolutions=False),
    "attn-mlp": Preset(_TRANSFORMER | _TEXT, convolutions=False),
    "attn-only": Preset(frozenset({"attention", "text_attention"}), convolutions=False),
    "unet-transformer-only": Preset(_TRANSFORMER, convolutions=False),
    "unet-convblock-only": Preset(frozenset({"resnet", "stem"}), convolutions=True),
}
"""LyCORIS' own presets, for Stable Diffusion."""


TUCKER: tuple[Algorithm, ...] = ("lora", "loha", "lokr")
"""These can have a core tensor for convolutions."""


@dataclass(frozen=True)
class Options:
    """How an algorithm splits its weights."""

    factor: int = -1
    """ "LoKr factor"."""
    decompose_both: bool = False
    tucker: bool = False
    """A core tensor for convolutions ("Use Tucker decomposition")."""
    dora: bool = False
    """Lengths of the rows learn apart from their directions (arXiv 2402.09353)."""
    scalar: bool = False
    """A strength that starts at 0 and learns ("Use Scalar")."""
    rescaled: bool = False
    on_input: bool = True
    constraint: float = 0.0
    """ "Constrain OFT"; 0: none."""
    unit: int = 1
    """Ranks that DyLoRA trains at a time."""


def algorithm_of(network: schema.Network) -> Algorithm:
    """The algorithm of a LoRA type."""
    return ALGORITHMS[network.LoRA_type]


def is_lycoris(network: schema.Network) -> bool:
    """Whether the modules are chosen by a LyCORIS preset."""
    return network.LoRA_type in LYCORIS


def options_of(network: schema.Network) -> Options:
    """The options that count for the chosen type."""
    algorithm, lycoris = algorithm_of(network), is_lycoris(network)
    decomposes = network.LoRA_type in schema.WITH_SCALAR
    return Options(
        factor=network.factor,
        decompose_both=lycoris and network.decompose_both,
        tucker=algorithm in TUCKER
        and lycoris
        and (network.use_tucker or (algorithm == "lokr" and network.use_cp)),
        dora=decomposes and network.dora_wd,
        scalar=decomposes and network.use_scalar,
        rescaled=algorithm == "diag-oft" and network.rescaled,
        on_input=network.train_on_input,
        constraint=network.constrain if algorithm == "diag-oft" else 0.0,
        unit=network.unit,
    )


def conv_size(network: schema.Network) -> tuple[int, float] | None:
    """(dim, alpha) of convolutions beyond 1x1 for types without blocks; None: they are left alone.

    LyCORIS takes 0 for "the same as the rest"; DyLoRA has one rank for all.
    """
    kind, same = network.LoRA_type, (network.network_dim, float(network.network_alpha))
    if kind in LYCORIS:
        if not PRESETS[network.LyCORIS_preset].convolutions:
            return None
        return network.conv_dim or same[0], network.conv_alpha or same[1]
    if kind == "Kohya DyLoRA":
        return same if network.conv_dim else None
    if kind in ("Kohya LoCon", "Kohya LoHa", "Kohya LoKr") and network.conv_dim:
        return network.conv_dim, network.conv_alpha or 1.0
    return None
