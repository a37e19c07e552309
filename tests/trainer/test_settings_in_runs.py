"""Settings whose effect shows only in what is called, not in what comes out."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from tests.trainer.looks import base_model, quiet
from tests.trainer.made import image_folder, picture
from tests.trainer.runs import events, short_settings
from tests.trainer.tiny import predict
from trainer import settings as schema
from trainer.events import Notice
from trainer.files.hub import Uploader
from trainer.files.job_folder import JobFolder
from trainer.jobs.run import run_job
from trainer.models.schedule import Ddpm, signal_to_noise
from trainer.models.sd import StableDiffusion
from trainer.plan.inputs import read_inputs
from trainer.plan.memory import wants_small_steps
from trainer.training import batches, compiling
from trainer.training import build as builders
from trainer.training.loop import train
from trainer.training.position import Position, groups_from
from trainer.training.prepare import build_data, pick_computing


def test_vae_batch_size_is_how_many_are_encoded_at_once(tmp_path, monkeypatch):
    sizes: list[int] = []
    plain = StableDiffusion.encode_latents

    def counted(model: Any, pixels: torch.Tensor, *more: Any) -> torch.Tensor:
        sizes.append(len(pixels))
        return plain(model, pixels, *more)

    monkeypatch.setattr(StableDiffusion, "encode_latents", counted)
    settings = short_settings(
        tmp_path, train_data_dir=str(image_folder(tmp_path / "img", 6)), vae_batch_size=3, train_batch_size=1
    )
    builders.build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), quiet)
    assert sizes == [3, 3]


def test_skip_cache_check_trusts_latents_of_a_changed_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(tmp_path / "work"))
    folder = image_folder(tmp_path / "img", 1)
    settings = short_settings(
        tmp_path, train_data_dir=str(folder), cache_latents_to_disk=True, skip_cache_check=True
    )
    builders.build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), quiet)
    picture(folder / "10_sks cat" / "0.png", (64, 64), "L")
    again = builders.build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), quiet)
    assert again.cached is not None
    assert again.cached.encoded == 0


def test_latents_are_kept_on_disk_whether_or_not_they_are_cached_in_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(tmp_path / "work"))
    disk = {"cache_latents": False, "cache_latents_to_disk": True}
    folder = image_folder(tmp_path / "img", 1)
    settings = short_settings(tmp_path, train_data_dir=str(folder), max_train_steps=1, **disk)
    parts = builders.build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), quiet)
    train(parts, quiet, lambda: False)
    assert list((tmp_path / "work" / "latents").glob("*.safetensors"))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_in_which_every_module_is_left_out_is_a_step(tmp_path, checkpointing):
    settings = short_settings(
        tmp_path, module_dropout=0.99999, max_train_steps=2, gradient_checkpointing=checkpointing
    )
    parts = builders.build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), quiet)
    assert train(parts, quiet, lambda: False).position.step == 2
    assert all(torch.isfinite(weight).all() for weight in parts.network.parameters())


def test_workers_read_ahead_and_live_on_over_epochs(tmp_path, monkeypatch):
    workers: list[int] = []

    class Counted(DataLoader[Any]):
        def __init__(self, *words: Any, **options: Any) -> None:
            workers.append(options["num_workers"])
            super().__init__(*words, **options)

    monkeypatch.setattr(batches.torch_data, "DataLoader", Counted)
    folder = image_folder(tmp_path / "img", 1)
    for persistent, begun in ((False, [1, 1]), (True, [1])):
        settings = short_settings(
            tmp_path, train_data_dir=str(folder), max_data_loader_n_workers=1,
            persistent_data_loader_workers=persistent,
        )  # fmt: skip
        data = build_data(read_inputs(settings), 1)
        workers.clear()
        groups = list(data.loaded(groups_from(Position(), 5, 1, 10)))
        assert [group.epoch for group, _ in groups] == [1] * 5 + [2] * 5
        assert workers == begun


def test_scale_v_prediction_loss_weighs_a_velocity_like_noise(tmp_path):
    settings = short_settings(tmp_path, scale_v_pred_loss_like_noise_pred=True)
    schedule = Ddpm("v_prediction", settings.noise, settings.loss)
    weights = schedule.weights(torch.tensor([10, 900]))
    snr = signal_to_noise(schedule.scheduler)[[10, 900]].clamp(max=1000)
    assert torch.allclose(weights, snr / (snr + 1))


def test_dynamo_settings_reach_torch_compile(tmp_path, monkeypatch):
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _module, **options: asked.append(options))
    monkeypatch.setattr(compiling.torch, "compile", lambda function, **_options: function)
    settings = short_settings(
        tmp_path, dynamo_backend="inductor", dynamo_mode="max-autotune", dynamo_use_fullgraph=True,
        dynamo_use_dynamic=True,
    )  # fmt: skip
    builders.build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), quiet)
    assert asked == [{"backend": "inductor", "mode": "max-autotune", "fullgraph": True, "dynamic": True}]


@pytest.mark.long
def test_a_compiled_denoiser_answers_the_same(tmp_path):
    model = base_model(short_settings(tmp_path))
    inputs = (
        torch.randn(1, 4, 8, 8),
        torch.tensor([500]),
        torch.randn(1, 77, model.denoiser.config["cross_attention_dim"]),
    )
    with torch.no_grad():
        plain = predict(model, *inputs)
        torch._dynamo.utils.counters.clear()
        told = compiling.compile_denoiser(model.denoiser, schema.Machine(dynamo_backend="eager"))
        compiled = predict(model, *inputs)
    assert told is None
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    assert torch.allclose(plain, compiled, atol=1e-5)


def test_dynamo_compiles_repeated_blocks_alone_and_tells_how_long(tmp_path, monkeypatch):
    spent = iter([{"total_wall_time": 1.0}, {"total_wall_time": 43.4}])
    monkeypatch.setattr(torch._dynamo.utils, "calculate_time_spent", lambda: next(spent))
    asked: list[str] = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module, **_options: asked.append(type(module).__name__)
    )
    settings = short_settings(
        tmp_path, dynamo_backend="eager", dynamo_repeated_blocks=True, max_train_steps=2
    )
    job = JobFolder.create(tmp_path, settings)
    assert run_job(job) == 0
    assert set(asked) == {"BasicTransformerBlock"}
    told = [event for event in events(job) if isinstance(event, Notice)]
    assert [event.values for event in told if event.code == "training.compiled"] == [{"seconds": 42}]


@pytest.mark.parametrize(("allowed", "precision"), [(True, "tf32"), (False, "ieee")])
def test_tf32_is_allowed_where_it_is_asked_for(tmp_path, allowed, precision):
    settings = short_settings(tmp_path, mixed_precision="no", allow_tf32=allowed)
    try:
        pick_computing(settings.machine, quiet)
        assert torch.backends.cuda.matmul.fp32_precision == precision
    finally:
        torch.backends.cuda.matmul.fp32_precision = "ieee"


def test_a_base_in_16_bits_is_half_as_large_and_learns_the_same(tmp_path):
    sizes, learned = [], []
    for small in (False, True):
        settings = short_settings(tmp_path / str(small), base_in_16_bits=small, max_train_steps=2)
        parts = builders.build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), quiet)
        base = parts.model.denoiser
        frozen = [weight for weight in base.parameters() if not weight.requires_grad]
        sizes.append(sum(weight.nbytes for weight in (*frozen, *base.buffers())))
        train(parts, quiet, lambda: False)
        state = parts.network.state_dict()
        learned.append(torch.cat([state[key].flatten() for key in sorted(state) if "lora_up" in key]))
    assert sizes[1] < 0.6 * sizes[0]
    # Operations in another order: the last digits differ.
    assert (learned[0] - learned[1]).norm() < 1e-3 * learned[0].norm()


@pytest.mark.parametrize(
    ("machine", "small"),
    [
        ({"base_in_16_bits": True, "mixed_precision": "no"}, True),
        ({"base_in_16_bits": True, "mixed_precision": "bf16"}, False),
        ({"fp8_base": True, "mixed_precision": "bf16"}, False),
        ({"fp8_base": True, "mixed_precision": "bf16", "gradient_checkpointing": True}, True),
    ],
)
def test_steps_give_memory_back_where_the_base_is_kept_small(machine, small):
    assert wants_small_steps(schema.Machine(**machine)) is small


def test_where_and_how_files_are_uploaded(tmp_path, monkeypatch):
    sent: list[tuple[str, bool]] = []
    made: list[dict[str, Any]] = []

    class Client:
        def __init__(self, **_options: Any) -> None:
            pass

        def create_repo(self, **options: Any) -> None:
            made.append(options)

        def upload_file(self, *, path_in_repo: str, **_options: Any) -> None:
            sent.append((path_in_repo, threading.current_thread().name.startswith("upload")))

        def upload_folder(self, *, path_in_repo: str, **_options: Any) -> None:
            sent.append((path_in_repo, False))

    monkeypatch.setattr("huggingface_hub.HfApi", Client)
    settings = short_settings(
        tmp_path, huggingface_repo_id="me/loras", huggingface_repo_type="dataset",
        huggingface_repo_visibility="public", huggingface_path_in_repo="/cats/",
        save_state_to_huggingface=True, async_upload=True,
    )  # fmt: skip
    (tmp_path / "last-state").mkdir()
    uploader = Uploader(settings.saving, quiet)
    uploader.send(tmp_path / "a.safetensors")
    uploader.send_state(tmp_path / "last-state")
    uploader.wait()
    assert sent == [("cats/a.safetensors", True), ("cats/last-state", False)]
    [repo] = made
    assert (repo["repo_id"], repo["repo_type"], repo["private"]) == ("me/loras", "dataset", False)
