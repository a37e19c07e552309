"""Checks of the LoRA type: options that it cannot have or does not use, and the file that it starts from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import UserError
from trainer.families.facts import ModelUnreadableError
from trainer.families.family import Blocks
from trainer.kohya.start_file import StartFile, read_start_file
from trainer.lora.blocks import sizes_of
from trainer.lora.types import ALGORITHMS, PRESETS, algorithm_of, conv_size, is_lycoris
from trainer.plan.rates import trains_denoiser, trains_text_encoder
from trainer.problems import Problem, block, hint
from trainer.settings import BLOCKWISE, TRAINING, WITH_SCALAR, Network, Optimizer

LEAST_BOFT = 10
"""Stable Diffusion's layers have multiples of 320 outputs: BOFT finds no even block below 10 in 2^n·5."""
RAISED_BY_RATIO = {
    "loraplus_lr_ratio": "",
    "loraplus_unet_lr_ratio": "unet_lr",
    "loraplus_text_encoder_lr_ratio": "text_encoder_lr",
}
"""LoRA+'s ratios, and the one rate that each raises (blank: both)."""


def check(network: Network, optimizer: Optimizer, blocks: Blocks) -> Iterator[Problem]:
    """Problems of the chosen type's options and of its start weights."""
    from_file = bool(network.dim_from_weights and network.network_weights)
    if not from_file:
        yield from _check_sizes(network, blocks)
    yield from _check_options(network, optimizer)
    yield from _check_start(network, optimizer, blocks)


def _check_sizes(network: Network, blocks: Blocks) -> Iterator[Problem]:
    algorithm, conv = algorithm_of(network), conv_size(network)
    ranks = {"network_dim": network.network_dim, **({"conv_dim": conv[0]} if conv else {})}
    if algorithm == "boft" and (low := {key: LEAST_BOFT for key, rank in ranks.items() if rank < LEAST_BOFT}):
        yield block(next(iter(low)), "preflight.boft_rank", low, least=LEAST_BOFT)
    if algorithm == "diag-oft" and (none := [key for key, rank in ranks.items() if rank < 2]):
        yield hint(none[0], "preflight.oft_rank", dict.fromkeys(none, max(4, network.network_dim)))
    if algorithm == "dylora":
        yield from _check_units(network, blocks)
    if is_lycoris(network) and not network.conv_dim and PRESETS[network.LyCORIS_preset].convolutions:
        fix = {"conv_dim": network.network_dim}
        yield hint("conv_dim", "preflight.lycoris_conv_zero", fix, dim=network.network_dim)


def _check_units(network: Network, blocks: Blocks) -> Iterator[Problem]:
    """DyLoRA's ranks come in whole groups of `unit`, in every block."""
    unit = network.unit
    if network.LoRA_type == "LyCORIS/DyLoRA":
        conv = conv_size(network)
        odd = [rank for rank in (network.network_dim, conv[0] if conv else 0) if rank % unit]
    else:
        try:
            sizes = [
                *(sizes_of(network, blocks, conv=False) or ()),
                *(sizes_of(network, blocks, conv=True) or ()),
            ]
        except UserError:
            return  # told elsewhere
        odd = [dim for dim, _ in sizes if dim % unit and dim != network.network_dim]
    if odd:
        yield block("unit", "preflight.dylora_unit", {"unit": 1}, dim=odd[0], unit=unit)


def _check_options(network: Network, optimizer: Optimizer) -> Iterator[Problem]:
    algorithm, kind = algorithm_of(network), network.LoRA_type
    if kind in WITH_SCALAR and network.dora_wd and network.bypass_mode:
        yield block("bypass_mode", "preflight.bypass_dora", {"bypass_mode": False})
    idle = {
        "use_tucker": is_lycoris(network) and network.use_tucker and not ALGORITHMS[algorithm].has_core,
        "rank_dropout": algorithm == "dylora" and network.rank_dropout,
    }
    idle |= {key: getattr(optimizer, key) for key in RAISED_BY_RATIO if not ALGORITHMS[algorithm].has_up}
    for key, is_set in idle.items():
        if is_set:
            values = {"label": TRAINING[key].spec.label, "type": kind}
            yield hint(key, "preflight.type_ignores", {key: TRAINING[key].default}, **values)


def _check_start(network: Network, optimizer: Optimizer, blocks: Blocks) -> Iterator[Problem]:
    """The file must be of the chosen type; sizes that differ from the settings stop the run as well."""
    path = Path(network.network_weights)
    if not network.network_weights:
        return
    try:
        start_file = read_start_file(path)
    except (ModelUnreadableError, OSError):
        return  # told elsewhere
    if start_file:
        yield from _check_type(start_file, network, optimizer, blocks, path.name)


def _check_type(
    start_file: StartFile, network: Network, optimizer: Optimizer, blocks: Blocks, name: str
) -> Iterator[Problem]:
    algorithm, kind = algorithm_of(network), network.LoRA_type
    key, names = "network_weights", {"name": name, "found": start_file.type, "chosen": network.LoRA_type}
    bases = {algo.replace("dylora", "lora") for algo in (algorithm, start_file.algorithm)}
    fix = {"LoRA_type": start_file.type}
    if start_file.algorithm == "norm" and is_lycoris(network):
        return
    if len(bases) > 1 or (start_file.lycoris and not is_lycoris(network) and algorithm == "lora"):
        yield block(key, "preflight.weights_type", fix, **names)
    elif network.dim_from_weights:
        return
    elif start_file.dora != network.dora_wd and kind in WITH_SCALAR:
        yield block("dora_wd", "preflight.weights_dora", {"dora_wd": start_file.dora}, name=name)
    elif wrong := _other_rank(start_file, network, optimizer):
        values = {"name": name, "dim": wrong, "wanted": network.network_dim}
        yield block(key, "core.weights_other_dim", {"dim_from_weights": True}, **values)
    elif start_file.wide and not is_lycoris(network) and not _changes_convolutions(network, blocks):
        yield hint(key, "preflight.weights_wide", {**fix, "dim_from_weights": True}, **names)


def _other_rank(start_file: StartFile, network: Network, optimizer: Optimizer) -> int:
    """The rank of most attention layers that learn and have another one than is chosen; 0 for none."""
    blocks = network.LoRA_type in BLOCKWISE and network.block_dims.strip()
    ranks = start_file.ranks if trains_denoiser(optimizer) else Counter[int]()
    if trains_text_encoder(optimizer):
        ranks = ranks + start_file.text_ranks
    if blocks or 0 in ranks or start_file.algorithm in ("diag-oft", "boft", "lokr"):
        return 0
    return next((rank for rank, _ in ranks.most_common() if rank != network.network_dim), 0)


def _changes_convolutions(network: Network, blocks: Blocks) -> bool:
    """Whether the settings change 3x3 convolutions."""
    try:
        return sizes_of(network, blocks, conv=True) is not None
    except UserError:
        return True
