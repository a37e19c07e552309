"""Checks of sizes, buckets and changes to the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainer.data.buckets import Fit, Size, SizeTooLargeError, resolution
from trainer.data.datasets import Dataset, Subset
from trainer.data.folders import FolderScan, TrainImage
from trainer.families.family import Family
from trainer.preflight.dataset_file import of_file
from trainer.problems import Problem, block, hint, some_names
from trainer.settings import LONGEST_SIDE, Images

USUAL_STEP = 64
ENLARGED = 2.0
CUT = 0.4


def no_buckets_possible(datasets: Sequence[Dataset], family: Family) -> bool:
    """Whether there can be no buckets with these settings."""
    return any(problem.blocks for dataset in datasets for problem in check_sizes(dataset.images, family))


def check(datasets: Sequence[Dataset], pictures: Sequence[TrainImage], family: Family) -> Iterator[Problem]:
    """Problems of the sizes and changes, and of the pictures under them."""
    for number, dataset in enumerate(datasets):
        sizes = list(check_sizes(dataset.images, family))
        yield from (of_file(problem, dataset) for problem in sizes)
        for subset in dataset.subsets:
            yield from (of_file(problem, subset) for problem in _check_changes(dataset.images, subset))
        own = [picture for picture in pictures if picture.subset[0] == number]
        if own and not any(problem.blocks for problem in sizes):
            yield from (of_file(problem, dataset) for problem in _check_fits(dataset, own))


def check_sizes(images: Images, family: Family) -> Iterator[Problem]:
    """Max resolution and the bucket settings. Sides must be whole latents of the family's models."""
    latent = family.latents.factor
    try:
        width, height = resolution(images.max_resolution)
    except SizeTooLargeError:
        values = {"value": images.max_resolution, "most": f"{LONGEST_SIDE:,}"}
        yield block("max_resolution", "preflight.resolution_large", {"max_resolution": "512,512"}, **values)
        return
    except ValueError:
        fix = {"max_resolution": "512,512"}
        yield block("max_resolution", "preflight.resolution_form", fix, value=images.max_resolution)
        return
    if min(width, height) < 64:
        larger = f"{max(64, width)},{max(64, height)}"
        yield block("max_resolution", "preflight.resolution_small", {"max_resolution": larger}, fixed=larger)
    elif not images.enable_bucket and (width % latent or height % latent):
        fixed = f"{width // latent * latent},{height // latent * latent}"
        values = {"value": images.max_resolution, "fixed": fixed, "latent": latent}
        yield block("max_resolution", "preflight.resolution_multiple", {"max_resolution": fixed}, **values)
    elif images.enable_bucket:
        yield from _check_buckets(images, (width, height), family)


def _check_buckets(images: Images, size: Size, family: Family) -> Iterator[Problem]:
    step, latent = images.bucket_reso_steps, family.latents.factor
    if step % latent:
        fix = {"bucket_reso_steps": USUAL_STEP}
        yield block("bucket_reso_steps", "preflight.steps_multiple", fix, value=step, latent=latent)
        return
    if step > min(size):
        yield block(
            "bucket_reso_steps", "preflight.steps_large", {"bucket_reso_steps": USUAL_STEP}, value=step
        )
        return
    if step % USUAL_STEP and family.bucket_step == latent:  # others: see the module `family`
        yield hint(
            "bucket_reso_steps", "preflight.steps_small", {"bucket_reso_steps": USUAL_STEP}, value=step
        )
    if images.bucket_no_upscale:
        return
    low, high = min(size), max(size)
    if images.min_bucket_reso > low:
        values = {"value": images.min_bucket_reso, "side": low}
        yield block("min_bucket_reso", "preflight.min_bucket", {"min_bucket_reso": _at_most(low)}, **values)
    elif images.min_bucket_reso < step:
        values = {"value": images.min_bucket_reso, "step": step}
        yield block("min_bucket_reso", "preflight.min_bucket_step", {"min_bucket_reso": step}, **values)
    if images.max_bucket_reso < high:
        values = {"value": images.max_bucket_reso, "side": high}
        fix = {"max_bucket_reso": max(2048, -(-high // USUAL_STEP) * USUAL_STEP)}
        yield block("max_bucket_reso", "preflight.max_bucket", fix, **values, fixed=fix["max_bucket_reso"])


def _at_most(side: int) -> int:
    return min(256, side // USUAL_STEP * USUAL_STEP) or side


def _check_changes(images: Images, subset: Subset) -> Iterator[Problem]:
    """Caching against changes that must be made anew each time."""
    if not (images.cache_latents or images.cache_latents_to_disk):
        return
    fix = {"cache_latents": False, "cache_latents_to_disk": False}
    if subset.color_aug:
        yield block("color_aug", "preflight.cached_color", fix)
    if subset.random_crop:
        yield block("random_crop", "preflight.cached_crop", fix)


def _check_fits(dataset: Dataset, pictures: Sequence[TrainImage]) -> Iterator[Problem]:
    """Pictures that become blurred or lose much on their way into a bucket."""
    rule = dataset.rule
    fits: dict[Size, Fit] = {}
    for picture in pictures:
        size = picture.width, picture.height
        if size not in fits:
            fits[size] = rule.fit(*size)
    small = [p for p in pictures if fits[p.width, p.height].resized[0] > ENLARGED * p.width]
    cut = [p for p in pictures if _lost(fits[p.width, p.height]) > CUT]
    if small:
        listed = some_names([f"{p.folder}/{p.path.name} ({p.width} × {p.height})" for p in small])
        key = "dataset_config" if dataset.name else "train_data_dir"
        yield hint(key, "preflight.pictures_small", count=f"{len(small):,}", names=listed)
    if cut:
        listed = some_names([f"{p.folder}/{p.path.name} ({p.width} × {p.height})" for p in cut])
        fix = None if dataset.images.enable_bucket else {"enable_bucket": True}
        yield hint("enable_bucket", "preflight.pictures_cut", fix, count=f"{len(cut):,}", names=listed)


def _lost(fit: Fit) -> float:
    """Share of the scaled picture that is cropped away."""
    return 1 - fit.bucket[0] * fit.bucket[1] / (fit.resized[0] * fit.resized[1])


def check_masks(images: Images, datasets: Sequence[Dataset], pictures: FolderScan) -> Iterator[Problem]:
    """ "Masked loss" needs masks: see-through pictures, or a folder of masks."""
    if not images.masked_loss or not pictures.images or pictures.transparent:
        return
    if not any(subset.mask_folder for dataset in datasets for subset in dataset.subsets):
        yield hint("masked_loss", "preflight.no_masks", {"masked_loss": False})
