"""Latents: the VAE's sample, cached in memory and on disk, stale files noticed."""

from __future__ import annotations

import stat
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save_file

from tests.checkpoints import model_of
from tests.trainer.made import picture
from trainer.data.buckets import BucketRule, Fit
from trainer.data.picture_files import read_picture_header
from trainer.data.pixels import fitted, to_input
from trainer.errors import StopRequested, UserError
from trainer.models.parts import weights_fingerprint
from trainer.models.sd import StableDiffusion
from trainer.training.latent_cache import Store, cache_latents, numbers_hash

RULE = BucketRule((64, 64), True, 32, 128, 32)


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    """A tiny VAE of the real kind: factor 8, 4 channels."""
    torch.manual_seed(0)
    return tiny_vae()


def tiny_vae() -> AutoencoderKL:
    sizes: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8,) * 4,
    }
    return (
        AutoencoderKL(3, 3, norm_num_groups=4, latent_channels=4, **sizes)
        .eval()
        .requires_grad_(requires_grad=False)
    )


@pytest.fixture(scope="module")
def model(vae: AutoencoderKL) -> StableDiffusion:
    """A model that has this VAE and no other part."""
    return model_of(None, vae, [])


@pytest.fixture
def pictures(tmp_path: Path) -> list[tuple[Path, Fit]]:
    sizes = [(64, 64), (96, 48), (64, 64), (80, 80), (48, 96)]
    found = []
    for number, size in enumerate(sizes):
        path = picture(tmp_path / "img" / f"{number}.png", size)
        path.write_bytes(path.read_bytes() + bytes([number]))  # equal pictures, other files
        header = read_picture_header(path)
        found.append((path, RULE.fit(header.width, header.height)))
    return found


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_latents_are_a_sample_scaled_for_the_unet(vae, model):
    pixels = torch.rand(2, 3, 64, 32) * 2 - 1
    torch.manual_seed(5)
    found = model.encode_latents(pixels)
    torch.manual_seed(5)
    posterior = vae.encode(pixels).latent_dist
    expected = (posterior.mean + posterior.std * torch.randn(2, 4, 8, 4)) * vae.config["scaling_factor"]
    assert found.shape == (2, 4, 8, 4)
    assert torch.allclose(found, expected)
    assert not torch.allclose(found, posterior.mean * vae.config["scaling_factor"])


def test_latents_lie_in_memory_like_recorded_ones(model):
    """Noise like them is drawn in the order in which they lie, so the order must not vary."""
    assert model.encode_latents(torch.rand(2, 3, 64, 96)).is_contiguous()


def test_given_noise_picks_the_sample_and_draws_nothing(vae, model):
    before = torch.get_rng_state()
    noise = torch.zeros(1, 4, 8, 8)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = model.encode_latents(pixels, noise)
    assert torch.allclose(found, vae.encode(pixels).latent_dist.mean * vae.config["scaling_factor"])
    assert torch.equal(torch.get_rng_state(), before)


def test_an_answer_that_is_no_number_is_told(model):
    with pytest.raises(UserError) as caught:
        model.encode_latents(torch.full((1, 3, 64, 64), float("nan")))
    assert caught.value.setting == "sdxl_no_half_vae"


def test_memory_holds_each_picture_in_its_bucket(model, pictures):
    cached = cache_latents(model, pictures, batch_size=2)
    shapes = [tuple(latents.shape) for latents in cached.latents]
    assert shapes == [(4, fit.bucket[1] // 8, fit.bucket[0] // 8) for _, fit in pictures]
    assert (cached.encoded, cached.flipped) == (5, [])
    batch = cached.batch([0, 2])
    assert torch.equal(batch[1], cached.latents[2])


def test_latents_do_not_depend_on_batch_size_order_or_the_generator(model, pictures):
    one = cache_latents(model, pictures, batch_size=1).latents
    torch.manual_seed(99)
    other = cache_latents(model, pictures[::-1], batch_size=4).latents[::-1]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))


