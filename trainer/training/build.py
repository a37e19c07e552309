"""Builds everything a run needs, once: pictures, model, network, optimizer, saver, sampler."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from trainer.data import dataset_file
from trainer.data.datasets import datasets_of, subset_of, with_matched
from trainer.data.folders import TrainImage
from trainer.distributed.collectives import Exchange
from trainer.distributed.processes import Rank
from trainer.events import Event, Notice, Phase
from trainer.families.known import known_facts
from trainer.families.table import named_by
from trainer.files.hub import Uploader
from trainer.files.job_folder import Begun, JobFolder, default_workspace
from trainer.files.own_files import OwnFiles
from trainer.files.redact import redacted
from trainer.files.state_folder import StateAbout, read_about
from trainer.files.whole_file import sweep
from trainer.messages import Message
from trainer.models.base import BaseModel
from trainer.models.load import enable_gradient_checkpointing, open_model
from trainer.network.network import Network, build_network
from trainer.plan.lr_schedule import build_lr_scheduler
from trainer.plan.rates import text_rates, trains_text_encoder, trains_unet, unet_rate
from trainer.plan.run import Plan, build_plan
from trainer.plan.sample_prompts import prompts
from trainer.plan.state_facts import changes, facts_of
from trainer.settings import Machine, Settings, matters
from trainer.training import latent_cache
from trainer.training.batches import Batch, TrainingData
from trainer.training.compiling import compile_denoiser
from trainer.training.grad_scaling import SkippedSteps
from trainer.training.keeper import StateKeeper
from trainer.training.metadata import RunFacts, build_metadata
from trainer.training.optimizer import build_optimizer, describe, finished_weights
from trainer.training.position import Position, groups_from, position_at
from trainer.training.precision import Precision, pick_device, pick_precision
from trainer.training.rng import seed_everything
from trainer.training.sampling import SampleMaker
from trainer.training.saving import DTYPES, Saver
from trainer.training.text_cache import CaptionEncoder, TextStore

Emit = Callable[[Event], None]
TEXTS_ON_DISK = "sdxl_cache_text_encoder_outputs"


@dataclass(frozen=True)
class Parts:
    """All that the training loop works with."""

    settings: Settings
    plan: Plan
    seed: int
    accelerator: Accelerator
    model: BaseModel
    network: Network
    data: TrainingData
    cached: latent_cache.CachedLatents | None
    captions: CaptionEncoder
    optimizer: torch.optim.Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler
    saver: Saver
    keeper: StateKeeper
    sampler: SampleMaker
    skipped: SkippedSteps
    start: Position
    exchange: Exchange = field(default_factory=Exchange)

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.accelerator.device

    @property
    def accumulation_steps(self) -> int:
        """ "Gradient accumulation steps" of all processes: batches per change of the weights."""
        return self.settings.length.gradient_accumulation_steps * self.exchange.rank.count

    def encode_pictures(self, batch: Batch) -> Tensor:
        """Latents (B, C, h, w) of a batch, cached or made now."""
        if self.cached is not None:
            return self.cached.batch(batch.images, batch.flipped).to(self.device)
        assert batch.pixels is not None  # noqa: S101  # for the type checker: pixels are there when nothing is cached
        return self.model.encode_latents(batch.pixels)


def build_parts(
    settings: Settings, job: JobFolder, emit: Emit, resume_from: Path | None = None, *, again: bool = False
) -> Parts:
    """Everything for a run, from its settings; with `resume_from` put back into a training state.

    `again`: the job was begun before; without a state it starts anew under its name and with its seed.
    Raises UserError, and StopRequested when Stop is pressed.
    """
    begun = job.begun() if again else None
    state = read_about(resume_from) if resume_from else None
    kind = pick_device()
    exchange = Exchange.joined(Rank.own(), kind)
    seed = exchange.agree(lambda: _pick_seed(settings, begun, state))
    seed_everything(seed)
    torch.set_num_threads(settings.machine.num_cpu_threads_per_process)
    precision = pick_precision(settings.machine.mixed_precision, kind)
    accelerator = Accelerator(cpu=kind.type == "cpu", mixed_precision=_autocast_name(precision))
    device = accelerator.device
    if precision.notice:
        notify(emit, precision.notice)

    if exchange.is_main:
        _sweep(settings, job)
    emit(Phase("read_images"))
    pictures = read_images(settings)
    first = begun.first_step if begun else state.step if state else 0
    name = begun.name if begun else ""
    plan = build_plan(settings, *pictures, known_facts(settings.model), name=name, first_step=first)
    data = build_data(settings, pictures, seed, plan.total_steps)
    if begun and state and (changed := changes(state, settings, data.images)):
        emit(Notice("training.continued_changed", {"changes": changed}, "warning"))
    emit(Phase("load_model"))
    model = load_base_model(settings, precision, emit)
    # Text encoders first, the VAE second, the denoiser last: what is done with is let go before the next.
    captions = caption_encoder(
        settings, model, device, learning=trains_text_encoder(settings.optimizer), keep_on_disk=True
    )
    cache_texts(settings, captions, data, plan, state.step if state else 0, exchange, precision, job, emit)
    cached = _cache_latents(settings, model, data, plan, device, job, emit)
    network = _build_network(settings, model, emit)
    captions.learning = bool(network.parameters("text_encoder"))
    if settings.machine.gradient_checkpointing:
        enable_gradient_checkpointing(model, text_encoders=captions.learning)
    _compile(settings.machine, model, emit)
    optimizer = _build_optimizer(settings, network, device, emit)
    _place(model, device, keep_vae=cached is None, keep_texts=not captions.complete)
    called = describe(optimizer, settings.optimizer)
    run_facts = RunFacts(
        settings, plan, data.images, model, seed, network.targets, called, datasets=data.datasets
    )
    prepared = accelerator.prepare(optimizer)
    lr_scheduler = build_lr_scheduler(settings.optimizer, optimizer, plan.total_steps)
    name = plan.final_name.removesuffix(f".{settings.saving.save_model_as}")
    notes = {"seed": seed, "name": name, "settings": settings.flat(), **facts_of(settings, data.images)}
    keeper = _build_keeper(settings, notes, network, prepared, lr_scheduler, accelerator, job, emit)
    done = keeper.restore(resume_from).step if resume_from else 0
    start = position_at(done, plan.batches_per_epoch, plan.accumulation)
    exchange.same_start(network.parameters())
    return Parts(
        settings=settings,
        plan=plan,
        seed=seed,
        accelerator=accelerator,
        model=model,
        network=network,
        data=data,
        cached=cached,
        captions=captions,
        optimizer=prepared,
        lr_scheduler=lr_scheduler,
        saver=_build_saver(
            settings, plan, network, run_facts, keeper, emit, job.own_files() if again else OwnFiles()
        ),
        keeper=keeper,
        skipped=SkippedSteps(emit),
        start=start,
        exchange=exchange,
        sampler=_build_sampler(settings, plan, model, captions, network, optimizer, accelerator, job, emit),
    )


def _sweep(settings: Settings, job: JobFolder) -> None:
    """Remove what a run that was killed has left half-written."""
    output = Path(settings.folders.output_dir), settings.folders.output_name
    caches = ((default_workspace() / name, "") for name in ("latents", "texts"))
    for folder, start in ((job.path, ""), output, *caches):
        sweep(folder, start)


def _compile(machine: Machine, model: BaseModel, emit: Emit) -> None:
    """Compile the denoiser where the settings say so; that it cannot be is only told."""
    not_compiled = compile_denoiser(
        model.denoiser,
        backend=machine.dynamo_backend,
        mode=machine.dynamo_mode,
        fullgraph=machine.dynamo_use_fullgraph,
        dynamic=machine.dynamo_use_dynamic,
    )
    if not_compiled:
        notify(emit, not_compiled)


def _pick_seed(settings: Settings, begun: Begun | None, state: StateAbout | None) -> int:
    """The seed with which the job was begun, "Seed", or (blank) that of the state, or any."""
    if begun:
        return begun.seed
    if settings.length.seed is not None:
        return settings.length.seed
    return state.seed if state else secrets.randbelow(2**32)


def notify(emit: Emit, message: Message) -> None:
    """Tell of something done another way than the settings say."""
    emit(Notice(message.code, message.values, "warning"))


def _autocast_name(precision: Precision) -> str:
    """accelerate's name of the number format of the forward pass."""
    names = {torch.float16: "fp16", torch.bfloat16: "bf16"}
    return names[precision.dtype] if precision.autocast else "no"


