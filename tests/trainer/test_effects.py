"""Every setting changes what it is meant to change: the seams between the settings and the modules.

What a module does with a value is tested beside the module. Here each row turns one setting and looks at the
part of a run that must come out differently; `tests.mutation` proves that each row notices when its setting
has no effect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors import safe_open

from tests.trainer.made import picture
from tests.trainer.runs import DEMO, events, short_settings
from trainer import parts as builders
from trainer import train
from trainer.dataset import Batch
from trainer.device import Precision
from trainer.events import Notice, Sampled, Saved, Step
from trainer.job_folder import JobFolder
from trainer.lr_schedule import rates
from trainer.preflight import check
from trainer.run import run_job
from trainer.settings import Settings

Look = Callable[[Settings, Path], Any]
CPU = torch.device("cpu")


def quiet(_event: Any) -> None:
    """Notices are of no interest here."""


def fingerprint(values: Any) -> str:
    """Any tensors and plain values as one text."""
    if isinstance(values, torch.Tensor):
        data = values.detach().float().cpu().numpy()
        return f"{tuple(data.shape)} {hashlib.sha256(np.round(data, 6).tobytes()).hexdigest()}"
    if isinstance(values, Mapping):
        return str({key: fingerprint(value) for key, value in values.items()})
    if isinstance(values, (list, tuple)):
        return str([fingerprint(value) for value in values])
    return str(values)


def planned(settings: Settings, _folder: Path) -> Any:
    """Steps, files, sample pictures, buckets: what the page shows before the run."""
    plan = check(settings).plan
    assert plan is not None
    return plan.as_json()


def problems(settings: Settings, _folder: Path) -> Any:
    """What the checks find."""
    return [problem.code for problem in check(settings).problems]


def batches(settings: Settings, _folder: Path) -> Any:
    """Pictures and captions of four epochs as they are learned from."""
    data = builders.build_data(settings, builders.read_images(settings), 1)
    found = [data._batch(epoch, number) for epoch in (1, 2, 3, 4) for number in range(3)]
    told = [(b.captions, b.loss_weights, b.flipped, b.pixels, b.masks) for b in found]
    return [fingerprint(told), data.workers, data.persistent]


def order(settings: Settings, _folder: Path) -> Any:
    """Whether chance begins with the seed of `short_settings`."""
    return builders._pick_seed(settings, {}) == 1


def base_model(settings: Settings) -> Any:
    return builders.load_base_model(settings, Precision(torch.float32, autocast=False), quiet)


def loaded(settings: Settings, _folder: Path) -> Any:
    """The base model: which, its VAE, its noise schedule, what it predicts."""
    model = base_model(settings)
    vae = next(iter(model.vae.state_dict().values()))
    schedule = model.noise_scheduler.alphas_cumprod
    return fingerprint([model.prediction_type, vae, schedule, next(iter(model.unet.parameters()))])


def told_of_captions(settings: Settings, _folder: Path) -> Any:
    """What the UNet is told of a caption."""
    encoder = builders.caption_encoder(settings, base_model(settings), CPU, learning=False)
    long = ", ".join(f"part {number} of it" for number in range(60))
    return fingerprint([encoder(["a (red:1.5) cat"]), encoder([long])])


def noise_and_loss(settings: Settings, _folder: Path) -> Any:
    """Noise, timesteps and the loss of one batch, with a model that answers with half of what it sees."""
    model = base_model(settings)
    model.predict_noise = lambda latents, _timesteps, _text: latents * 0.5
    parts: Any = SimpleNamespace(
        settings=settings,
        model=model,
        accelerator=SimpleNamespace(autocast=nullcontext),
        timestep_weights=builders._timestep_weights(settings, model),
    )
    torch.manual_seed(3)
    builders.seed_everything(3)
    latents = torch.randn(2, 4, 8, 8) + 0.5
    noise, timesteps = train.draw_noise(parts, latents)
    batch = Batch(("a", "b"), torch.ones(2), (0, 1), (False, False))
    loss = train.batch_loss(parts, batch, latents, torch.zeros(2, 77, 8), noise, timesteps)
    return fingerprint([noise, timesteps, loss])


def learner(settings: Settings, _folder: Path) -> Any:
    """Optimizer with its groups, and the LoRA: modules, sizes, number formats."""
    network = builders._build_network(settings, base_model(settings), quiet)
    optimizer = builders._build_optimizer(settings, network, CPU, quiet)
    groups = [(group["name"], group["lr"], len(group["params"])) for group in optimizer.param_groups]
    defaults = {key: value for key, value in optimizer.defaults.items() if key != "lr"}
    sizes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    alphas = {name: float(tensor) for name, tensor in network.state_dict().items() if name.endswith(".alpha")}
    dtype = network.parameters()[0].dtype
    return [type(optimizer).__name__, groups, str(defaults), sizes, alphas, str(dtype)]


def answer(settings: Settings, _folder: Path) -> Any:
    """What the UNet with its LoRA answers while it trains, the LoRA's weights not being zero."""
    model = base_model(settings)
    network = builders._build_network(settings, model, quiet)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    network.train()
    torch.manual_seed(5)
    noisy, text = torch.randn(1, 4, 8, 8), torch.randn(1, 77, model.unet.config["cross_attention_dim"])
    with torch.no_grad():
        return fingerprint(model.predict_noise(noisy, torch.tensor([500]), text))


