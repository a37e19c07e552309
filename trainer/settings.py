"""Every setting of a training run, declared once.

The page's form, the JSON presets, the command line, the checks and docs/settings.md all follow from
these classes. To add a setting: declare it here, use it in the trainer module that owns the
behaviour, test that behaviour; its help goes into texts/en.json and texts/ja.json.

Keys are kohya_ss's own, so that presets, notes and guides carry over. `Section`s group settings by
the part of the trainer that uses them; `Spec.tab` and `Spec.group` say where the page shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from trainer.schema import SET, Form, Schema, Section, Spec

Tab = Literal["source_model", "folders", "training", "advanced"]
FamilyKey = Literal["sd1", "sd2", "sdxl"]
"""A family of base models, named by the switches v2 and SDXL Model; see trainer/families."""
EightBitFormat = Literal["int8", "float8"]
Switch = bool
MOST_STEPS = 10_000_000
"""Of a run, and of everything that is counted in steps or epochs; real runs have some thousands."""
MOST_FACTOR = 1_000_000
"""Of factors that have no natural end."""
LONGEST_SIDE = 16_384
"""Pixels of a picture that is learned."""
Count = Annotated[int, Field(ge=0, le=MOST_STEPS)]
Factor = Annotated[float, Field(ge=0, le=MOST_FACTOR)]
Share = Annotated[float, Field(ge=0, le=1)]

# One row per setting reads better here than one argument per line.
# fmt: off
LoraType = Literal[
    "Standard", "Kohya LoCon", "Kohya DyLoRA", "Kohya LoHa", "Kohya LoKr", "LoRA-FA", "LyCORIS/LoCon",
    "LyCORIS/LoHa", "LyCORIS/LoKr", "LyCORIS/DyLoRA", "LyCORIS/GLoRA", "LyCORIS/iA3", "LyCORIS/BOFT",
    "LyCORIS/Diag-OFT", "LyCORIS/Native Fine-Tuning",
]
LORA_TYPES: tuple[str, ...] = get_args(LoraType)
LYCORIS = tuple(name for name in LORA_TYPES if name.startswith("LyCORIS/"))
BLOCKWISE = ("Standard", "Kohya LoCon", "Kohya DyLoRA", "LoRA-FA")
WITH_CONV = ("Kohya LoCon", "Kohya DyLoRA", "Kohya LoHa", "Kohya LoKr", *LYCORIS)
WITH_SCALAR = ("LyCORIS/LoCon", "LyCORIS/LoHa", "LyCORIS/LoKr")

QUICK_PICK = (
    "custom",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "CompVis/stable-diffusion-v1-4",
    "stabilityai/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base",
    "stabilityai/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "OnomaAIResearch/Illustrious-xl-early-release-v0",
    "Laxhar/noobai-XL-1.0",
    "Laxhar/noobai-XL-Vpred-1.0",
)


class Model(Section):
    """The base model."""

    pretrained_model_name_or_path: Annotated[
        str, Spec("Pretrained model name or path", "source_model", "model", "model", required=True),
    ] = ""
    model_list: Annotated[
        str, Spec("Model Quick Pick", "source_model", "model", suggestions=QUICK_PICK, flag="-"),
    ] = "custom"
    v2: Annotated[Switch, Spec("v2", "source_model", "kind", matters={"family": ("sd1", "sd2")})] = False
    v_parameterization: Annotated[Switch, Spec("v_parameterization", "source_model", "kind")] = False
    sdxl: Annotated[Switch, Spec("SDXL Model", "source_model", "kind", flag="-")] = False
    vae: Annotated[str, Spec("VAE", "advanced", "memory", "model")] = ""
    sdxl_no_half_vae: Annotated[Switch, Spec("No half VAE", "advanced", "memory", flag="no_half_vae")] = False


class Folders(Section):
    """Where pictures come from and results go."""

    train_data_dir: Annotated[
        str, Spec("Image folder", "folders", "pictures", "folder", {"dataset_config": ("",)}, required=True),
    ] = ""
    reg_data_dir: Annotated[str, Spec("Regularisation folder", "folders", "pictures", "folder")] = ""
    dataset_config: Annotated[str, Spec("Dataset config file", "folders", "pictures", "file")] = ""
    output_dir: Annotated[str, Spec("Output folder", "folders", "results", "folder", required=True)] = ""
    output_name: Annotated[str, Spec("Model output name", "folders", "results", required=True)] = "last"
    logging_dir: Annotated[str, Spec("Logging folder", "folders", "results", "folder")] = ""
    training_comment: Annotated[str, Spec("Training comment", "folders", "results")] = ""


class Network(Section):
    """The LoRA: what is added to the model and how large it is."""

    LoRA_type: Annotated[
        LoraType, Spec("LoRA type", "training", "lora", flag="-"),
    ] = "Standard"
    LyCORIS_preset: Annotated[
        Literal["attn-mlp", "attn-only", "full", "full-lin", "unet-transformer-only", "unet-convblock-only"],
        Spec("LyCORIS Preset", "training", "lora", matters={"LoRA_type": LYCORIS}, flag="-"),
    ] = "full"
    network_weights: Annotated[
        str, Spec("LoRA network weights", "training", "lora", "file"),
    ] = ""
    dim_from_weights: Annotated[
        Switch, Spec("DIM from weights", "training", "lora", matters={"network_weights": (SET,)}),
    ] = False
    network_dim: Annotated[
        int,
        Field(ge=1, le=100000),
        Spec("Network Rank (Dimension)", "training", "size", matters={"dim_from_weights": (False,)}),
    ] = 8
    network_alpha: Annotated[
        float,
        Field(gt=0, le=100000),
        Spec("Network alpha", "training", "size", matters={"dim_from_weights": (False,)}),
    ] = 1
    conv_dim: Annotated[
        int,
        Field(ge=0, le=100000),
        Spec("Convolution Rank (Dimension)", "training", "size", matters={"LoRA_type": WITH_CONV}, flag="-"),
    ] = 1
    conv_alpha: Annotated[
        float,
        Field(ge=0, le=100000),
        Spec("Convolution Alpha", "training", "size", matters={"LoRA_type": WITH_CONV}, flag="-"),
    ] = 1
    unit: Annotated[
        int,
        Field(ge=1, le=64),
        Spec(
            "DyLoRA Unit / Block size", "training", "lora",
            matters={"LoRA_type": ("Kohya DyLoRA", "LyCORIS/DyLoRA")}, flag="-",
        ),
    ] = 1
    factor: Annotated[
        int,
        Field(ge=-1, le=1024),
        Spec(
            "LoKr factor", "training", "lora", matters={"LoRA_type": ("LyCORIS/LoKr", "Kohya LoKr")},
            flag="-",
        ),
    ] = -1
    decompose_both: Annotated[
        Switch,
        Spec("LoKr decompose both", "training", "lora", matters={"LoRA_type": ("LyCORIS/LoKr",)}, flag="-"),
    ] = False
    use_cp: Annotated[
        Switch,
        Spec("Use CP decomposition", "training", "lora", matters={"LoRA_type": ("LyCORIS/LoKr",)}, flag="-"),
    ] = False
    use_tucker: Annotated[
        Switch,
        Spec("Use Tucker decomposition", "training", "lora", matters={"LoRA_type": LYCORIS}, flag="-"),
    ] = False
    use_scalar: Annotated[
        Switch, Spec("Use Scalar", "training", "lora", matters={"LoRA_type": WITH_SCALAR}, flag="-"),
    ] = False
    bypass_mode: Annotated[
        Switch, Spec("Bypass mode", "training", "lora", matters={"LoRA_type": WITH_SCALAR}, flag="-"),
    ] = False
    dora_wd: Annotated[
        Switch,
        Spec("DoRA Weight Decompose", "training", "lora", matters={"LoRA_type": WITH_SCALAR}, flag="-"),
    ] = False
    rank_dropout_scale: Annotated[
        Switch, Spec("Rank Dropout Scale", "training", "lora", matters={"LoRA_type": LYCORIS}, flag="-"),
    ] = False
    train_norm: Annotated[
        Switch, Spec("Train Norm", "training", "lora", matters={"LoRA_type": LYCORIS}, flag="-"),
    ] = False
    constrain: Annotated[
        float,
        Field(ge=0, le=MOST_FACTOR),
        Spec("Constrain OFT", "training", "lora", matters={"LoRA_type": ("LyCORIS/Diag-OFT",)}, flag="-"),
    ] = 0.0
    rescaled: Annotated[
        Switch,
        Spec("Rescaled OFT", "training", "lora", matters={"LoRA_type": ("LyCORIS/Diag-OFT",)}, flag="-"),
    ] = False
    train_on_input: Annotated[
        Switch,
        Spec("iA3 train on input", "training", "lora", matters={"LoRA_type": ("LyCORIS/iA3",)}, flag="-"),
    ] = True
    network_dropout: Annotated[Share, Spec("Network dropout", "advanced", "learning")] = 0.0
    rank_dropout: Annotated[Share, Spec("Rank dropout", "advanced", "learning", flag="-")] = 0.0
    module_dropout: Annotated[
        Share, Spec("Module dropout", "advanced", "learning", flag="-"),
    ] = 0.0
    scale_weight_norms: Annotated[
        Factor, Spec("Scale weight norms", "advanced", "learning"),
    ] = 0.0
    down_lr_weight: Annotated[
        str,
        Spec(
            "Down LR weights", "advanced", "weights", "blocks", {"LoRA_type": BLOCKWISE}, flag="-",
        ),
    ] = ""
    mid_lr_weight: Annotated[
        str,
        Spec(
            "Mid LR weights", "advanced", "weights", "blocks", {"LoRA_type": BLOCKWISE}, flag="-",
        ),
    ] = ""
    up_lr_weight: Annotated[
        str,
        Spec(
            "Up LR weights", "advanced", "weights", "blocks", {"LoRA_type": BLOCKWISE}, flag="-",
        ),
    ] = ""
    block_lr_zero_threshold: Annotated[
        str,
        Spec(
            "Blocks LR zero threshold", "advanced", "weights", "blocks", {"LoRA_type": BLOCKWISE}, flag="-",
        ),
    ] = ""
    block_dims: Annotated[
        str,
        Spec("Block dims", "advanced", "blocks", "blocks", {"LoRA_type": BLOCKWISE}, flag="-"),
    ] = ""
    block_alphas: Annotated[
        str,
        Spec(
            "Block alphas", "advanced", "blocks", "blocks", {"LoRA_type": BLOCKWISE}, flag="-",
        ),
    ] = ""
    conv_block_dims: Annotated[
        str,
        Spec("Conv dims", "advanced", "conv", "blocks", {"LoRA_type": BLOCKWISE}, flag="-"),
    ] = ""
    conv_block_alphas: Annotated[
        str,
        Spec("Conv alphas", "advanced", "conv", "blocks", {"LoRA_type": BLOCKWISE}, flag="-"),
    ] = ""


class Length(Section):
    """How long the run is and what it starts from."""

    train_batch_size: Annotated[int, Field(ge=1, le=1024), Spec("Train batch size", "training", "length")] = 1
    epoch: Annotated[
        int,
        Field(ge=1, le=MOST_STEPS),
        Spec(
            "Epoch", "training", "length", flag="-",
            matters={"max_train_epochs": (0,), "max_train_steps": (0,)},
        ),
    ] = 1
    max_train_epochs: Annotated[Count, Spec("Max train epoch", "training", "length")] = 0
    max_train_steps: Annotated[
        Count, Spec("Max train steps", "training", "length", matters={"max_train_epochs": (0,)}),
    ] = 0
    seed: Annotated[int | None, Field(ge=0, le=2 ** 32 - 1), Spec("Seed", "training", "precision")] = None
    gradient_accumulation_steps: Annotated[
        int, Field(ge=1, le=1024), Spec("Gradient accumulation steps", "advanced", "learning"),
    ] = 1


class Captions(Section):
    """The texts of the training pictures."""

    caption_extension: Annotated[
        str, Spec("Caption Extension", "training", "length", suggestions=("", ".txt", ".caption", ".cap")),
    ] = ""
    shuffle_caption: Annotated[Switch, Spec("Shuffle caption", "advanced", "captions")] = False
    keep_tokens: Annotated[
        int,
        Field(ge=0, le=1000),
        Spec("Keep n tokens", "advanced", "captions", matters={"shuffle_caption": (True,)}),
    ] = 0
    clip_skip: Annotated[
        int, Field(ge=0, le=12),
        Spec("Clip skip", "advanced", "captions", matters={"family": ("sd1", "sd2")}),
    ] = 1
    max_token_length: Annotated[Literal[75, 150, 225], Spec("Max Token Length", "advanced", "captions")] = 75
    no_token_padding: Annotated[
        Switch, Spec("No token padding", "advanced", "captions", flag="-"),
    ] = False
    weighted_captions: Annotated[
        Switch, Spec("Weighted captions", "advanced", "captions"),
    ] = False
    caption_dropout_every_n_epochs: Annotated[
        Count, Spec("Dropout caption every n epochs", "advanced", "captions"),
    ] = 0
    caption_dropout_rate: Annotated[Share, Spec("Rate of caption dropout", "advanced", "captions")] = 0.0
    sdxl_cache_text_encoder_outputs: Annotated[
        Switch,
        Spec(
            "Cache text encoder outputs", "advanced", "memory", matters={"family": ("sdxl",)},
            flag="cache_text_encoder_outputs",
        ),
    ] = False


class Images(Section):
    """Sizes, buckets, changes to the pictures, and their latents."""

    max_resolution: Annotated[str, Spec("Max resolution", "training", "size", flag="resolution")] = "512,512"
    enable_bucket: Annotated[Switch, Spec("Enable buckets", "training", "size")] = True
    min_bucket_reso: Annotated[
        int,
        Field(ge=1, le=LONGEST_SIDE),
        Spec(
            "Minimum bucket resolution", "training", "size",
            matters={"enable_bucket": (True,), "bucket_no_upscale": (False,)},
        ),
    ] = 256
    max_bucket_reso: Annotated[
        int,
        Field(ge=1, le=LONGEST_SIDE),
        Spec(
            "Maximum bucket resolution", "training", "size",
            matters={"enable_bucket": (True,), "bucket_no_upscale": (False,)},
        ),
    ] = 2048
    cache_latents: Annotated[Switch, Spec("Cache latents", "training", "precision")] = True
    cache_latents_to_disk: Annotated[Switch, Spec("Cache latents to disk", "training", "precision")] = False
    skip_cache_check: Annotated[
        Switch, Spec("Skip cache check", "advanced", "memory", matters={"cache_latents_to_disk": (True,)}),
    ] = False
    vae_batch_size: Annotated[
        int, Field(ge=0, le=1024), Spec("VAE batch size", "advanced", "memory"),
    ] = 0
    color_aug: Annotated[
        Switch, Spec("Color augmentation", "advanced", "pictures_changes"),
    ] = False
    flip_aug: Annotated[
        Switch, Spec("Flip augmentation", "advanced", "pictures_changes"),
    ] = False
    random_crop: Annotated[
        Switch, Spec("Random crop instead of center crop", "advanced", "pictures_changes"),
    ] = False
    bucket_no_upscale: Annotated[
        Switch,
        Spec(
            "Don't upscale bucket resolution", "advanced", "pictures_changes",
            matters={"enable_bucket": (True,)},
        ),
    ] = True
    bucket_reso_steps: Annotated[
        int,
        Field(ge=1, le=4096),
        Spec("Bucket resolution steps", "advanced", "pictures_changes", matters={"enable_bucket": (True,)}),
    ] = 64
    masked_loss: Annotated[Switch, Spec("Masked loss", "advanced", "pictures_changes")] = False
    train_inpainting: Annotated[
        Switch, Spec("Train inpainting model", "advanced", "pictures_changes", unbuilt=True),
    ] = False
    max_data_loader_n_workers: Annotated[
        int, Field(ge=0, le=128), Spec("Max num workers for DataLoader", "advanced", "memory"),
    ] = 0
    persistent_data_loader_workers: Annotated[
        Switch,
        Spec("Persistent data loader", "advanced", "memory", matters={"max_data_loader_n_workers": (SET,)}),
    ] = False


OptimizerName = Literal[
    "AdamW", "AdamW8bit", "PagedAdamW8bit", "PagedAdamW32bit", "AdamWScheduleFree", "Adafactor",
    "DAdaptation", "DAdaptAdam", "DAdaptAdaGrad", "DAdaptAdan", "DAdaptAdanIP", "DAdaptAdamPreprint",
    "DAdaptLion", "DAdaptSGD", "Lion", "Lion8bit", "PagedLion8bit", "Prodigy", "RAdamScheduleFree",
    "SGDNesterov", "SGDNesterov8bit", "SGDScheduleFree",
]
SchedulerName = Literal[
    "adafactor", "constant", "constant_with_warmup", "cosine", "cosine_with_restarts", "linear",
    "polynomial", "piecewise_constant", "cosine_with_min_lr", "inverse_sqrt", "warmup_stable_decay",
]
Rate = Annotated[float, Field(ge=0, le=1000)]


class Optimizer(Section):
    """How the weights change: optimizer, learning rates, schedule."""

    learning_rate: Annotated[Rate, Spec("Learning rate", "training", "rates", "rate")] = 1e-4
    lr_scheduler: Annotated[
        SchedulerName,
        Spec(
            "LR Scheduler", "training", "rates",
        ),
    ] = "cosine"
    lr_warmup: Annotated[
        float, Field(ge=0, le=100), Spec("LR warmup", "training", "rates", "percent", flag="lr_warmup_steps"),
    ] = 10
    optimizer: Annotated[
        OptimizerName,
        Spec("Optimizer", "training", "rates", flag="optimizer_type"),
    ] = "AdamW8bit"
    optimizer_args: Annotated[str, Spec("Optimizer extra arguments", "training", "rates")] = ""
    text_encoder_lr: Annotated[
        Rate | tuple[Rate, Rate] | None, Spec("Text Encoder learning rate", "training", "rates", "rate"),
    ] = 5e-5
    unet_lr: Annotated[Rate | None, Spec("Unet learning rate", "training", "rates", "rate")] = 1e-4
    stop_text_encoder_training: Annotated[
        int,
        Field(ge=0, le=100),
        Spec(
            "Stop text encoder training", "training", "rates", "percent", {"text_encoder_lr": (SET,)},
            flag="-",
        ),
    ] = 0
    lr_scheduler_num_cycles: Annotated[
        int,
        Field(ge=1, le=MOST_STEPS),
        Spec(
            "LR number of cycles", "advanced", "learning",
            matters={
                "lr_scheduler": (
                    "cosine_with_restarts", "polynomial", "cosine_with_min_lr", "warmup_stable_decay",
                ),
            },
        ),
    ] = 1
    lr_scheduler_power: Annotated[
        float,
        Field(ge=0, le=100),
        Spec("LR power", "advanced", "learning", matters={"lr_scheduler": ("polynomial",)}),
    ] = 1.0
    lr_warmup_steps: Annotated[Count, Spec("LR warmup steps (override)", "advanced", "learning")] = 0
    lr_scheduler_type: Annotated[
        Literal["", "CosineAnnealingLR"], Spec("LR Scheduler type", "advanced", "learning"),
    ] = ""
    lr_scheduler_args: Annotated[
        str, Spec("LR scheduler extra arguments", "advanced", "learning"),
    ] = ""
    max_grad_norm: Annotated[Factor, Spec("Max grad norm", "advanced", "learning")] = 1.0
    loraplus_lr_ratio: Annotated[
        Factor, Spec("LoRA+ learning rate ratio", "advanced", "learning", flag="-"),
    ] = 0
    loraplus_unet_lr_ratio: Annotated[
        float,
        Field(ge=0, le=MOST_FACTOR),
        Spec("LoRA+ Unet learning rate ratio", "advanced", "learning", flag="-"),
    ] = 0
    loraplus_text_encoder_lr_ratio: Annotated[
        float,
        Field(ge=0, le=MOST_FACTOR),
        Spec("LoRA+ Text Encoder learning rate ratio", "advanced", "learning", flag="-"),
    ] = 0


ORIGINAL, MULTIRES = ("Original", "Both"), ("Multires", "Both")


class Noise(Section):
    """The noise the model learns to remove."""

    noise_offset_type: Annotated[
        Literal["Original", "Multires", "Both"], Spec("Noise offset type", "advanced", "noise", flag="-"),
    ] = "Original"
    noise_offset: Annotated[
        Share,
        Spec("Noise offset", "advanced", "noise", matters={"noise_offset_type": ORIGINAL}),
    ] = 0.0
    noise_offset_random_strength: Annotated[
        Switch,
        Spec(
            "Noise offset random strength", "advanced", "noise", matters={"noise_offset": (SET,)},
        ),
    ] = False
    adaptive_noise_scale: Annotated[
        float,
        Field(ge=-1, le=1),
        Spec("Adaptive noise scale", "advanced", "noise", matters={"noise_offset": (SET,)}),
    ] = 0.0
    multires_noise_iterations: Annotated[
        int,
        Field(ge=0, le=64),
        Spec(
            "Multires noise iterations", "advanced", "noise", matters={"noise_offset_type": MULTIRES},
        ),
    ] = 0
    multires_noise_discount: Annotated[
        Share,
        Spec("Multires noise discount", "advanced", "noise", matters={"multires_noise_iterations": (SET,)}),
    ] = 0.0
    ip_noise_gamma: Annotated[Share, Spec("IP noise gamma", "advanced", "noise")] = 0.0
    ip_noise_gamma_random_strength: Annotated[
        Switch,
        Spec(
            "IP noise gamma random strength", "advanced", "noise", matters={"ip_noise_gamma": (SET,)},
        ),
    ] = False
    min_timestep: Annotated[int, Field(ge=0, le=1000), Spec("Min Timestep", "advanced", "noise")] = 0
    max_timestep: Annotated[int, Field(ge=0, le=1000), Spec("Max Timestep", "advanced", "noise")] = 1000
    zero_terminal_snr: Annotated[Switch, Spec("Zero terminal SNR", "advanced", "noise")] = False


class Loss(Section):
    """How a wrong guess is scored."""

    prior_loss_weight: Annotated[
        float,
        Field(ge=0, le=MOST_FACTOR),
        Spec("Prior loss weight", "advanced", "learning", matters={"reg_data_dir": (SET,)}),
    ] = 1.0
    min_snr_gamma: Annotated[Factor, Spec("Min SNR gamma", "advanced", "learning")] = 0.0
    loss_type: Annotated[
        Literal["l2", "l1", "huber", "smooth_l1"],
        Spec("Loss type", "advanced", "learning"),
    ] = "l2"
    huber_schedule: Annotated[
        Literal["snr", "exponential", "constant"],
        Spec("Huber schedule", "advanced", "learning", matters={"loss_type": ("huber", "smooth_l1")}),
    ] = "snr"
    huber_c: Annotated[
        float,
        Field(gt=0, le=MOST_FACTOR),
        Spec("Huber C", "advanced", "learning", matters={"loss_type": ("huber", "smooth_l1")}),
    ] = 0.1
    huber_scale: Annotated[
        float,
        Field(gt=0, le=MOST_FACTOR),
        Spec("Huber scale", "advanced", "learning", matters={"loss_type": ("huber", "smooth_l1")}),
    ] = 1.0
    debiased_estimation_loss: Annotated[
        Switch, Spec("Debiased Estimation loss", "advanced", "learning"),
    ] = False
    v_pred_like_loss: Annotated[Share, Spec("V Pred like loss", "advanced", "learning")] = 0.0
    scale_v_pred_loss_like_noise_pred: Annotated[
        Switch,
        Spec(
            "Scale v prediction loss", "advanced", "learning", matters={"v_parameterization": (True,)},
        ),
    ] = False


DynamoBackend = Literal[
    "no", "eager", "aot_eager", "inductor", "aot_ts_nvfuser", "nvprims_nvfuser", "cudagraphs", "ofi",
    "fx2trt", "onnxrt", "tensorrt", "ipex", "tvm",
]
COMPILED = {"dynamo_backend": get_args(DynamoBackend)[1:]}


class Machine(Section):
    """Precision, memory and processes."""

    mixed_precision: Annotated[
        Literal["no", "fp16", "bf16", "fp8"],
        Spec("Mixed precision", "training", "precision", unbuilt=("fp8",)),
    ] = "fp16"
    num_cpu_threads_per_process: Annotated[
        int, Field(ge=1, le=1024), Spec("Number of CPU threads per core", "training", "precision", flag="-"),
    ] = 2
    gradient_checkpointing: Annotated[Switch, Spec("Gradient checkpointing", "advanced", "memory")] = False
    checkpointing_keeps_attention: Annotated[
        Switch,
        Spec(
            "Keep attention's output", "advanced", "memory", matters={"gradient_checkpointing": (True,)},
            flag="-",
        ),
    ] = False
    xformers: Annotated[
        Literal["none", "sdpa", "xformers"], Spec("Use xformers", "advanced", "memory"),
    ] = "xformers"
    mem_eff_attn: Annotated[Switch, Spec("Memory efficient attention", "advanced", "memory")] = False
    full_fp16: Annotated[
        Switch,
        Spec(
            "Full fp16 training (experimental)", "advanced", "memory", matters={"mixed_precision": ("fp16",)},
        ),
    ] = False
    full_bf16: Annotated[
        Switch,
        Spec(
            "Full bf16 training (experimental)", "advanced", "memory", matters={"mixed_precision": ("bf16",)},
        ),
    ] = False
    fp8_base: Annotated[Switch, Spec("fp8 base", "advanced", "memory")] = False
    fp8_base_format: Annotated[
        EightBitFormat,
        Spec("8-bit format", "advanced", "memory", matters={"fp8_base": (True,)}, flag="-"),
    ] = "int8"
    base_in_16_bits: Annotated[
        Switch, Spec("16-bit base", "advanced", "memory", matters={"mixed_precision": ("no",)}, flag="-"),
    ] = False
    allow_tf32: Annotated[
        Switch, Spec("Allow TF32", "advanced", "memory", matters={"mixed_precision": ("no",)}, flag="-"),
    ] = False
    highvram: Annotated[Switch, Spec("highvram", "advanced", "memory")] = False
    lowvram: Annotated[Switch, Spec("lowvram", "advanced", "memory", flag="lowram")] = False
    num_processes: Annotated[
        int, Field(ge=1, le=1024), Spec("Number of processes", "advanced", "processes", flag="-"),
    ] = 1
    num_machines: Annotated[
        int, Field(ge=1, le=1024), Spec("Number of machines", "advanced", "processes", flag="-"),
    ] = 1
    multi_gpu: Annotated[Switch, Spec("Multi GPU", "advanced", "processes", flag="-")] = False
    gpu_ids: Annotated[str, Spec("GPU IDs", "advanced", "processes", flag="-")] = ""
    main_process_port: Annotated[
        int,
        Field(ge=0, le=65535),
        Spec("Main process port", "advanced", "processes", flag="-"),
    ] = 0
    dynamo_backend: Annotated[
        DynamoBackend,
        Spec("Dynamo backend", "advanced", "processes", flag="-"),
    ] = "no"
    dynamo_mode: Annotated[
        Literal["default", "reduce-overhead", "max-autotune"],
        Spec("Dynamo mode", "advanced", "processes", matters=COMPILED, flag="-"),
    ] = "default"
    dynamo_repeated_blocks: Annotated[
        Switch, Spec("Dynamo repeated blocks", "advanced", "processes", matters=COMPILED, flag="-"),
    ] = False
    dynamo_use_fullgraph: Annotated[
        Switch, Spec("Dynamo use fullgraph", "advanced", "processes", matters=COMPILED, flag="-"),
    ] = False
    dynamo_use_dynamic: Annotated[
        Switch, Spec("Dynamo use dynamic", "advanced", "processes", matters=COMPILED, flag="-"),
    ] = False
    extra_accelerate_launch_args: Annotated[
        str, Spec("Extra accelerate launch arguments", "advanced", "processes", flag="-"),
    ] = ""


UPLOADED = {"huggingface_repo_id": (SET,)}


class Saving(Section):
    """Which files are written, when, and what stands in them."""

    save_model_as: Annotated[
        Literal["safetensors", "ckpt"], Spec("Save trained model as", "source_model", "model"),
    ] = "safetensors"
    save_precision: Annotated[
        Literal["float", "fp16", "bf16"], Spec("Save precision", "training", "precision"),
    ] = "fp16"
    save_every_n_epochs: Annotated[Count, Spec("Save every N epochs", "training", "length")] = 1
    save_every_n_steps: Annotated[Count, Spec("Save every N steps", "advanced", "saving")] = 0
    save_last_n_steps: Annotated[
        Count,
        Spec("Save last N steps", "advanced", "saving", matters={"save_every_n_steps": (SET,)}),
    ] = 0
    save_last_n_steps_state: Annotated[
        Count,
        Spec(
            "Save last N steps state", "advanced", "saving",
            matters={"save_every_n_steps": (SET,), "save_state": (True,)},
        ),
    ] = 0
    save_last_n_epochs: Annotated[
        Count,
        Spec(
            "Save last N epochs", "advanced", "saving", matters={"save_every_n_epochs": (SET,)},
        ),
    ] = 0
    save_last_n_epochs_state: Annotated[
        Count,
        Spec(
            "Save last N epochs state", "advanced", "saving",
            matters={"save_every_n_epochs": (SET,), "save_state": (True,)},
        ),
    ] = 0
    save_state: Annotated[Switch, Spec("Save training state", "advanced", "saving")] = False
    save_state_on_train_end: Annotated[
        Switch, Spec("Save training state at end of training", "advanced", "saving"),
    ] = False
    resume: Annotated[
        str, Spec("Resume from saved training state", "advanced", "saving", "folder"),
    ] = ""
    safety_state_minutes: Annotated[
        float, Field(ge=0, le=1440), Spec("Safety state every N minutes", "advanced", "saving", flag="-"),
    ] = 10.0
    metadata_title: Annotated[str, Spec("Metadata title", "advanced", "metadata")] = ""
    metadata_author: Annotated[str, Spec("Metadata author", "advanced", "metadata")] = ""
    metadata_description: Annotated[str, Spec("Metadata description", "advanced", "metadata")] = ""
    metadata_license: Annotated[str, Spec("Metadata license", "advanced", "metadata")] = ""
    metadata_tags: Annotated[str, Spec("Metadata tags", "advanced", "metadata")] = ""
    huggingface_repo_id: Annotated[
        str, Spec("Huggingface repo id", "advanced", "huggingface"),
    ] = ""
    huggingface_token: Annotated[
        str, Spec("Huggingface token", "advanced", "huggingface", "secret"),
    ] = ""
    huggingface_repo_type: Annotated[
        str, Spec("Huggingface repo type", "advanced", "huggingface", matters=UPLOADED),
    ] = ""
    huggingface_repo_visibility: Annotated[
        str, Spec("Huggingface repo visibility", "advanced", "huggingface", matters=UPLOADED),
    ] = ""
    huggingface_path_in_repo: Annotated[
        str, Spec("Huggingface path in repo", "advanced", "huggingface", matters=UPLOADED),
    ] = ""
    save_state_to_huggingface: Annotated[
        Switch, Spec("Save state to huggingface", "advanced", "huggingface", matters=UPLOADED),
    ] = False
    resume_from_huggingface: Annotated[
        str, Spec("Resume from huggingface", "advanced", "huggingface"),
    ] = ""
    async_upload: Annotated[Switch, Spec("Async upload", "advanced", "huggingface", matters=UPLOADED)] = False


SamplerName = Literal[
    "ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver", "dpmsolver++",
    "dpmsingle", "k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a",
]


class Sampling(Section):
    """Pictures made while it learns."""

    sample_every_n_steps: Annotated[
        Count, Spec("Sample every n steps", "advanced", "samples", matters={"sample_every_n_epochs": (0,)}),
    ] = 0
    sample_every_n_epochs: Annotated[Count, Spec("Sample every n epochs", "advanced", "samples")] = 0
    sample_at_first: Annotated[Switch, Spec("Sample at first", "advanced", "samples")] = False
    sample_sampler: Annotated[SamplerName, Spec("Sample sampler", "advanced", "samples")] = "euler_a"
    sample_prompts: Annotated[str, Spec("Sample prompts", "advanced", "samples", "lines")] = ""


JUDGED = {"validation_split": (SET,)}


class Validation(Section):
    """Judging a run while it learns: which of its files is the best."""

    validation_split: Annotated[
        float, Field(ge=0, le=0.5), Spec("Validation split", "advanced", "validation"),
    ] = 0.0
    validation_seed: Annotated[
        int | None,
        Field(ge=0, le=2**32 - 1),
        Spec("Validation seed", "advanced", "validation", matters=JUDGED),
    ] = None
    validate_every_n_steps: Annotated[
        Count, Spec("Validate every n steps", "advanced", "validation", matters=JUDGED),
    ] = 0
    validate_every_n_epochs: Annotated[
        Count, Spec("Validate every n epochs", "advanced", "validation", matters=JUDGED),
    ] = 0
    max_validation_steps: Annotated[
        Count, Spec("Max validation steps", "advanced", "validation", matters=JUDGED),
    ] = 0
    stop_at_best: Annotated[
        Switch,
        Spec("Stop when it no longer gets better", "advanced", "validation", matters=JUDGED, flag="-"),
    ] = False


class Records(Section):
    """Logs for TensorBoard and Weights & Biases."""

    log_with: Annotated[
        Literal["", "tensorboard", "wandb", "all"],
        Spec("Logging", "advanced", "records"),
    ] = ""
    wandb_api_key: Annotated[
        str, Spec("WANDB API Key", "advanced", "records", "secret", {"log_with": ("wandb", "all")}),
    ] = ""
    wandb_run_name: Annotated[
        str, Spec("WANDB run name", "advanced", "records", matters={"log_with": ("wandb", "all")}),
    ] = ""
    log_tracker_name: Annotated[str, Spec("Log tracker name", "advanced", "records")] = ""
    log_tracker_config: Annotated[
        str, Spec("Log tracker config", "advanced", "records", "file"),
    ] = ""
    log_config: Annotated[Switch, Spec("Log config", "advanced", "records")] = False
    additional_parameters: Annotated[
        str, Spec("Additional parameters", "advanced", "records", flag="-"),
    ] = ""


# fmt: on


class Settings(Form):
    """All settings of one run, under kohya_ss's keys."""

    model: Model = Model()
    folders: Folders = Folders()
    network: Network = Network()
    length: Length = Length()
    captions: Captions = Captions()
    images: Images = Images()
    optimizer: Optimizer = Optimizer()
    noise: Noise = Noise()
    loss: Loss = Loss()
    machine: Machine = Machine()
    saving: Saving = Saving()
    sampling: Sampling = Sampling()
    validation: Validation = Validation()
    records: Records = Records()