def read_images(settings: Settings) -> tuple[Sequence[TrainImage], Sequence[TrainImage]]:
    """Training pictures and regularisation pictures, those that can be read."""
    scans = dataset_file.scans(settings.folders, settings.captions)
    return scans[0].images, scans[1].images


def build_data(
    settings: Settings,
    pictures: tuple[Sequence[TrainImage], Sequence[TrainImage]],
    seed: int,
    total_steps: int = 0,
) -> TrainingData:
    """The pictures as batches; regularisation pictures are repeated to match.

    `total_steps` counts where captions grow over the run ("token_warmup_step" of a dataset file).
    """
    return TrainingData(
        images=with_matched(*pictures),
        datasets=datasets_of(settings),
        seed=seed,
        with_pixels=not caches_latents(settings),
        accumulate=settings.length.gradient_accumulation_steps * settings.machine.num_processes,
        total_steps=total_steps,
        workers=settings.images.max_data_loader_n_workers,
        persistent=settings.images.persistent_data_loader_workers,
        latent_factor=named_by(settings.model).latents.factor,
    )


def caches_latents(settings: Settings) -> bool:
    """Whether pictures are encoded once, before training ("Cache latents", also "… to disk")."""
    return settings.images.cache_latents or settings.images.cache_latents_to_disk