def curve(settings: Settings, _folder: Path) -> Any:
    """The learning rate over 40 steps."""
    return rates(settings.optimizer, 40)


def built(settings: Settings, folder: Path) -> Any:
    """Everything that stands ready before the first step."""
    parts = builders.build_parts(settings, JobFolder.create(folder, settings), quiet)
    cached = list((folder.parent / "work" / "latents").glob("*"))
    return [
        torch.get_num_threads(),
        parts.model.unet.is_gradient_checkpointing,
        str(parts.model.unet.dtype),
        str(parts.model.vae.dtype),
        parts.cached is not None,
        len(cached),
        parts.keeper.every_seconds,
    ]


def ran(settings: Settings, folder: Path) -> Any:
    """A short run: losses, weights, files, metadata, samples, notices."""
    job = JobFolder.create(folder, settings)
    assert run_job(job) == 0, events(job)[-1]
    told = events(job)
    output = Path(settings.folders.output_dir)
    final = next(path for path in sorted(output.iterdir()) if path.suffix in {".safetensors", ".ckpt"})
    found: dict[str, Any] = {
        "losses": [round(event.loss, 6) for event in told if isinstance(event, Step)],
        "files": sorted(path.name for path in output.iterdir()),
        "saved": [(event.kind, event.step) for event in told if isinstance(event, Saved)],
        "samples": [
            hashlib.sha256((job.path / event.path).read_bytes()).hexdigest()
            for event in told
            if isinstance(event, Sampled)
        ],
        "notices": [event.code for event in told if isinstance(event, Notice)],
        "log": (folder.parent / "log").exists(),
    }
    if final.suffix == ".safetensors":
        with safe_open(final, "pt") as file:
            kept = {key: value for key, value in file.metadata().items() if not _of_this_run(key)}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping
        found |= {
            "metadata": kept,
            "weights": fingerprint(tensors),
            "dtype": str(next(iter(tensors.values())).dtype),
        }
    return found


def _of_this_run(key: str) -> bool:
    return any(
        word in key for word in ("date", "time", "hash", "session", "started", "finished", "output_dir")
    )


@dataclass(frozen=True)
class Row:
    """One setting turned from its place in `base`, and where that shows."""

    look: Look
    value: Any
    base: Mapping[str, Any] = field(default_factory=dict)


def small_pictures(folder: Path) -> str:
    """Pictures of several sizes, one of them half see-through, with captions of several parts."""
    root = folder / "img"
    sizes = {"a": (160, 64), "b": (64, 128), "c": (96, 96), "d": (200, 200)}
    for name, size in sizes.items():
        path = picture(root / "2_sks cat" / f"{name}.png", size)
        path.with_suffix(".txt").write_text("one, two, three, four, five", encoding="utf-8")
        path.with_suffix(".caption").write_text(f"other words {name}", encoding="utf-8")
    layer = Image.new("RGBA", (96, 96), (200, 50, 50, 255))
    layer.paste((0, 0, 0, 0), (0, 0, 48, 96))
    layer.save(root / "2_sks cat" / "e.png")
    return str(root)


def places(folder: Path) -> dict[str, str]:
    """Words in a row that stand for things on disk; made once for each test."""
    other = folder / "other"
    picture(other / "3_dog" / "x.png")
    config = folder / "data.toml"
    config.write_text(
        f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = {str(other / '3_dog')!r}\nnum_repeats = 5\n",
        encoding="utf-8",
    )
    return {
        "<pictures>": small_pictures(folder), "<other>": str(other), "<config>": str(config),
        "<folder>": str(folder / "elsewhere"), "<log>": str(folder / "log"),
        "<vae>": str(DEMO / "model" / "vae"), "<model>": str(DEMO / "model"),
    }  # fmt: skip


