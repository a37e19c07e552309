"""kohya_ss's "LoRA type" and its fields <-> sd-scripts' network_module and network_args."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.problems import repeated
from trainer.settings import BLOCKWISE, Network, Optimizer

BLOCKS = (
    "down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold",
    "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas",
)  # fmt: skip
DROPOUTS = ("rank_dropout", "module_dropout")
LORA_PLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
MODULES = {
    "Standard": "networks.lora",
    "Kohya LoCon": "networks.lora",
    "Kohya DyLoRA": "networks.dylora",
    "Kohya LoHa": "networks.loha",
    "Kohya LoKr": "networks.lokr",
    "LoRA-FA": "networks.lora_fa",
}
OTHER_FAMILIES = {
    "lora_flux": "FLUX.1", "lora_sd3": "Stable Diffusion 3", "lora_lumina": "Lumina", "lora_anima": "Anima",
    "lora_hunyuan_image": "HunyuanImage-2.1", "lora_wan": "Wan", "lora_framepack": "FramePack",
    "lora_qwen_image": "Qwen-Image", "lora_hv_1_5": "HunyuanVideo 1.5", "lora_kandinsky": "Kandinsky 5",
    "lora_flux_2": "FLUX.2", "lora_zimage": "Z-Image",
}  # fmt: skip
"""Networks of sd-scripts and musubi-tuner for models that are not trained here."""
SIZE_SETTINGS = ("LyCORIS_preset", "conv_dim", "conv_alpha")
DECOMPOSED = (*SIZE_SETTINGS, "use_tucker", "rank_dropout", "bypass_mode", "dora_wd", "module_dropout")
LYCORIS_ARGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "LyCORIS/LoCon": ("locon", (*DECOMPOSED, "use_scalar", "rank_dropout_scale", "train_norm")),
    "LyCORIS/LoHa": ("loha", (*DECOMPOSED, "use_scalar", "rank_dropout_scale", "train_norm")),
    "LyCORIS/LoKr": (
        "lokr",
        (*DECOMPOSED, "factor", "use_scalar", "decompose_both", "rank_dropout_scale", "train_norm"),
    ),
    "LyCORIS/DyLoRA": ("dylora", (*SIZE_SETTINGS, "use_tucker", "unit", *DROPOUTS, "train_norm")),
    "LyCORIS/GLoRA": ("glora", (*SIZE_SETTINGS, "use_tucker", *DROPOUTS, "rank_dropout_scale", "train_norm")),
    "LyCORIS/iA3": ("ia3", (*SIZE_SETTINGS, "train_on_input")),
    "LyCORIS/BOFT": ("boft", (*SIZE_SETTINGS, *DROPOUTS, "use_tucker", "rank_dropout_scale", "train_norm")),
    "LyCORIS/Diag-OFT": (
        "diag-oft",
        (
            *SIZE_SETTINGS,
            *DROPOUTS,
            "use_tucker",
            "rank_dropout_scale",
            "constrain",
            "rescaled",
            "train_norm",
        ),
    ),
    "LyCORIS/Native Fine-Tuning": (
        "full",
        ("LyCORIS_preset", *DROPOUTS, "rank_dropout_scale", "train_norm"),
    ),
}
"""LoRA type -> algorithm, and which settings it is told."""
LYCORIS_TYPES = {algo: name for name, (algo, _) in LYCORIS_ARGS.items()} | {"lora": "LyCORIS/LoCon"}
ARGUMENT_NAMES = {"LyCORIS_preset": "preset", "constrain": "constraint"}
"""Our setting -> its name in network_args, where they differ."""


def network_module(network: Network) -> str:
    """sd-scripts' module for a LoRA type."""
    return MODULES.get(network.LoRA_type, "lycoris.kohya")


def network_args(network: Network, optimizer: Optimizer) -> list[str]:
    """sd-scripts' network_args, as "key=value" texts."""
    kind = network.LoRA_type
    args = _lycoris_args(network) if kind in LYCORIS_ARGS else _native_args(network)
    args |= {name: getattr(optimizer, name) for name in LORA_PLUS if getattr(optimizer, name)}
    return [f"{name}={_plain(value)}" for name, value in args.items()]


