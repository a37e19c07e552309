"""Whole runs on a tiny SDXL: what is learned, written and read by others."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import StableDiffusionXLPipeline
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from tests.checkpoints import load_model, random_model, write_checkpoint
from tests.second import also
from tests.trainer.jobs.trial import WISH, answers, picture
from tests.trainer.runs import events, run, short_settings
from trainer.events import Judged, Notice, Sampled, Step
from trainer.families.table import SDXL
from trainer.files.job_folder import JobFolder
from trainer.models.sd import StableDiffusion
from trainer.models.small_weights import FORMATS, SmallWeights
from trainer.network.lora_file import load_lora, save_lora
from trainer.network.network import build_network
from trainer.network.weights import change_of
from trainer.settings import LORA_TYPES, EightBitFormat, Network
from trainer.tools.convert import convert
from trainer.tools.merge import Portion, merge
from trainer.tools.metadata import FIELDS, change_metadata, metadata_of
from trainer.tools.resize import resize
from trainer.training.encode import open_base_model
from trainer.training.precision import pick_device, pick_precision
from trainer.training.prepare import Computing

LORA = {"network_dim": 4, "network_alpha": 2}
QUICK_TYPES = ("Kohya LoCon", "LyCORIS/LoHa", "LyCORIS/LoKr")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return write_checkpoint(tmp_path_factory.mktemp("xl") / "tiny_xl.safetensors", random_model("sdxl"))


def changes(checkpoint: Path, **more: Any) -> dict[str, Any]:
    return {"pretrained_model_name_or_path": str(checkpoint), "sdxl": True, **LORA, **more}


@pytest.fixture(scope="module")
def trained(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """Both text encoders and the denoiser, with a rate each; sample pictures and judging on the way."""
    folder = tmp_path_factory.mktemp("trained")
    lines = "sks mascot --w 64 --h 64 --s 1"
    job, code = run(folder, **changes(
        checkpoint, sample_prompts=lines, sample_every_n_steps=2, flip_aug=True, save_precision="float",
        text_encoder_lr=(1e-3, 5e-4), unet_lr=1e-2, validation_split=0.25,
    ))  # fmt: skip
    assert code == 0, job.events_file.read_text()
    return job


def file_of(job: JobFolder) -> Path:
    return Path(job.settings().folders.output_dir) / "mascot.safetensors"


def test_each_part_has_its_rate_and_the_run_is_drawn_and_judged(trained: JobFolder) -> None:
    told = events(trained)
    steps = [event for event in told if isinstance(event, Step)]
    assert steps[0].lr == {"text_encoder": 1e-3, "text_encoder_2": 5e-4, "unet": 1e-2}
    assert any(isinstance(event, Sampled) for event in told)
    *_, judged = [event for event in told if isinstance(event, Judged)]
    assert judged.drift > 0


def test_the_lora_is_the_references_and_diffusers_reads_it(trained: JobFolder, checkpoint: Path) -> None:
    path = file_of(trained)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_base_model_version"] == SDXL.version
    assert metadata["modelspec.architecture"] == SDXL.architecture
    assert metadata["ss_text_encoder_lr"] == "0.001 0.0005"
    _same_in_diffusers(path, load_model(str(checkpoint), sdxl=True))


def test_it_can_be_tried(trained: JobFolder) -> None:
    """Strength 0 is the base model itself; the more of the LoRA, the further from it."""
    wishes = [{**WISH, "id": i, "file": str(file_of(trained)), "strength": i / 2} for i in range(3)]
    said = answers(trained, *wishes)
    names = {(one["id"], one["which"]): one["name"] for one in said if one["event"] == "drawn"}
    base, half, full = (picture(trained, names[i, "lora"]) for i in range(3))
    assert (base == picture(trained, names[0, "base"])).all()
    assert abs(full - base).mean() > abs(half - base).mean() > 0


def test_it_goes_through_the_tools_of_lora_files(trained: JobFolder, tmp_path: Path) -> None:
    """Merged with itself, made smaller, to diffusers' names and back, renamed: still the same change."""
    path = file_of(trained)
    whole = tmp_path / "merged.safetensors"
    merge([Portion(path, 0.75), Portion(path, 0.25)], whole)
    assert metadata_of(whole)["ss_base_model_version"] == SDXL.version
    resize(whole, tmp_path / "small.safetensors", 4)
    convert(tmp_path / "small.safetensors", tmp_path / "theirs.safetensors")
    convert(tmp_path / "theirs.safetensors", tmp_path / "back.safetensors")
    change_metadata(tmp_path / "back.safetensors", tmp_path / "named.safetensors", {FIELDS["title"]: "x"})
    ours, back = load_file(path), load_file(tmp_path / "named.safetensors")
    modules = {key.partition(".")[0] for key in ours}
    assert {key.partition(".")[0] for key in back} == modules
    for module in modules:
        wanted, got = (change_of(_entries(tensors, module)) for tensors in (ours, back))
        assert torch.allclose(got, wanted, atol=1e-5), module


def _entries(tensors: dict[str, Tensor], module: str) -> dict[str, Tensor]:
    return {key.partition(".")[2]: tensor for key, tensor in tensors.items() if key.startswith(f"{module}.")}