SAMPLES = {"sample_prompts": "sks mascot --w 64 --h 64 --s 2 --d 1", "sample_every_n_steps": 1}
SEVERAL = {"train_data_dir": "<pictures>", "max_resolution": "128,128"}
UNCACHED = {**SEVERAL, "cache_latents": False, "train_batch_size": 1}
ONE = {"max_train_steps": 1}
LYCORIS = {"LoRA_type": "LyCORIS/LoKr", "network_dim": 2, "conv_dim": 2, "factor": 4}
LOHA = {**LYCORIS, "LoRA_type": "LyCORIS/LoHa"}
CONV = {"LoRA_type": "Kohya LoCon", "conv_dim": 2}
HUBER = {"loss_type": "smooth_l1"}
TWELVE = ",".join(["0.5"] * 12)
TWENTY_FIVE = ",".join(["2"] * 25)

EFFECTS: dict[str, Row] = {
    # which model
    "model_list": Row(problems, "someone/else", {}),
    "pretrained_model_name_or_path": Row(problems, "/no/such/model.safetensors"),
    "v2": Row(problems, True),
    "v_parameterization": Row(problems, True),
    "vae": Row(problems, "/no/such/vae.safetensors"),
    "sdxl_no_half_vae": Row(built, True, {"mixed_precision": "bf16", "cache_latents": False}),
    # folders
    "train_data_dir": Row(planned, "<pictures>"),
    "reg_data_dir": Row(planned, "<other>"),
    "dataset_config": Row(planned, "<config>"),
    "output_dir": Row(problems, ""),
    "output_name": Row(planned, "cats"),
    "logging_dir": Row(ran, "<log>", ONE),
    "training_comment": Row(ran, "for my cat", ONE),
    # the LoRA
    "LoRA_type": Row(learner, "Kohya LoCon", {"conv_dim": 2}),
    "LyCORIS_preset": Row(learner, "attn-only", LOHA),
    "network_dim": Row(learner, 2),
    "network_alpha": Row(learner, 2),
    "conv_dim": Row(learner, 3, {"LoRA_type": "Kohya LoCon"}),
    "conv_alpha": Row(learner, 0.5, CONV),
    "unit": Row(answer, 2, {"LoRA_type": "Kohya DyLoRA", "conv_dim": 0, "network_dim": 4}),
    "factor": Row(learner, 4, {**LYCORIS, "factor": -1}),
    "decompose_both": Row(learner, True, {**LYCORIS, "network_dim": 1}),
    "use_cp": Row(learner, True, LYCORIS),
    "use_tucker": Row(learner, True, LOHA),
    "use_scalar": Row(learner, True, LOHA),
    "dora_wd": Row(learner, True, LOHA),
    "train_norm": Row(learner, True, LOHA),
    "bypass_mode": Row(answer, True, {**LYCORIS, "LoRA_type": "LyCORIS/LoCon", "rank_dropout": 0.5}),
    "rank_dropout_scale": Row(answer, True, {**LOHA, "rank_dropout": 0.5}),
    "constrain": Row(answer, 0.01, {**LYCORIS, "LoRA_type": "LyCORIS/Diag-OFT"}),
    "rescaled": Row(learner, True, {**LYCORIS, "LoRA_type": "LyCORIS/Diag-OFT"}),
    "train_on_input": Row(learner, False, {**LYCORIS, "LoRA_type": "LyCORIS/iA3"}),
    "network_dropout": Row(answer, 0.5),
    "rank_dropout": Row(answer, 0.5),
    "module_dropout": Row(answer, 0.5),
    "scale_weight_norms": Row(ran, 0.001, {"max_train_steps": 2, "unet_lr": 0.01}),
    "down_lr_weight": Row(learner, TWELVE),
    "mid_lr_weight": Row(learner, "0.5"),
    "up_lr_weight": Row(learner, TWELVE),
    "block_lr_zero_threshold": Row(learner, "0.5", {"down_lr_weight": TWELVE}),
    "block_dims": Row(learner, TWENTY_FIVE),
    "block_alphas": Row(learner, TWENTY_FIVE),
    "conv_block_dims": Row(learner, TWENTY_FIVE),
    "conv_block_alphas": Row(learner, TWENTY_FIVE, {"conv_block_dims": TWENTY_FIVE}),
    # length
    "train_batch_size": Row(planned, 3),
    "epoch": Row(planned, 2, {"max_train_steps": 0}),
    "max_train_epochs": Row(planned, 2),
    "max_train_steps": Row(planned, 7),
    "seed": Row(order, 99),
    "gradient_accumulation_steps": Row(planned, 2),
    # captions
    "caption_extension": Row(batches, ".caption", SEVERAL),
    "shuffle_caption": Row(batches, True, SEVERAL),
    "keep_tokens": Row(batches, 3, {**SEVERAL, "shuffle_caption": True}),
    "clip_skip": Row(told_of_captions, 2),
    "max_token_length": Row(told_of_captions, 150),
    "no_token_padding": Row(told_of_captions, True),
    "weighted_captions": Row(told_of_captions, True),
    "caption_dropout_every_n_epochs": Row(batches, 2, SEVERAL),
    "caption_dropout_rate": Row(batches, 0.5, SEVERAL),
    # pictures
    "max_resolution": Row(planned, "128,128", {"train_data_dir": "<pictures>"}),
    "enable_bucket": Row(planned, False, SEVERAL),
    "min_bucket_reso": Row(planned, 128, {**SEVERAL, "bucket_no_upscale": False}),
    "max_bucket_reso": Row(planned, 128, {**SEVERAL, "bucket_no_upscale": False}),
    "bucket_no_upscale": Row(planned, False, SEVERAL),
    "bucket_reso_steps": Row(planned, 32, SEVERAL),
    "cache_latents": Row(built, False),
    "cache_latents_to_disk": Row(built, True),
    "color_aug": Row(batches, True, UNCACHED),
    "flip_aug": Row(batches, True, UNCACHED),
    "random_crop": Row(batches, True, UNCACHED),
    "masked_loss": Row(batches, True, UNCACHED),
    "max_data_loader_n_workers": Row(batches, 1, SEVERAL),
    "persistent_data_loader_workers": Row(batches, True, SEVERAL),
    # rates
    "learning_rate": Row(learner, 0.5, {"unet_lr": None}),
    "unet_lr": Row(learner, 0.5),
    "text_encoder_lr": Row(learner, 0.5),
    "optimizer": Row(learner, "Lion"),
    "optimizer_args": Row(learner, "weight_decay=0.5"),
    "loraplus_lr_ratio": Row(learner, 4),
    "loraplus_unet_lr_ratio": Row(learner, 4),
    "loraplus_text_encoder_lr_ratio": Row(learner, 4),
    "lr_scheduler": Row(curve, "linear"),
    "lr_warmup": Row(curve, 50, {"lr_scheduler": "linear"}),
    "lr_warmup_steps": Row(curve, 7, {"lr_scheduler": "linear"}),
    "lr_scheduler_num_cycles": Row(curve, 3, {"lr_scheduler": "polynomial"}),
    "lr_scheduler_power": Row(curve, 2, {"lr_scheduler": "polynomial"}),
    "lr_scheduler_type": Row(curve, "CosineAnnealingLR"),
    "lr_scheduler_args": Row(curve, "min_lr_ratio=0.5", {"lr_scheduler": "cosine_with_min_lr"}),
    "max_grad_norm": Row(ran, 0.0001, {"max_train_steps": 2, "optimizer": "SGDNesterov"}),
    "stop_text_encoder_training": Row(ran, 50, {"max_train_steps": 2}),
    # noise and loss
    "noise_offset_type": Row(noise_and_loss, "Multires", {"multires_noise_iterations": 4}),
    "noise_offset": Row(noise_and_loss, 0.3),
    "noise_offset_random_strength": Row(noise_and_loss, True, {"noise_offset": 0.3}),
    "adaptive_noise_scale": Row(noise_and_loss, 0.5, {"noise_offset": 0.3}),
    "multires_noise_iterations": Row(noise_and_loss, 4, {"noise_offset_type": "Multires"}),
    "multires_noise_discount": Row(
        noise_and_loss, 0.9, {"noise_offset_type": "Multires", "multires_noise_iterations": 4}
    ),
    "ip_noise_gamma": Row(noise_and_loss, 0.5),
    "ip_noise_gamma_random_strength": Row(noise_and_loss, True, {"ip_noise_gamma": 0.5}),
    "min_timestep": Row(noise_and_loss, 900),
    "max_timestep": Row(noise_and_loss, 100),
    "zero_terminal_snr": Row(loaded, True),
    "prior_loss_weight": Row(batches, 0.25, {"reg_data_dir": "<other>", **SEVERAL, "train_batch_size": 9}),
    "min_snr_gamma": Row(noise_and_loss, 1),
    "loss_type": Row(noise_and_loss, "l1"),
    "huber_schedule": Row(noise_and_loss, "constant", HUBER),
    "huber_c": Row(noise_and_loss, 0.5, HUBER),
    "huber_scale": Row(noise_and_loss, 2, {**HUBER, "huber_schedule": "constant"}),
    "debiased_estimation_loss": Row(noise_and_loss, True),
    "v_pred_like_loss": Row(noise_and_loss, 0.5),
    # machine
    "mixed_precision": Row(built, "bf16"),
    "num_cpu_threads_per_process": Row(built, 2),
    "gradient_checkpointing": Row(built, True),
    "full_fp16": Row(learner, True),
    "full_bf16": Row(learner, True),
    "num_processes": Row(planned, 2, {"max_train_steps": 0}),
    "num_machines": Row(problems, 2, {"num_processes": 2}),
    "multi_gpu": Row(problems, True),
    "gpu_ids": Row(problems, "first"),
    "dynamo_backend": Row(ran, "ofi", ONE),
    "extra_accelerate_launch_args": Row(planned, "--num_processes 2", {"max_train_steps": 0}),
    # files
    "save_model_as": Row(planned, "ckpt"),
    "save_precision": Row(ran, "bf16", ONE),
    "save_every_n_epochs": Row(planned, 1, {"max_train_epochs": 3}),
    "save_every_n_steps": Row(planned, 1),
    "save_last_n_steps": Row(planned, 1, {"save_every_n_steps": 1, "max_train_steps": 6}),
    "save_last_n_steps_state": Row(planned, 1, {"save_every_n_steps": 1, "max_train_steps": 6}),
    "save_last_n_epochs": Row(planned, 1, {"save_every_n_epochs": 1, "max_train_epochs": 4}),
    "save_last_n_epochs_state": Row(planned, 1, {"save_every_n_epochs": 1, "max_train_epochs": 4}),
    "save_state": Row(ran, True, {"max_train_steps": 2, "save_every_n_steps": 1}),
    "save_state_on_train_end": Row(ran, True, ONE),
    "resume": Row(problems, "<folder>"),
    "safety_state_minutes": Row(built, 3.0),
    **{
        f"metadata_{name}": Row(ran, "something of mine", ONE)
        for name in ("title", "author", "description", "license", "tags")
    },
    "huggingface_repo_id": Row(problems, "no name"),
    "huggingface_repo_type": Row(problems, "lora", {"huggingface_repo_id": "me/loras"}),
    "huggingface_repo_visibility": Row(problems, "hidden", {"huggingface_repo_id": "me/loras"}),
    "resume_from_huggingface": Row(problems, "nothing"),
    # samples and records
    "sample_every_n_steps": Row(planned, 1, {"sample_prompts": "a cat"}),
    "sample_every_n_epochs": Row(planned, 1, {"sample_prompts": "a cat", "max_train_epochs": 2}),
    "sample_at_first": Row(planned, True, {"sample_prompts": "a cat"}),
    "sample_prompts": Row(planned, "a cat", {"sample_every_n_steps": 1}),
    "sample_sampler": Row(ran, "ddim", {**ONE, **SAMPLES}),
    "log_with": Row(problems, "tensorboard"),
    "log_tracker_config": Row(problems, "/no/such.toml"),
    "additional_parameters": Row(planned, "--max_train_steps 9"),
}  # fmt: skip


@pytest.mark.parametrize("key", EFFECTS)
def test_the_setting_changes_what_it_should(key, tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(tmp_path / "work"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    threads = torch.get_num_threads()
    row, words = EFFECTS[key], places(tmp_path)
    seen = []
    for number, more in enumerate(({}, {key: row.value})):
        values = {**row.base, **more}
        values = {
            name: words.get(value, value) if isinstance(value, str) else value
            for name, value in values.items()
        }
        folder = tmp_path / str(number)
        settings = short_settings(folder, **{"output_dir": str(tmp_path / "same" / str(number)), **values})
        torch.manual_seed(1)
        AcceleratorState._reset_state(reset_partial_state=True)  # one number format per process otherwise
        seen.append(row.look(settings, folder))
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)
    if row.look is planned:
        seen = [{**one, "disk_bytes": 0} for one in seen]
    assert seen[0] != seen[1]
