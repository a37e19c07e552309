"""Files that are no base model of ours, named for what they are: by the names of their tensors.

The names were taken from the published files and from diffusers' own list of what tells checkpoints apart
(loaders/single_file_utils.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

ModelKind = Literal[
    "base", "lora", "vae", "text_encoder", "part", "embedding", "controlnet", "addition", "upscaler",
    "refiner", "inpainting", "depth", "mixed", "other_model", "unknown",
]  # fmt: skip
"""What a file is. "part": a UNet without text encoders; "addition": loaded beside a model, as IP-Adapter;
"mixed": text encoders that do not fit the UNet; "other_model": a whole model of another family."""

WRAPPED = re.compile(r"^(model\.diffusion_model|diffusion_model|transformer|net|model)\.")
"""Beginnings under which one and the same model is stored."""
MODELS_BY_NAME: Mapping[str, str] = {
    "Chroma": r"distilled_guidance_layer\.",
    "FLUX.2": r"double_stream_modulation_img\.",
    "HunyuanVideo": r"(txt_in\.individual_token_refiner|context_embedder\.token_refiner)\.",
    "FLUX.1": r"(double_blocks\.\d+\.img_attn|single_transformer_blocks\.\d+\.proj_mlp)\.",
    "Stable Diffusion 3": r"(joint_blocks\.\d+\.|transformer_blocks\.\d+\.attn\.(to_add_out|add_k_proj)\.)",
    "Anima": r"llm_adapter\.",
    "Cosmos": r"blocks\.\d+\.(adaln_modulation_self_attn|block\.blocks)\.",
    "Qwen-Image": r"transformer_blocks\.\d+\.img_mlp\.",
    "Z-Image / Lumina": r"(cap_embedder\.|noise_refiner\.)",
    "PixArt": r"(adaln_single\.|t_block\.1\.)",
    "AuraFlow": r"(double_layers\.\d+\.|joint_transformer_blocks\.\d+\.)",
    "Wan": r"blocks\.\d+\.(cross_attn\.norm_k|attn2\.norm_k|ffn\.net\.0\.proj)\.?",
    "Stable Cascade": r"(clip_txt_mapper|clip_txt_pooled_mapper|effnet_mapper)\.",
    "Kolors": r"(encoder_hid_proj|encoder_hid_proj\.0)\.weight",
    "HunyuanDiT": r"(pooler\.positional_embedding|style_embedder\.)",
    "DeepFloyd IF": r"(encoder_proj|add_embedding\.pool)\.",
    "Playground v2.5": r"edm_(mean|std)$",
}
"""Families of others -> names that only they have; the first that fits."""
FOLDER_MODELS: Mapping[str, str] = {
    "Flux2": "FLUX.2", "Flux": "FLUX.1", "StableDiffusion3": "Stable Diffusion 3", "Anima": "Anima",
    "Chroma": "Chroma", "QwenImage": "Qwen-Image", "ZImage": "Z-Image / Lumina", "Lumina": "Z-Image / Lumina",
    "PixArt": "PixArt", "AuraFlow": "AuraFlow", "Wan": "Wan", "StableCascade": "Stable Cascade",
    "Kolors": "Kolors", "HunyuanVideo": "HunyuanVideo", "Hunyuan": "HunyuanDiT", "Cosmos": "Cosmos",
    "IF": "DeepFloyd IF", "Sana": "Sana", "Kandinsky": "Kandinsky", "Wuerstchen": "Würstchen",
}  # fmt: skip
"""Beginning of a diffusers pipeline's class -> its family."""
OTHER_FILES: Mapping[ModelKind, str] = {
    "controlnet": r"^(control_model\.|controlnet_|input_hint_block\.|adapter\.body\.|lllite_)",
    "addition": r"^(ip_adapter\.|image_proj\.|.*motion_modules\.|linear1\.linear\.)",
    "upscaler": r"^(conv_first\.weight|model\.0\.weight|model\.1\.sub\.|RRDB_trunk\.|params_ema)",
    "embedding": r"^(emb_params|string_to_param|clip_[gl]|t5xxl)$",
    "text_encoder": (
        r"^(text_model\.|text_encoders?\.|encoder\.block\.\d+\.layer\.|transformer\.resblocks\.|"
        r"layers\.\d+\.self_attn\.|model\.layers\.\d+\.self_attn\.|conditioner\.|cond_stage_model\.)"
    ),
    "vae": r"^(first_stage_model\.|vae\.|encoder\.conv_in|decoder\.conv_in|encoder\.conv1|decoder\.conv1)",
    "part": r"^(model\.diffusion_model\.)?(input_blocks\.\d+\.|down_blocks\.\d+\.resnets\.)",
}
"""Kinds of files that are no whole model -> how a name in them begins; the first that fits."""
LORA_PATTERN = re.compile(
    r"^(lora_(unet|te[123]?|transformer|prior_unet)|lycoris|oft_unet|oft_te)_"
    r"|lora(_linear_layer)?[._](A|B|down|up|mid)\b|\.(hada_w1|lokr_w[12]|oft_blocks|dora_scale)"
)
"""Names in LoRA files of every trainer."""


def is_lora(names: Iterable[str]) -> bool:
    """Whether these are tensors of a LoRA file, of whatever type and family."""
    return any(LORA_PATTERN.search(name) for name in names)


def other_model(names: Iterable[str]) -> str:
    """The family of a model that cannot be trained here; "" where its names tell none."""
    known = tuple(WRAPPED.sub("", name) for name in names)
    return next(
        (title for title, form in MODELS_BY_NAME.items() if any(map(re.compile(form).match, known))),
        "",
    )


def other_file(names: Iterable[str]) -> ModelKind:
    """What a file is that holds no whole base model; "unknown" for one without names."""
    known = tuple(names)
    for kind, form in OTHER_FILES.items():
        if any(map(re.compile(form).match, known)):
            return kind
    return "other_model" if known else "unknown"


def other_pipeline(name: str) -> str:
    """The family of a diffusers pipeline by its class; "" for Stable Diffusion and what is not known."""
    return next((title for start, title in FOLDER_MODELS.items() if name.startswith(start)), "")