def load_base_model(settings: Settings, precision: Precision, emit: Emit) -> BaseModel:
    """The base model that the settings name, opened. Raises UserError."""
    float8 = settings.machine.fp8_base and pick_device().type != "mps"
    if settings.machine.fp8_base and not float8:
        notify(emit, Message("core.no_fp8_on_mps"))
    model = open_model(
        settings.model,
        settings.captions,
        settings.noise,
        settings.loss,
        dtype=precision.dtype,
        float8=float8,
    )
    for notice in model.notices:
        notify(emit, notice)
    return model


def _build_network(settings: Settings, model: BaseModel, emit: Emit) -> Network:
    half = {"full_fp16": torch.float16, "full_bf16": torch.bfloat16}
    full = [dtype for key, dtype in half.items() if settings.get(key)]
    network = build_network(
        model,
        settings.network,
        train_unet=trains_unet(settings.optimizer),
        train_text_encoder=[rate > 0 for rate in text_rates(settings.optimizer)],
        dtype=full[0] if full else torch.float32,
    )
    for notice in network.notices:
        notify(emit, notice)
    return network


def _build_optimizer(
    settings: Settings, network: Network, device: torch.device, emit: Emit
) -> torch.optim.Optimizer:
    chosen = settings.optimizer
    groups = network.groups(
        unet_lr=unet_rate(chosen),
        text_encoder_lr=text_rates(chosen),
        unet_plus=chosen.loraplus_unet_lr_ratio or chosen.loraplus_lr_ratio,
        text_encoder_plus=chosen.loraplus_text_encoder_lr_ratio or chosen.loraplus_lr_ratio,
    )
    optimizer, notice = build_optimizer(chosen, groups, device)
    if notice:
        notify(emit, notice)
    return optimizer


def _cache_latents(
    settings: Settings,
    model: BaseModel,
    data: TrainingData,
    plan: Plan,
    device: torch.device,
    job: JobFolder,
    emit: Emit,
) -> latent_cache.CachedLatents | None:
    chosen = settings.images
    if not caches_latents(settings):
        return None
    move(model.vae, device)
    store = None
    if chosen.cache_latents_to_disk:
        folder = default_workspace() / "latents"
        store = latent_cache.Store(folder, model.latent_space(), check_content=not chosen.skip_cache_check)
    cached = latent_cache.cache_latents(
        model,
        [(image.path, fit) for image, fit in zip(data.images, data.fits, strict=True)],
        batch_size=chosen.vae_batch_size or min(dataset.batch_size for dataset in data.datasets),
        flip=[subset_of(data.datasets, image).flip_aug for image in data.images],
        store=store,
        progress=lambda done, total: emit(Phase("cache_latents", done, total)),
        stop_requested=job.stop_requested,
    )
    if store:
        for code, count in (
            ("training.latents_not_kept", cached.unkept),
            ("training.latents_damaged", cached.damaged),
        ):
            if count:
                emit(Notice(code, {"count": count, "folder": str(store.folder)}, "warning"))
        values = {
            "reused": len(cached.latents) - cached.encoded,
            "encoded": cached.encoded,
            "stale": cached.stale,
        }
        emit(Notice("training.latents_cached", values))
    if not plan.sample_steps:
        model.free("vae")
    return cached


def _place(model: BaseModel, device: torch.device, *, keep_vae: bool, keep_texts: bool) -> None:
    """Put the model where it trains: the VAE and the text encoders only where the loop asks them.

    What was let go is not read again for that.
    """
    move(model.denoiser, device)
    for module in model.text_encoders if keep_texts else ():
        move(module, device)
    if keep_vae or model.holds("vae"):
        move(model.vae, device if keep_vae else torch.device("cpu"))


def move(module: torch.nn.Module, device: torch.device) -> None:
    """Put a module on a device (diffusers' own `.to` confuses type checkers)."""
    module.to(device)


