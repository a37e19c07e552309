"""What a run learns from, as rules: datasets (sizes, batch size), made of subsets (captions, changes).

Without a dataset file there is one dataset with one subset, by the settings. A dataset file's values go
before the settings; what it leaves open the settings say, as in sd-scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.data.buckets import BucketRule, Fit, resolution
from trainer.data.captions import CaptionRule
from trainer.data.dataset_file import (
    DatasetFile,
    DatasetFileError,
    Table,
    path_beside,
    read_dataset_file,
    size_text,
)
from trainer.data.folders import TrainImage, matched
from trainer.data.picture_files import is_picture
from trainer.settings import Captions, Images, Settings

BUCKET_KEYS = (
    "enable_bucket",
    "min_bucket_reso",
    "max_bucket_reso",
    "bucket_reso_steps",
    "bucket_no_upscale",
)


@dataclass(frozen=True)
class Subset:
    """What may change about a picture and its caption from one time to the next."""

    captions: CaptionRule = field(default_factory=CaptionRule)
    flip_aug: bool = False
    color_aug: bool = False
    random_crop: bool = False
    masked: bool = False
    """Only what a mask shows is learned."""
    mask_folder: Path | None = None
    """Masks of the pictures' names; None: the pictures' own opacity."""
    name: str = ""
    """As "datasets[0].subsets[1]" in a dataset file; "" where there is none."""
    says: frozenset[str] = frozenset()
    """Settings that the dataset file decides for it."""

    @property
    def settings(self) -> dict[str, Any]:
        """What holds for its pictures, by setting."""
        rule = self.captions
        return {
            "shuffle_caption": rule.shuffle,
            "keep_tokens": rule.keep_tokens,
            "caption_dropout_rate": rule.dropout_rate,
            "caption_dropout_every_n_epochs": rule.dropout_every_n_epochs,
            "flip_aug": self.flip_aug,
            "color_aug": self.color_aug,
            "random_crop": self.random_crop,
        }

    @property
    def in_effect(self) -> dict[str, Any]:
        """What is switched on, under a dataset file's names."""
        rule = self.captions
        found = {
            "shuffle_caption": rule.shuffle,
            "keep_tokens": rule.keep_tokens,
            "keep_tokens_separator": rule.keep_tokens_separator,
            "secondary_separator": rule.secondary_separator,
            "caption_separator": "" if rule.separator == "," else rule.separator,
            "enable_wildcard": rule.enable_wildcard,
            "caption_prefix": rule.prefix,
            "caption_suffix": rule.suffix,
            "caption_dropout_rate": rule.dropout_rate,
            "caption_dropout_every_n_epochs": rule.dropout_every_n_epochs,
            "caption_tag_dropout_rate": rule.tag_dropout_rate,
            "token_warmup_step": rule.token_warmup_step,
            "flip_aug": self.flip_aug,
            "color_aug": self.color_aug,
            "random_crop": self.random_crop,
            "alpha_mask": self.masked,
        }
        return {key: value for key, value in found.items() if value}


@dataclass(frozen=True)
class Dataset:
    """Pictures that are brought to sizes by one rule and learned in batches of one size."""

    images: Images
    """The sizes; where a dataset file says some of them, its values."""
    batch_size: int = 1
    prior_loss_weight: float = 1.0
    subsets: tuple[Subset, ...] = (Subset(),)
    name: str = ""
    """As "datasets[0]" in a dataset file; "" where there is none."""
    says: frozenset[str] = frozenset()
    """Settings that the dataset file decides for this dataset."""

    @property
    def settings(self) -> dict[str, Any]:
        """What holds for it, by setting."""
        sizes = {key: getattr(self.images, key) for key in ("max_resolution", *BUCKET_KEYS)}
        return {
            **sizes,
            "train_batch_size": self.batch_size,
            "prior_loss_weight": self.prior_loss_weight,
        }

    @cached_property
    def rule(self) -> BucketRule:
        """Which bucket a picture gets. Raises ValueError for a resolution that is no size."""
        return bucket_rule(self.images)


def bucket_rule(images: Images) -> BucketRule:
    """The rule of the settings. Raises ValueError for a Max resolution that is no size."""
    return BucketRule(
        resolution(images.max_resolution),
        images.enable_bucket,
        images.min_bucket_reso,
        images.max_bucket_reso,
        images.bucket_reso_steps,
        images.bucket_no_upscale,
    )


