"""What is rehearsed: settings that bring other tensors together than the rest."""

from __future__ import annotations

from typing import Any, get_args

from trainer.settings import SamplerName

LYCORIS = ("LoCon", "LoHa", "LoKr", "GLoRA", "iA3", "Diag-OFT", "BOFT", "Native Fine-Tuning")
OPTIMIZERS = (
    "AdamW", "Adafactor", "Prodigy", "DAdaptAdam", "DAdaptation", "DAdaptAdaGrad", "DAdaptAdan",
    "DAdaptAdanIP", "DAdaptLion", "DAdaptSGD", "Lion", "AdamWScheduleFree", "RAdamScheduleFree",
    "SGDNesterov", "SGDScheduleFree",
)  # fmt: skip
"""Those in 8 bits are of a real card alone."""
SAMPLED = {"sample_every_n_steps": 2, "sample_prompts": "a cat --w 64 --h 64 --s 2"}

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bf16": {"mixed_precision": "bf16"},
    "fp16": {"mixed_precision": "fp16"},
    "uncached": {"cache_latents": False, "flip_aug": True},
    "checkpointed": {"gradient_checkpointing": True, "text_encoder_lr": 1e-3},
    "attention kept": {"gradient_checkpointing": True, "checkpointing_keeps_attention": True},
    "noise": {"multires_noise_iterations": 3, "multires_noise_discount": 0.3, "ip_noise_gamma": 0.1},
    "offset": {"noise_offset": 0.1, "adaptive_noise_scale": 0.01},
    "loss": {"loss_type": "smooth_l1", "min_snr_gamma": 5.0},
    "dropouts": {"network_dropout": 0.3, "rank_dropout": 0.3, "module_dropout": 0.3},
    "captions": {"weighted_captions": True, "max_token_length": 150, "clip_skip": 2},
    "scaled": {"scale_weight_norms": 0.01, "gradient_accumulation_steps": 2},
    "judged": {"validation_split": 0.25, "validate_every_n_steps": 1},
    "continued": {},
    "fp16 continued": {"mixed_precision": "fp16", "optimizer": "Prodigy"},
    "tried": {},
    "SDXL": {"sdxl": True, **SAMPLED},
    "SDXL fp8": {"sdxl": True, "fp8_base": True, "mixed_precision": "bf16"},
    **{f"LyCORIS {kind}": {"LoRA_type": f"LyCORIS/{kind}", "conv_dim": 2} for kind in LYCORIS},
    "DoRA": {"LoRA_type": "LyCORIS/LoCon", "dora_wd": True, "conv_dim": 2},
    "DyLoRA": {"LoRA_type": "Kohya DyLoRA", "unit": 2},
    "LoRA-FA": {"LoRA_type": "LoRA-FA"},
    "norms": {"LoRA_type": "LyCORIS/LoCon", "train_norm": True, "use_scalar": True},
    **{f"optimizer {name}": {"optimizer": name} for name in OPTIMIZERS},
    **{f"sampler {name}": {**SAMPLED, "sample_sampler": name} for name in get_args(SamplerName)},
}
"""Changes of a short run's settings, by name. "continued": stopped halfway, its state taken up again."""