def caption_encoder(
    settings: Settings,
    model: BaseModel,
    device: torch.device,
    *,
    learning: bool,
    keep_on_disk: bool = False,
) -> CaptionEncoder:
    """Texts as the settings want them encoded ("Clip skip", "Max Token Length", …).

    `keep_on_disk`: where "Cache text encoder outputs" says so.
    """
    pad, wanted = not settings.captions.no_token_padding, matters(TEXTS_ON_DISK, settings.flat())
    keep_on_disk = keep_on_disk and wanted and settings.captions.sdxl_cache_text_encoder_outputs
    store = None
    if keep_on_disk and pad and not learning:
        store = TextStore(default_workspace() / "texts", model.text_space())
    return CaptionEncoder(model, device, pad, learning, store)


def cache_texts(
    settings: Settings,
    captions: CaptionEncoder,
    data: TrainingData,
    plan: Plan,
    done: int,
    exchange: Exchange,
    precision: Precision,
    job: JobFolder,
    emit: Emit,
) -> None:
    """Read all that this process will be told, and let the text encoders go; not while one of them learns.

    `done`: the steps that the run has behind it.
    """
    if captions.learning or not captions.pad:
        return
    begin = position_at(done, plan.batches_per_epoch, plan.accumulation)
    for encoder in captions.model.text_encoders:
        move(encoder, captions.device)
    groups = groups_from(begin, plan.batches_per_epoch, data.accumulate, plan.total_steps)
    drawn = (
        text
        for group in groups
        for number in group.batches[exchange.share]
        for text in data.captions(group.epoch, number)
    )
    drawing = prompts(settings.sampling.sample_prompts) if plan.sample_steps and exchange.is_main else ()
    samples = [text for prompt in drawing for text in (prompt.prompt, prompt.negative)]
    prepared = captions.prepare(
        chain(samples, drawn),
        captions.model.text_bytes(precision.dtype),
        progress=lambda done, total: emit(Phase("cache_texts", done, total)),
        stop_requested=job.stop_requested,
    )
    if prepared is None:
        room = max(captions.limit, captions.store.room() if captions.store else 0)
        emit(Notice("training.texts_too_many", {"room": f"{room / 1e9:.1f} GB"}))
    elif store := captions.store:
        if prepared.unkept:
            unkept = {"count": prepared.unkept, "folder": str(store.folder)}
            emit(Notice("training.texts_not_kept", unkept, "warning"))
        encoded = prepared.texts - prepared.reused
        emit(Notice("training.texts_cached", {"reused": prepared.reused, "encoded": encoded}))


def _build_keeper(
    settings: Settings,
    facts: dict[str, Any],
    network: Network,
    optimizer: Any,
    lr_scheduler: Any,
    accelerator: Accelerator,
    job: JobFolder,
    emit: Emit,
) -> StateKeeper:
    return StateKeeper(
        network=network,
        optimizer=optimizer,
        lr_scheduler=lr_scheduler,
        scaler=accelerator.scaler,
        facts=facts,
        safety_folder=job.safety_state,
        every_seconds=settings.saving.safety_state_minutes * 60,
        emit=emit,
    )


def _build_saver(
    settings: Settings,
    plan: Plan,
    network: Network,
    facts: RunFacts,
    keeper: StateKeeper,
    emit: Emit,
    own: OwnFiles,
) -> Saver:
    return Saver(
        network=network,
        plan=plan,
        output_dir=Path(settings.folders.output_dir),
        extension=f".{settings.saving.save_model_as}",
        dtype=DTYPES[settings.saving.save_precision],
        metadata=lambda position: redacted(build_metadata(facts, position)),
        keeper=keeper,
        with_state=settings.saving.save_state,
        state_at_end=settings.saving.save_state or settings.saving.save_state_on_train_end,
        emit=emit,
        uploader=Uploader(settings.saving, emit),
        own=own,
    )


def _build_sampler(  # a sampler is made of many parts
    settings: Settings,
    plan: Plan,
    model: BaseModel,
    captions: CaptionEncoder,
    network: Network,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    job: JobFolder,
    emit: Emit,
) -> SampleMaker:
    @contextmanager
    def inference() -> Iterator[None]:
        training, vae_home = model.denoiser.training, next(model.vae.parameters()).device
        network.eval()
        model.denoiser.eval()
        move(model.vae, accelerator.device)
        try:
            with accelerator.autocast(), finished_weights(optimizer):
                yield
        finally:
            network.train()
            model.denoiser.train(training)
            move(model.vae, vae_home)

    return SampleMaker(
        model=model,
        prompts=prompts(settings.sampling.sample_prompts),
        steps=frozenset(plan.sample_steps),
        sampler=settings.sampling.sample_sampler,
        seed=0,
        encode=captions.for_sample,
        inference=inference,
        folder=job.samples,
        emit=emit,
        interrupted=job.stop_requested,
    )