def datasets_of(settings: Settings) -> tuple[Dataset, ...]:
    """The datasets of a run, as its pictures' `subset` counts them; never none.

    A dataset file that cannot be used counts as none here: the checks tell of it.
    """
    if settings.folders.dataset_config:
        try:
            file = read_dataset_file(Path(settings.folders.dataset_config))
        except DatasetFileError:
            file = None
        if file and file.datasets:
            return tuple(_dataset(table, file, settings) for table in file.datasets)
    return (_by_settings(settings),)


def _by_settings(settings: Settings) -> Dataset:
    return Dataset(
        settings.images,
        settings.length.train_batch_size,
        settings.loss.prior_loss_weight,
        (_subset(Table("", {}), Path(), settings),),
    )


def _dataset(table: Table, file: DatasetFile, settings: Settings) -> Dataset:
    values = table.values
    sizes: dict[str, Any] = {key: values[key] for key in BUCKET_KEYS if key in values}
    if "resolution" in values:
        sizes["max_resolution"] = size_text(values["resolution"])
    return Dataset(
        settings.images.model_copy(update=sizes),
        values.get("batch_size", settings.length.train_batch_size),
        values.get("prior_loss_weight", settings.loss.prior_loss_weight),
        tuple(_subset(subset, file.path.parent, settings) for subset in table.subsets),
        table.name,
        table.says,
    )


def _subset(table: Table, base: Path, settings: Settings) -> Subset:
    values, images = table.values, settings.images
    masks = values.get("conditioning_data_dir") if images.masked_loss else None
    return Subset(
        caption_rule(settings.captions, values),
        values.get("flip_aug", images.flip_aug),
        values.get("color_aug", images.color_aug),
        values.get("random_crop", images.random_crop),
        bool(masks) or values.get("alpha_mask", images.masked_loss),
        path_beside(masks, base) if masks else None,
        table.name,
        table.says,
    )


def caption_rule(captions: Captions, values: Mapping[str, Any]) -> CaptionRule:
    """What happens to captions, by a subset's values before the settings."""
    return CaptionRule(
        shuffle=values.get("shuffle_caption", captions.shuffle_caption),
        keep_tokens=values.get("keep_tokens", captions.keep_tokens),
        dropout_rate=values.get("caption_dropout_rate", captions.caption_dropout_rate),
        dropout_every_n_epochs=values.get(
            "caption_dropout_every_n_epochs", captions.caption_dropout_every_n_epochs
        ),
        tag_dropout_rate=values.get("caption_tag_dropout_rate", 0.0),
        keep_tokens_separator=values.get("keep_tokens_separator", ""),
        secondary_separator=values.get("secondary_separator", ""),
        separator=values.get("caption_separator") or ",",
        prefix=values.get("caption_prefix", ""),
        suffix=values.get("caption_suffix", ""),
        enable_wildcard=values.get("enable_wildcard", False),
        token_warmup_step=values.get("token_warmup_step", 0),
        token_warmup_min=values.get("token_warmup_min", 1),
    )


def subset_of(datasets: Sequence[Dataset], image: TrainImage) -> Subset:
    """The rules of a picture."""
    dataset, subset = image.subset
    return datasets[dataset].subsets[subset]


def fit_of(datasets: Sequence[Dataset], image: TrainImage) -> Fit:
    """The bucket of a picture, in its dataset."""
    return datasets[image.subset[0]].rule.fit(image.width, image.height)


def with_matched(images: Sequence[TrainImage], reg_images: Sequence[TrainImage]) -> list[TrainImage]:
    """All pictures of a run; regularisation pictures are repeated to match those of their own dataset."""
    everything = list(images)
    for number in sorted({image.subset[0] for image in reg_images}):
        learned = sum(image.repeats for image in images if image.subset[0] == number)
        everything += matched([image for image in reg_images if image.subset[0] == number], learned)
    return everything


def mask_files(datasets: Sequence[Dataset], images: Sequence[TrainImage]) -> list[Path | None]:
    """Each picture's mask in the folder that its subset names; None: there is none."""
    masks: dict[Path, dict[str, Path]] = {}
    for folder in {subset.mask_folder for dataset in datasets for subset in dataset.subsets}:
        with suppress(OSError):  # closed to this account: as one that is not there
            if folder and folder.is_dir():
                found = (path for path in sorted(folder.iterdir()) if is_picture(path.name))
                masks[folder] = {path.stem: path for path in found}
    folders = [subset_of(datasets, image).mask_folder for image in images]
    return [
        masks.get(folder, {}).get(image.path.stem) if folder else None
        for image, folder in zip(images, folders, strict=True)
    ]
