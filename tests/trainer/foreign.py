"""Other programs' readers of LoRA files, to compare with what our trainer holds in memory."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from trainer.models.sd import StableDiffusion


def apply_with_lycoris(model: StableDiffusion, tensors: Mapping[str, Tensor]) -> int:
    """Let LyCORIS itself put a file's weights into UNet and text encoder; returns how many modules it has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lycoris import LycorisNetwork, create_lycoris_from_weights
    count = 0
    homes: list[tuple[str, Any]] = [("lora_unet", model.denoiser)]
    homes += [("lora_te_text_model", encoder) for encoder in model.text_encoders]
    for prefix, home in homes:
        mine = {key: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        if not mine:
            continue
        LycorisNetwork.LORA_PREFIX = prefix
        network, _ = create_lycoris_from_weights(1.0, "", home, weights_sd=mine)
        network.eval()
        network.apply_to()
        count += len(network.loras)
    return count