@torch.no_grad()
def _same_in_diffusers(path: Path, model: StableDiffusion) -> None:
    """diffusers' pipeline with the file answers like our model with it."""
    parts = [copy.deepcopy(part) for part in (*model.text_encoders, model.denoiser)]
    first, second, unet = parts
    words, other_words = model.tokenizers
    theirs: Any = StableDiffusionXLPipeline(
        model.vae, first, second, words, other_words, unet, model.schedule.sampler("ddim")
    )
    bare = theirs.encode_prompt("sks mascot", device="cpu", do_classifier_free_guidance=False)[0]
    theirs.load_lora_weights(path.parent, weight_name=path.name)
    network = build_network(model, Network(network_weights=str(path), dim_from_weights=True))
    network.eval()
    told = model.encode_text(["sks mascot"])
    embeds, _, pooled, _ = theirs.encode_prompt("sks mascot", device="cpu", do_classifier_free_guidance=False)
    assert not torch.allclose(embeds, bare, atol=1e-4)
    assert told.pooled is not None
    assert torch.allclose(told.embeds, embeds, atol=1e-5)
    assert torch.allclose(told.pooled, pooled, atol=1e-5)
    latents, steps = torch.randn(1, 4, 8, 8), torch.tensor([500])
    more = {"text_embeds": pooled, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])}
    ours = model.denoiser(latents, steps, embeds, added_cond_kwargs=more).sample
    assert torch.allclose(ours, theirs.unet(latents, steps, embeds, added_cond_kwargs=more).sample, atol=1e-5)


@pytest.mark.parametrize(
    ("rates", "learning"),
    [((0, 1e-3), {"lora_te2"}), *also([((1e-3, 0), {"lora_te1"}), (0, set())])],
)
def test_each_text_encoder_learns_by_its_own_rate(checkpoint, tmp_path, rates, learning):
    job, code = run(tmp_path, **changes(checkpoint, text_encoder_lr=rates, max_train_steps=1, unet_lr=1e-3))
    assert code == 0, job.events_file.read_text()
    names = {key.split("_text")[0] for key in load_file(tmp_path / "out" / "mascot.safetensors")}
    assert {name for name in names if name.startswith("lora_te")} == learning


@pytest.mark.parametrize(
    "kind", [*QUICK_TYPES, *also(kind for kind in LORA_TYPES if kind not in QUICK_TYPES)]
)
def test_every_lora_type_fits_sdxl(checkpoint: Path, tmp_path: Path, kind: Any) -> None:
    """Named as the family names them, starting from the unchanged model, and read back."""
    model = load_model(str(checkpoint), sdxl=True)
    sizes: dict[str, Any] = (
        {"network_dim": 16, "conv_dim": 16} if "OFT" in kind else {"network_dim": 2, "conv_dim": 2}
    )
    network = build_network(model, Network(LoRA_type=kind, **sizes), train_text_encoder=kind == "Standard")
    names = {target.name for target in network.targets if target.part == "unet"}
    assert all(name.startswith(("lora_unet_input", "lora_unet_middle", "lora_unet_output")) for name in names)
    save_lora(tmp_path / "x.safetensors", network.state_dict(), {}, torch.float32)
    assert network.load(load_lora(tmp_path / "x.safetensors")[0]) == len(network.targets)


def test_velocity_with_zero_terminal_snr_and_every_loss_trains(checkpoint, tmp_path):
    job, code = run(tmp_path, **changes(
        checkpoint, v_parameterization=True, zero_terminal_snr=True, min_snr_gamma=5,
        scale_v_pred_loss_like_noise_pred=True, debiased_estimation_loss=True, masked_loss=True,
        text_encoder_lr=0, min_timestep=999,
    ))  # fmt: skip
    assert code == 0, job.events_file.read_text()
    losses = [event.loss for event in events(job) if isinstance(event, Step)]
    assert all(0 < loss < 1e3 for loss in losses)


def test_cached_text_encoder_outputs_are_found_by_the_next_run(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(tmp_path / "workspace"))
    once = changes(checkpoint, text_encoder_lr=0, max_train_steps=1, sdxl_cache_text_encoder_outputs=True)
    found = []
    for name in ("a", "b"):
        job, code = run(tmp_path / name, **once)
        assert code == 0, job.events_file.read_text()
        told = (event for event in events(job) if isinstance(event, Notice))
        found.append(next(event.values for event in told if event.code == "training.texts_cached"))
    count = found[0]["encoded"]
    assert count > 0
    assert found == [{"reused": 0, "encoded": count}, {"reused": count, "encoded": 0}]
    first, second = (load_file(tmp_path / name / "out" / "mascot.safetensors") for name in ("a", "b"))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("kind", FORMATS)
def test_fp8_base_keeps_the_denoisers_weights_in_8_bits(
    checkpoint: Path, tmp_path: Path, kind: EightBitFormat
) -> None:
    found = []
    for fp8 in (False, True):
        made = changes(checkpoint, fp8_base=fp8, fp8_base_format=kind, mixed_precision="bf16")
        precision = pick_precision("bf16", pick_device())
        computing = Computing(pick_device(), precision)
        model = open_base_model(short_settings(tmp_path, **made), computing, lambda _event: None)
        layers = [layer for layer in model.denoiser.modules() if isinstance(layer, SmallWeights)]
        found.append({layer.stored.dtype for layer in layers})
    assert found == [set(), {FORMATS[kind]}]


def test_an_8_bit_base_trains(checkpoint: Path, tmp_path: Path) -> None:
    AcceleratorState._reset_state()  # this test computes in another format than those before it
    made = changes(checkpoint, fp8_base=True, mixed_precision="bf16", gradient_checkpointing=True)
    job, code = run(tmp_path, **made, text_encoder_lr=0, max_train_steps=2)
    assert code == 0, job.events_file.read_text()
    learned = load_file(tmp_path / "out" / "mascot.safetensors")
    assert any(tensor.any() for key, tensor in learned.items() if "lora_up" in key)
    assert JobFolder(job.path).settings().machine.fp8_base
    AcceleratorState._reset_state()
