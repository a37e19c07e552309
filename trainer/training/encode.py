"""Second stage of a run: the base model, and what of it is needed only once.

Text encoders read the texts, the VAE encodes the pictures, and each is let go before the next part is read:
so they never lie in memory beside the denoiser and what its training needs. A part that is asked again later
(the VAE, for a sample picture) is read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from trainer import settings as schema
from trainer.data.datasets import subset_of
from trainer.events import Notice, Phase
from trainer.families.table import named_by
from trainer.files.job_folder import default_workspace
from trainer.messages import Message
from trainer.models.base import BaseModel
from trainer.models.load import open_model
from trainer.models.opening import Opening
from trainer.plan.memory import kept_base
from trainer.plan.rates import trains_text_encoder
from trainer.plan.sample_prompts import prompts
from trainer.settings import Settings, matters
from trainer.training import judging, latent_cache
from trainer.training.position import groups_from
from trainer.training.prepare import Computing, Emit, Run, caches_latents, notify
from trainer.training.text_cache import CaptionEncoder, TextStore

TEXTS_ON_DISK = "sdxl_cache_text_encoder_outputs"


@dataclass(frozen=True)
class Encoded:
    """The base model with what its encoders have made of texts and pictures."""

    model: BaseModel
    captions: CaptionEncoder
    latents: latent_cache.CachedLatents | None
    """None: pictures are encoded while it trains."""
    judged: judging.JudgedPictures
    """By which the run is judged."""


def encode(run: Run) -> Encoded:
    """Open the base model, read the texts, encode the pictures. Raises UserError and StopRequested."""
    settings, computing = run.settings, run.computing
    run.emit(Phase("load_model"))
    model = open_base_model(settings, computing, run.emit)
    learning = trains_text_encoder(settings.optimizer)
    captions = caption_encoder(settings.captions, model, run.device, learning=learning)
    # While an encoder learns, a text kept on disk would be that of another encoder.
    captions.store = None if learning else _text_store(settings, model)
    # Texts of one length only: without padding a text's embeddings depend on its batch.
    if not captions.learning and captions.pad:
        with computing.autocast():  # as in the loop
            cache_texts(run, captions)
    # Texts first: the encoders are gone before the VAE is read.
    latents = cache_pictures(run, model) if caches_latents(settings.images) else None
    # While the VAE is there: the kept-back pictures are encoded once, too.
    judged = judging.see(model, run.data.datasets, run.material)
    if latents:
        model.free("vae")
    # Not cached: the VAE stays, since every batch asks it. The denoiser is read by the next stage.
    return Encoded(model, captions, latents, judged)


def caption_encoder(
    captions: schema.Captions, model: BaseModel, device: torch.device, *, learning: bool
) -> CaptionEncoder:
    """Texts as the settings want them read; `learning`: a text encoder is trained."""
    return CaptionEncoder(model, device, pad=not captions.no_token_padding, learning=learning)


def open_base_model(settings: Settings, computing: Computing, emit: Emit) -> BaseModel:
    """The base model that the settings name, no part of it read yet. Raises UserError."""
    machine = settings.machine
    kept = kept_base(machine)
    # Apple's GPU has no float8.
    if kept == "float8" and computing.device.type == "mps":
        kept = "int8"
        notify(emit, Message("core.no_fp8_on_mps"))
    opening = Opening(
        settings.model,
        settings.captions,
        settings.noise,
        settings.loss,
        dtype=computing.precision.dtype,
        small_weights=kept,
        device=computing.device,
    )
    model = open_model(opening)
    for notice in model.notices:
        notify(emit, notice)
    return model


def _text_store(settings: Settings, model: BaseModel) -> TextStore | None:
    """Where texts are kept from run to run, as "Cache text encoder outputs" says."""
    wanted = settings.captions.sdxl_cache_text_encoder_outputs and matters(TEXTS_ON_DISK, settings.flat())
    if not wanted or settings.captions.no_token_padding:
        return None
    return TextStore(default_workspace() / "texts", model.text_space())


def cache_texts(run: Run, captions: CaptionEncoder) -> None:
    """Read all that this process will be told, and let the text encoders go."""
    prepared = captions.prepare(
        _texts(run),
        captions.model.text_bytes(run.computing.precision.dtype),
        progress=lambda done, total: run.emit(Phase("cache_texts", done, total)),
        stop_requested=run.job.stop_requested,
    )
    store = captions.store
    if prepared is None:
        room = max(captions.limit, store.room() if store else 0)
        run.emit(Notice("training.texts_too_many", {"room": f"{room / 1e9:.1f} GB"}))
    elif store:
        if prepared.unkept:
            unkept = {"count": prepared.unkept, "folder": str(store.folder)}
            run.emit(Notice("training.texts_not_kept", unkept, "warning"))
        encoded = prepared.texts - prepared.reused
        run.emit(Notice("training.texts_cached", {"reused": prepared.reused, "encoded": encoded}))


def _texts(run: Run) -> Iterator[str]:
    """Texts of judging and of sample pictures; then the captions, as the seed will shuffle and drop them."""
    yield from run.material.texts
    # Only the first process draws samples.
    if run.plan.sample_steps and run.exchange.is_main:
        for prompt in prompts(run.settings.sampling.sample_prompts, named_by(run.settings.model)):
            yield from (prompt.prompt, prompt.negative)
    plan = run.plan
    for group in groups_from(run.start, plan.batches_per_epoch, run.data.accumulate, plan.total_steps):
        # Only this process's share: the others read theirs.
        for number in group.batches[run.exchange.share]:
            yield from run.data.captions(group.epoch, number)


def cache_pictures(run: Run, model: BaseModel) -> latent_cache.CachedLatents:
    """Encode all pictures that are not on disk yet."""
    images, data = run.settings.images, run.data
    store = _latent_store(images, model)
    cached = latent_cache.cache_latents(
        model,
        [(image.path, fit) for image, fit in zip(data.images, data.fits, strict=True)],
        # Of several datasets the smallest batch: that is what surely fits.
        batch_size=images.vae_batch_size or min(dataset.batch_size for dataset in data.datasets),
        flip=[subset_of(data.datasets, image).flip_aug for image in data.images],
        store=store,
        progress=lambda done, total: run.emit(Phase("cache_latents", done, total)),
        stop_requested=run.job.stop_requested,
    )
    if store:
        _tell_of_store(cached, store, run.emit)
    return cached


def _latent_store(images: schema.Images, model: BaseModel) -> latent_cache.Store | None:
    """Where latents are kept from run to run, as "Cache latents to disk" says."""
    if not images.cache_latents_to_disk:
        return None
    folder = default_workspace() / "latents"
    return latent_cache.Store(folder, model.latent_space(), check_content=not images.skip_cache_check)


def _tell_of_store(cached: latent_cache.CachedLatents, store: latent_cache.Store, emit: Emit) -> None:
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
