"""The entries of "LoRA type": which algorithm each is, and which modules of a model it changes.

Torch-free: the checks and the plan need it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from trainer import settings as schema
from trainer.families.layers import LayerKind
from trainer.lora import shapes
from trainer.lora.shapes import AlgorithmOptions, Entries, Shape
from trainer.settings import LYCORIS

Algorithm = Literal["lora", "dylora", "loha", "lokr", "glora", "ia3", "diag-oft", "boft", "full", "norm"]


@dataclass(frozen=True)
class AlgorithmFacts:
    """One way to change a weight: which LoRA types use it, what stands in files, what computes it."""

    types: tuple[str, ...]
    """Entries of "LoRA type"; the last one is what a file without a word about itself is taken for."""
    name: str
    """As people know it."""
    adapter: str
    """Module and class in network/adapters that compute it."""
    shapes: Callable[[Shape, int, AlgorithmOptions], Entries]
    """Its tensors for a module of this shape and rank."""
    marks: tuple[str, ...] = ()
    """Entries of a module in a file, any of which tells it."""
    mark_sizes: int = 0
    """How many sizes the mark has, where others have a mark of the same name."""
    rank: tuple[str, ...] = ()
    """Entries whose first size is the rank; the first that is there."""
    has_rank: bool = True
    has_alpha: bool = True
    """Whether alpha changes how strong it is."""
    has_up: bool = False
    """Whether it has a lora_up, which LoRA+ speeds up."""
    has_core: bool = False
    """Whether it can have a core tensor for convolutions."""


ALGORITHMS: Mapping[Algorithm, AlgorithmFacts] = {
    "loha": AlgorithmFacts(
        ("Kohya LoHa", "LyCORIS/LoHa"), "LoHa", "products.LoHa", shapes.loha,
        marks=("hada_w1_a",), rank=("hada_w1_b",), has_core=True,
    ),
    "lokr": AlgorithmFacts(
        ("Kohya LoKr", "LyCORIS/LoKr"), "LoKr", "products.LoKr", shapes.lokr,
        marks=("lokr_w1", "lokr_w1_a"), rank=("lokr_w2_b", "lokr_w1_b"), has_core=True,
    ),
    "glora": AlgorithmFacts(
        ("LyCORIS/GLoRA",), "GLoRA", "products.GLoRA", shapes.glora,
        marks=("a1.weight",), rank=("b2.weight",),
    ),
    "ia3": AlgorithmFacts(
        ("LyCORIS/iA3",), "iA3", "direct.IA3", shapes.ia3,
        marks=("on_input",), has_rank=False, has_alpha=False,
    ),
    "diag-oft": AlgorithmFacts(
        ("LyCORIS/Diag-OFT",), "Diag-OFT", "rotations.DiagOFT", shapes.diag_oft,
        marks=("oft_blocks",), mark_sizes=3, has_alpha=False,
    ),
    "boft": AlgorithmFacts(
        ("LyCORIS/BOFT",), "BOFT", "rotations.BOFT", shapes.boft,
        marks=("oft_blocks",), mark_sizes=4, has_alpha=False,
    ),
    "full": AlgorithmFacts(
        ("LyCORIS/Native Fine-Tuning",), "Full", "direct.Full", shapes.full,
        marks=("diff",), has_rank=False, has_alpha=False,
    ),
    "lora": AlgorithmFacts(
        ("Standard", "Kohya LoCon", "LoRA-FA", "LyCORIS/LoCon"), "LoRA", "low_rank.LoConChain", shapes.lora,
        marks=("lora_down.weight", "lora_A.weight"), rank=("lora_down.weight", "lora_A.weight"),
        has_up=True, has_core=True,
    ),
    "dylora": AlgorithmFacts(  # its files are those of LoRA
        ("Kohya DyLoRA", "LyCORIS/DyLoRA"), "DyLoRA", "low_rank.DyLoRA", shapes.dylora, has_up=True,
    ),
    "norm": AlgorithmFacts(
        (), "Norm", "direct.Norm", shapes.norm, marks=("w_norm",), has_rank=False, has_alpha=False,
    ),
}  # fmt: skip
"""Every algorithm, in the order in which a file's modules are told. To add one: a row and its adapter."""
TYPES: Mapping[str, Algorithm] = {
    kind: algorithm for algorithm, facts in ALGORITHMS.items() for kind in facts.types
}
"""LoRA type -> its algorithm."""
NEEDS_WEIGHT: tuple[Algorithm, ...] = ("glora", "ia3", "diag-oft", "boft")
"""Their change depends on the weight that they change."""


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


def entry_shapes(
    algorithm: Algorithm, shape: Shape, dim: int, options: AlgorithmOptions, *, bias: bool
) -> Entries:
    """Name -> shape of a module's learned tensors. Raises ValueError where BOFT cannot split `shape`."""
    entries = ALGORITHMS[algorithm].shapes(shape, dim, options)
    if algorithm == "full" and bias:
        entries["diff_b"] = shape[:1]
    if options.dora:
        entries["dora_scale"] = (shape[0], *[1] * (len(shape) - 1))
    return entries


def algorithm_in(entries: Mapping[str, Shape]) -> Algorithm | None:
    """The algorithm of a module by its entries in a file; None for what is no LoRA."""
    for algorithm, facts in ALGORITHMS.items():
        sizes = [len(entries[mark]) for mark in facts.marks if mark in entries]
        if sizes and facts.mark_sizes in (0, sizes[0]):
            return algorithm
    return None


def needs_weight(entries: Mapping[str, Shape]) -> bool:
    """Whether a module changes a weight by that weight: DoRA, and those in NEEDS_WEIGHT."""
    return "dora_scale" in entries or algorithm_in(entries) in NEEDS_WEIGHT


def rank_of(entries: Mapping[str, Shape]) -> int:
    """Rank of a module by its entries in a file; 0 where they do not show one."""
    if "oft_blocks" in entries:
        return entries["oft_blocks"][-1]
    ranks = (name for facts in ALGORITHMS.values() for name in facts.rank)
    return next((entries[name][0] for name in ranks if name in entries), 0)


def algorithm_of(network: schema.Network) -> Algorithm:
    """The algorithm of a LoRA type."""
    return TYPES[network.LoRA_type]


def is_lycoris(network: schema.Network) -> bool:
    """Whether the modules are chosen by a LyCORIS preset."""
    return network.LoRA_type in LYCORIS


def options_of(network: schema.Network) -> AlgorithmOptions:
    """The options that count for the chosen type."""
    algorithm, lycoris = algorithm_of(network), is_lycoris(network)
    decomposes = network.LoRA_type in schema.WITH_SCALAR
    return AlgorithmOptions(
        factor=network.factor,
        decompose_both=lycoris and network.decompose_both,
        tucker=ALGORITHMS[algorithm].has_core
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

    LyCORIS takes 0 for "the same as the rest", sd-scripts' own types an alpha of 0 for their rank; DyLoRA
    has one rank for all.
    """
    kind, same = network.LoRA_type, (network.network_dim, float(network.network_alpha))
    if kind in LYCORIS:
        if not PRESETS[network.LyCORIS_preset].convolutions:
            return None
        return network.conv_dim or same[0], network.conv_alpha or same[1]
    if kind == "Kohya DyLoRA":
        return same if network.conv_dim else None
    if kind in ("Kohya LoCon", "Kohya LoHa", "Kohya LoKr") and network.conv_dim:
        return network.conv_dim, network.conv_alpha or float(network.conv_dim)
    return None