def test_caching_leaves_the_global_generator_alone(model, pictures):
    before = torch.get_rng_state()
    cache_latents(model, pictures, batch_size=2, flip=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_flipped_latents_are_those_of_the_mirrored_picture(vae, model, pictures):
    cached = cache_latents(model, pictures[:1], batch_size=1, flip=True)
    path, fit = pictures[0]
    mirrored = torch.from_numpy(to_input(fitted(path, fit, flip=True)))[None]
    mean = vae.encode(mirrored).latent_dist.mean[0] * vae.config["scaling_factor"]
    std = vae.encode(mirrored).latent_dist.std[0] * vae.config["scaling_factor"]
    assert ((cached.flipped[0] - mean).abs() <= 6 * std).all()
    assert torch.equal(cached.batch([0], [True])[0], cached.flipped[0])
    assert not torch.equal(cached.batch([0], [True]), cached.batch([0], [False]))


def test_the_disk_gives_the_same_latents_without_encoding(vae, model, pictures, tmp_path):
    store = Store(tmp_path / "cache", weights_fingerprint(vae))
    plain = cache_latents(model, pictures, batch_size=2, flip=True)
    first = cache_latents(model, pictures, batch_size=2, flip=True, store=store)
    again = cache_latents(model, pictures, batch_size=3, flip=True, store=store)
    assert (first.encoded, again.encoded, again.stale) == (5, 0, 0)
    assert equal(plain.latents + plain.flipped, first.latents + first.flipped)
    assert equal(first.latents + first.flipped, again.latents + again.flipped)
    assert sorted(path.name for path in (tmp_path / "img").iterdir()) == [f"{n}.png" for n in range(5)]


@pytest.mark.skipif(sys.platform == "win32", reason="no such modes there")
def test_files_on_disk_can_be_read_by_others_and_leave_no_parts(model, pictures, tmp_path):
    cache_latents(model, pictures, batch_size=2, store=Store(tmp_path / "cache", "v"))
    files = list((tmp_path / "cache").iterdir())
    assert all(path.suffix == ".safetensors" for path in files)
    mask = (tmp_path / "img" / "0.png").stat().st_mode
    assert all(stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(mask) for path in files)


def test_a_changed_picture_is_noticed_and_encoded_again(model, pictures, tmp_path):
    store = Store(tmp_path / "cache", "v")
    before = cache_latents(model, pictures, batch_size=2, store=store)
    picture(pictures[0][0], (64, 64), "L")
    after = cache_latents(model, pictures, batch_size=2, store=store)
    assert (after.encoded, after.stale) == (1, 1)
    assert not torch.equal(before.latents[0], after.latents[0])
    assert equal(before.latents[1:], after.latents[1:])


def test_skip_cache_check_trusts_the_disk(model, pictures, tmp_path):
    before = cache_latents(model, pictures, batch_size=2, store=Store(tmp_path / "cache", "v"))
    picture(pictures[0][0], (64, 64), "L")
    trusting = Store(tmp_path / "cache", "v", check_content=False)
    assert equal(cache_latents(model, pictures, batch_size=2, store=trusting).latents, before.latents)


def test_another_vae_size_or_mirror_needs_latents_of_its_own(model, pictures, tmp_path):
    store = Store(tmp_path / "cache", "one")
    cache_latents(model, pictures, batch_size=2, store=store)
    assert cache_latents(model, pictures, batch_size=2, store=Store(tmp_path / "cache", "two")).encoded == 5
    smaller = [(path, Fit((32, 32), (64, 64))) for path, _ in pictures]
    assert cache_latents(model, smaller, batch_size=2, store=store).encoded == 5
    assert cache_latents(model, pictures, batch_size=2, flip=True, store=store).encoded == 5
    assert cache_latents(model, pictures, batch_size=2, store=store).encoded == 0


def data_of(content: bytes) -> int:
    """Where the numbers begin in a .safetensors file."""
    return 8 + int.from_bytes(content[:8], "little")


def flipped_bit(content: bytes) -> bytes:
    data = bytearray(content)
    data[-5] ^= 1
    return bytes(data)


DAMAGE = {
    "cut short": lambda content: content[:100],
    "numbers cut short": lambda content: content[:-7],
    "zeros behind the header": lambda content: content[: data_of(content)].ljust(len(content), b"\0"),
    "zeros at the end": lambda content: content[:-400].ljust(len(content), b"\0"),
    "all zeros": lambda content: bytes(len(content)),
    "empty": lambda content: b"",
    "one bit": flipped_bit,
    "numbers moved": lambda content: content[: data_of(content)] + content[data_of(content) :][::-1],
}


@pytest.mark.parametrize("trusting", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_noticed_and_made_anew(model, pictures, tmp_path, damage, trusting):
    """As a power cut or a bad disk leaves them; "Skip cache check" is about the pictures, not about this."""
    store = Store(tmp_path / "cache", "v", check_content=not trusting)
    before = cache_latents(model, pictures, batch_size=1, flip=True, store=store)
    for path, fit in pictures[:3]:
        place = store.path(path, fit)
        place.write_bytes(DAMAGE[damage](place.read_bytes()))
    after = cache_latents(model, pictures, batch_size=1, flip=True, store=store)
    assert (after.encoded, after.damaged, after.stale) == (3, 3, 0)
    assert equal(before.latents + before.flipped, after.latents + after.flipped)
    assert cache_latents(model, pictures, batch_size=1, flip=True, store=store).encoded == 0


ODD = {
    "bfloat16": lambda latents: latents.bfloat16(),
    "float64": lambda latents: latents.double(),
    "whole numbers": lambda latents: latents.to(torch.int8),
    "NaN": lambda latents: latents.clone().index_put_([torch.tensor(0)], torch.tensor(torch.nan)),
    "infinite": lambda latents: latents / 0,
    "another shape": lambda latents: latents[:, :2].contiguous(),
    "one number": lambda latents: latents.sum(),
}


@pytest.mark.parametrize("trusting", [False, True])
@pytest.mark.parametrize("kind", ODD)
def test_numbers_that_are_no_latents_are_made_anew(model, pictures, tmp_path, kind, trusting):
    """However right their hash is: they would end the run, or spoil it, as if a rate were wrong."""
    store = Store(tmp_path / "cache", "v", check_content=not trusting)
    before = cache_latents(model, pictures, batch_size=1, store=store)
    place = store.path(*pictures[0])
    with safe_open(place, "pt") as file:
        notes, odd = file.metadata(), ODD[kind](file.get_tensor("latents"))
    save_file({"latents": odd}, place, {**notes, "hash_latents": numbers_hash(odd.reshape(-1))})
    after = cache_latents(model, pictures, batch_size=1, store=store)
    assert (after.encoded, after.damaged) == (1, 1)
    assert equal(before.latents, after.latents)


@pytest.mark.parametrize("trusting", [False, True])
def test_a_file_that_says_nothing_of_itself_is_made_anew(model, pictures, tmp_path, trusting):
    """As another program writes it."""
    store = Store(tmp_path / "cache", "v", check_content=not trusting)
    before = cache_latents(model, pictures, batch_size=1, store=store)
    save_file({"latents": before.latents[0]}, store.path(*pictures[0]))
    after = cache_latents(model, pictures, batch_size=1, store=store)
    assert after.encoded == 1
    assert equal(before.latents, after.latents)


def test_files_of_a_version_without_hashes_are_made_anew(model, pictures, tmp_path):
    store = Store(tmp_path / "cache", "v")
    before = cache_latents(model, pictures, batch_size=2, store=store)
    for path in (tmp_path / "cache").iterdir():
        with safe_open(path, "pt") as file:
            kept, notes = {"latents": file.get_tensor("latents")}, file.metadata()
        save_file(kept, path, {key: text for key, text in notes.items() if not key.startswith("hash")})
    after = cache_latents(model, pictures, batch_size=2, store=store)
    assert (after.encoded, after.damaged) == (5, 0)
    assert equal(before.latents, after.latents)


def test_a_place_that_cannot_be_written_is_no_reason_to_stop(model, pictures, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    cached = cache_latents(model, pictures, batch_size=2, store=Store(tmp_path / "cache", "v"))
    assert cached.encoded == 5


def test_fingerprints_tell_vaes_apart(vae):
    assert weights_fingerprint(vae) == weights_fingerprint(vae)
    assert weights_fingerprint(vae) != weights_fingerprint(tiny_vae())
    assert weights_fingerprint(vae) != weights_fingerprint(deepcopy(vae).to(torch.bfloat16))


def test_stop_is_seen_between_batches_and_progress_told(model, pictures):
    told: list[tuple[int, int]] = []
    with pytest.raises(StopRequested):
        cache_latents(
            model,
            pictures,
            batch_size=1,
            progress=lambda done, total: told.append((done, total)),
            stop_requested=lambda: len(told) > 2,
        )
    assert told == [(0, 5), (1, 5), (2, 5)]


def test_pictures_of_one_bucket_are_encoded_together(vae, model, pictures, monkeypatch):
    sizes: list[int] = []
    real = vae.encode

    def counting(pixels):
        sizes.append(len(pixels))
        return real(pixels)

    monkeypatch.setattr(vae, "encode", counting)
    cache_latents(model, pictures, batch_size=8)
    assert sorted(sizes) == [1, 4]  # one tall picture, four that fit 64 × 64 or were cropped to it
