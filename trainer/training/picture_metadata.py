"""What a LoRA file tells about the pictures: folders, buckets, tags, a dataset file's datasets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.data.datasets import Dataset, Subset, fit_of
from trainer.data.folders import TrainImage


@dataclass(frozen=True)
class TrainedPictures:
    """The pictures of a run and their rules."""

    datasets: Sequence[Dataset]
    images: Sequence[TrainImage]
    """Training and regularisation pictures, the latter as often as they are matched."""

    def of(self, number: int) -> TrainedPictures:
        """Those of one dataset."""
        return TrainedPictures(self.datasets, [image for image in self.images if image.subset[0] == number])

    @property
    def plain(self) -> list[TrainImage]:
        """Without regularisation pictures."""
        return [image for image in self.images if not image.is_reg]

    @property
    def once(self) -> list[TrainImage]:
        """Regularisation pictures only once, however often they are matched."""
        return [*self.plain, *{image.path: image for image in self.images if image.is_reg}.values()]


def picture_entries(learned: TrainedPictures) -> dict[str, Any]:
    """Folders by name, buckets, and how often each tag occurs; with a dataset file its datasets too."""
    first = learned.datasets[0]
    entries: dict[str, Any] = {
        "ss_num_train_images": sum(image.repeats for image in learned.plain),
        "ss_num_reg_images": sum(image.repeats for image in learned.images if image.is_reg),
        "ss_num_validation_images": 0,
        "ss_resolution": first.rule.resolution,
        "ss_dataset_dirs": _as_json(_folders(learned.plain)),
        "ss_reg_dataset_dirs": _as_json(_folders([image for image in learned.once if image.is_reg])),
        "ss_tag_frequency": _as_json(_tag_frequency(learned.once)),
        "ss_bucket_info": _as_json(_bucket_info(learned) if first.images.enable_bucket else None),
    }
    if first.name:
        entries["ss_datasets"] = _as_json([_dataset(learned, at) for at in range(len(learned.datasets))])
    return entries


def by_dataset_file(datasets: Sequence[Dataset], accumulation: int) -> tuple[dict[str, Any], set[str]]:
    """Where a dataset file names them: entries that hold for all pictures, and those that hold for some only.

    `accumulation`: batches per step of one process.
    """
    tables = [
        {**_sizes(dataset, accumulation), **_changes(subset)}
        for dataset in datasets
        for subset in dataset.subsets
        if dataset.name
    ]
    values = {key: [table[key] for table in tables] for key in tables[0]} if tables else {}
    same = {key: own[0] for key, own in values.items() if all(one == own[0] for one in own)}
    different = set(values) - set(same)
    return same, different | ({"ss_bucket_info"} if len(datasets) > 1 else set())


def _sizes(dataset: Dataset, accumulation: int) -> dict[str, Any]:
    named = ("enable_bucket", "min_bucket_reso", "max_bucket_reso", "bucket_no_upscale", "prior_loss_weight")
    return {
        "ss_resolution": dataset.rule.resolution,
        "ss_batch_size_per_device": dataset.batch_size,
        "ss_total_batch_size": dataset.batch_size * accumulation,
        **{f"ss_{key}": dataset.settings[key] for key in named},
    }


def _changes(subset: Subset) -> dict[str, Any]:
    return {
        **{f"ss_{key}": value for key, value in subset.settings.items()},
        "ss_caption_tag_dropout_rate": subset.captions.tag_dropout_rate,
    }


def _bucket_info(learned: TrainedPictures) -> dict[str, Any]:
    sizes = [fit_of(learned.datasets, image).bucket for image in learned.plain]
    counts: Counter[tuple[int, int]] = Counter()
    for size, image in zip(sizes, learned.plain, strict=True):
        # As they are trained, not as they lie on disk.
        counts[size] += image.repeats
    buckets = {
        str(index): {"resolution": list(size), "count": counts[size]}
        for index, size in enumerate(sorted(counts))
    }
    errors = [
        abs(size[0] / size[1] - image.width / image.height)
        for size, image in zip(sizes, learned.plain, strict=True)
    ]
    return {"buckets": buckets, "mean_img_ar_error": sum(errors) / max(1, len(errors))}


def _dataset(learned: TrainedPictures, number: int) -> dict[str, Any]:
    """A dataset as sd-scripts tells of it in `ss_datasets`."""
    dataset, own = learned.datasets[number], learned.of(number)
    images = dataset.images
    return {
        "is_dreambooth": True,
        "batch_size_per_device": dataset.batch_size,
        "num_train_images": sum(image.repeats for image in own.plain),
        "num_reg_images": sum(image.repeats for image in own.images if image.is_reg),
        "resolution": list(dataset.rule.resolution),
        "enable_bucket": images.enable_bucket,
        "min_bucket_reso": images.min_bucket_reso if images.enable_bucket else None,
        "max_bucket_reso": images.max_bucket_reso if images.enable_bucket else None,
        "tag_frequency": _tag_frequency(own.once),
        "bucket_info": _bucket_info(own) if images.enable_bucket else None,
        "subsets": [
            _subset(subset, [image for image in own.once if image.subset[1] == at])
            for at, subset in enumerate(dataset.subsets)
        ],
    }


def _subset(subset: Subset, images: Sequence[TrainImage]) -> dict[str, Any]:
    rule = subset.captions
    first = images[0] if images else None
    return {
        "img_count": len(images),
        "num_repeats": first.repeats if first else 0,
        "color_aug": subset.color_aug,
        "flip_aug": subset.flip_aug,
        "random_crop": subset.random_crop,
        "shuffle_caption": rule.shuffle,
        "keep_tokens": rule.keep_tokens,
        "keep_tokens_separator": rule.keep_tokens_separator,
        "secondary_separator": rule.secondary_separator or None,
        "enable_wildcard": rule.enable_wildcard,
        "caption_prefix": rule.prefix or None,
        "caption_suffix": rule.suffix or None,
        "image_dir": first.folder if first else None,
        "class_tokens": first.class_tokens if first else None,
        "is_reg": bool(first and first.is_reg),
    }


def _folders(images: Sequence[TrainImage]) -> dict[str, dict[str, int]]:
    """Folder -> repeats and pictures; one of several of a name gets a number, as in sd-scripts."""
    counts = Counter((image.subset, image.folder, image.repeats) for image in images)
    folders: dict[str, dict[str, int]] = {}
    for (_, folder, repeats), count in counts.items():
        name, number = folder, 2
        # Two folders of one name in different places.
        while name in folders:
            name, number = f"{folder} ({number})", number + 1
        folders[name] = {"n_repeats": repeats, "img_count": count}
    return folders


def _tag_frequency(images: Sequence[TrainImage]) -> dict[str, dict[str, int]]:
    """Folder -> tag -> number of pictures."""
    frequency: dict[str, Counter[str]] = {}
    # Each picture once, however many repeats or folders show it.
    for image in {(image.path, image.is_reg): image for image in images}.values():
        tags = [tag.strip().lower() for tag in image.caption.split(",")]
        frequency.setdefault(image.folder, Counter()).update(tag for tag in tags if tag)
    return {folder: dict(tags) for folder, tags in frequency.items()}


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)