FIXED_BY_STATE = (
    "v2", "v_parameterization", "sdxl", "LoRA_type", "LyCORIS_preset", "dim_from_weights", "network_dim",
    "network_alpha", "conv_dim", "conv_alpha", "unit", "factor", "decompose_both", "use_cp", "use_tucker",
    "use_scalar", "bypass_mode", "dora_wd", "train_norm", "constrain", "rescaled", "train_on_input",
    "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas", "optimizer", "optimizer_args",
)  # fmt: skip
"""What a run that goes on from a training state cannot change, beside the base model.

The state has weights and an optimizer that mean something only under these. Every other setting may change
and counts from the next step: rates, schedule, length, pictures, saving, samples … But a part or a block with
a rate of 0 has nothing in the state, so it stays at 0.
"""


def family_key(values: Mapping[str, Any]) -> FamilyKey:
    """The family that the switches of a form name."""
    return "sdxl" if values.get("sdxl") else "sd2" if values.get("v2") else "sd1"


def regularisation(values: Mapping[str, Any]) -> Any:
    """Where regularisation pictures may come from: their folder, or a dataset file."""
    return values.get("reg_data_dir") or values.get("dataset_config") or ""


TRAINING = Schema(Settings, {"family": family_key, "reg_data_dir": regularisation})
"""Every setting of a run by key, in the order of declaration."""
matters, idle_because = TRAINING.matters, TRAINING.idle_because