def _native_args(network: Network) -> dict[str, Any]:
    kind = network.LoRA_type
    args: dict[str, Any] = {}
    if kind == "Kohya LoCon" or (kind in ("Kohya DyLoRA", "Kohya LoHa", "Kohya LoKr") and network.conv_dim):
        args |= {"conv_dim": network.conv_dim, "conv_alpha": network.conv_alpha}
    if kind == "Kohya DyLoRA":
        args["unit"] = network.unit
    if kind in ("Kohya LoHa", "Kohya LoKr") and network.use_tucker:
        args["use_tucker"] = True
    if kind == "Kohya LoKr" and network.factor != -1:
        args["factor"] = network.factor
    if kind in BLOCKWISE:
        args |= {name: getattr(network, name) for name in BLOCKS if getattr(network, name)}
    return args | {name: getattr(network, name) for name in DROPOUTS if getattr(network, name)}


def _lycoris_args(network: Network) -> dict[str, Any]:
    algo, settings = LYCORIS_ARGS[network.LoRA_type]
    args: dict[str, Any] = {}
    for setting in settings:
        name = "block_size" if setting == "unit" else ARGUMENT_NAMES.get(setting, setting)
        args[name] = getattr(network, setting)
    if algo == "lokr":
        # "use_cp" is the old name of "use_tucker": sent as "False" beside it, it would win.
        args["use_tucker"] = network.use_tucker or network.use_cp
        if not network.decompose_both:
            del args["decompose_both"]  # LyCORIS takes any text, even "False", for a yes
    return {**args, "algo": algo}


def _plain(value: Any) -> str:
    return (
        f"{value:g}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e6 else str(value)
    )


def lora_type(module: str, args: Mapping[str, str]) -> str:
    """Our LoRA type for sd-scripts' module and arguments; "" where we have none."""
    if module in ("", "networks.lora"):
        return "Kohya LoCon" if args.get("conv_dim", "0") not in ("", "0") else "Standard"
    if module in ("lycoris.kohya", "locon.locon_kohya"):
        return LYCORIS_TYPES.get(args.get("algo", "lora").lower(), "")
    return next((name for name, of in MODULES.items() if of == module), "")


def other_family(module: str) -> str:
    """The family of models that a network is for, where it is none of ours; else ""."""
    return OTHER_FAMILIES.get(module.rpartition(".")[2], "")


def parts_of(raw: Any) -> list[str]:
    """A list of arguments, however it was given: None, one text, one number, a list."""
    if raw is None or isinstance(raw, str):
        return (raw or "").split()
    return [str(part) for part in raw] if isinstance(raw, (list, tuple)) else [str(raw)]


def parse_args(raw: Any) -> tuple[dict[str, str], list[str]]:
    """["key=value", …] (or such a text) as a dict, and the parts that are none."""
    parts = parts_of(raw)
    pairs = {name: value for name, equals, value in (part.strip().partition("=") for part in parts) if equals}
    return pairs, [part for part in parts if "=" not in part]


def twice(raw: Any) -> str:
    """A name that stands more than once among such arguments; "" for none."""
    return next(iter(repeated(part.strip().partition("=")[0] for part in parts_of(raw) if "=" in part)), "")


def settings_of_arguments(
    kind: str, args: Mapping[str, str], network_dim: Any, network_alpha: Any
) -> dict[str, Any]:
    """Values of our settings for network_args; arguments that we do not know are not among them."""
    back = {name: setting for setting, name in ARGUMENT_NAMES.items()} | {
        "block_size": "unit",
        "dropout": "network_dropout",
    }
    known = {
        *BLOCKS,
        *DROPOUTS,
        *LORA_PLUS,
        "conv_dim",
        "conv_alpha",
        "unit",
        "use_tucker",
        "use_cp",
        "factor",
    }
    known |= {setting for _, settings in LYCORIS_ARGS.values() for setting in settings}
    values: dict[str, Any] = {
        back.get(name, name): value
        for name, value in args.items()
        if back.get(name, name) in known | {"network_dropout"}
    }
    if kind in LYCORIS_ARGS:  # LyCORIS' own rule for absent ones
        values.setdefault("conv_dim", network_dim)
        values.setdefault("conv_alpha", network_alpha)
        if kind == "LyCORIS/iA3":
            values.setdefault("train_on_input", False)
    elif kind in ("Kohya DyLoRA", "Kohya LoHa", "Kohya LoKr"):
        values.setdefault("conv_dim", 0)
    return values
