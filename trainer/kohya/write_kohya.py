"""Write kohya_ss v26's JSON: its keys and types, and what only we have under one more key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.kohya.ages import NEWEST
from trainer.kohya.draft import OWN
from trainer.settings import TRAINING, Settings

VERSION = 1
"""Of what stands under `OWN`."""
OTHER_SWITCHES = {
    "flux1_checkbox": "Flux.1", "sd3_checkbox": "SD3", "hunyuan_image_checkbox": "HunyuanImage-2.1",
    "anima_checkbox": "Anima", "lumina_checkbox": "Lumina",
}  # fmt: skip
OURS = tuple(key for key in TRAINING if not NEWEST.has(key))
"""Settings that today's kohya_ss has no field for."""
OWN_MEANING = ("seed", "unet_lr", "text_encoder_lr")
"""Settings that can say here what kohya_ss's field cannot."""
WRITTEN_WHOLE = {
    "lr_warmup", "network_alpha", "conv_alpha", "min_snr_gamma", "noise_offset", "adaptive_noise_scale",
    "caption_dropout_rate", "multires_noise_discount", "ip_noise_gamma", "v_pred_like_loss",
    "scale_weight_norms", "network_dropout", "rank_dropout", "loraplus_lr_ratio", "loraplus_unet_lr_ratio",
    "loraplus_text_encoder_lr_ratio",
}  # fmt: skip
"""Numbers that kohya_ss writes without a point where they are whole."""


def to_kohya(
    settings: Settings, carried: Mapping[str, Any] | None = None, card: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Everything but secrets, so that loading it leaves nothing to the screen.

    `carried` is `Imported.carried`: keys that are none of ours come back untouched, and so do values
    that we had to replace, as long as nobody changed ours since. `card`: a preset's description.
    """
    carried = dict(carried or {})
    own: dict[str, Any] = dict(carried.pop(OWN, {}))
    values = settings.flat()
    file = {key: stand_in(key, value, values) for key, value in values.items() if key not in OURS}
    replaced = {
        key: replacement
        for key, replacement in own.pop("replaced", {}).items()
        if values.get(key) == replacement["here"]
    }
    file |= {key: replacement["file"] for key, replacement in replaced.items()}
    special = [
        key for key in OWN_MEANING if not values[key]
    ]  # blank, and zeros that mean something else there
    special += [key for key, value in values.items() if isinstance(value, tuple)]
    special += ["noise_offset_type"] * (values["noise_offset_type"] == "Both")
    own |= {"version": VERSION, "values": {key: values[key] for key in (*special, *OURS)}}
    own |= {"replaced": replaced} if replaced else {}
    own |= {"card": dict(card)} if card else {}
    return {**file, **dict.fromkeys(OTHER_SWITCHES, False), **carried, OWN: own}


def stand_in(key: str, value: Any, values: Mapping[str, Any]) -> Any:
    """The nearest to our value that kohya_ss's field can say; `values`: the other settings."""
    if key == "seed":
        return value or 0
    if isinstance(value, (tuple, list)):
        return next((rate for rate in value if rate), 0)
    if key in ("unet_lr", "text_encoder_lr") and value is None:
        return values.get("learning_rate")
    if key == "noise_offset_type" and value == "Both":
        return "Multires"
    whole = isinstance(value, float) and key in WRITTEN_WHOLE and value.is_integer() and abs(value) < 1e9
    return int(value) if whole else value
