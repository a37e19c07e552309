"""Texts are read once before a run: all that the seed draws, in memory and on disk; then the encoders go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.made import image_folder
from tests.trainer.runs import events, run, short_settings, trained
from tests.trainer.tiny import fresh_model
from trainer.errors import StopRequested
from trainer.events import Notice, Phase
from trainer.files.job_folder import JobFolder
from trainer.models.base import Conditioning
from trainer.models.sd import StableDiffusion
from trainer.plan.inputs import read_inputs
from trainer.training import build as builders
from trainer.training import text_cache
from trainer.training.position import Position, groups_from
from trainer.training.text_cache import CaptionEncoder, TextStore

CPU = torch.device("cpu")
VARIED = {"shuffle_caption": True, "caption_dropout_rate": 0.3, "train_batch_size": 3, "max_train_steps": 9}
FROZEN = {"text_encoder_lr": 0, "network_dim": 1}


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    return fresh_model()


def built(folder: Path, **changes: Any) -> builders.Parts:
    settings = short_settings(folder, **FROZEN, **changes)
    return builders.build_parts(
        read_inputs(settings), JobFolder.create(folder / "job", settings), lambda _event: None
    )


def test_every_caption_that_the_seed_draws_is_read_before_the_first_step(tmp_path: Path) -> None:
    pictures = str(image_folder(tmp_path / "img", count=3))  # captions of two words to shuffle
    parts = built(tmp_path, **VARIED, gradient_accumulation_steps=2, train_data_dir=pictures)
    known, model = set(parts.captions.remembered), parts.model
    assert not model.holds("text_encoders")
    groups = groups_from(Position(), parts.plan.batches_per_epoch, 2, parts.plan.total_steps)
    batches = (batch for _, several in parts.data.loaded(groups) for batch in several)
    learned = [caption for batch in batches for caption in batch.captions]
    assert set(learned) == known
    assert "" in known
    assert len(known) > 3 + 1  # more than the captions as they stand, and none
    parts.captions(learned[:3])
    assert not model.holds("text_encoders")


def test_a_run_with_texts_read_before_learns_the_same(tmp_path, monkeypatch):
    before = trained(tmp_path / "a", **FROZEN, **VARIED)
    monkeypatch.setattr(text_cache, "LIMIT", 0)
    job, code = run(tmp_path / "b", **FROZEN, **VARIED)
    told = [event.code for event in events(job) if isinstance(event, Notice)]
    assert (code, "training.texts_too_many" in told) == (0, True)
    as_they_come = load_file(tmp_path / "b" / "out" / "mascot.safetensors")
    assert all(torch.equal(before[key], as_they_come[key]) for key in before)


def test_encoders_that_learn_stay(tmp_path: Path) -> None:
    settings = short_settings(tmp_path)
    parts = builders.build_parts(
        read_inputs(settings), JobFolder.create(tmp_path / "job", settings), lambda _event: None
    )
    assert parts.model.holds("text_encoders")
    assert not parts.captions.remembered


def test_samples_need_no_encoders_either(tmp_path: Path) -> None:
    lines = "a mascot --n blue --w 64 --h 64 --s 1\nanother --w 64 --h 64 --s 1"
    parts = built(tmp_path, sample_prompts=lines, sample_every_n_steps=1)
    assert {"a mascot", "blue", "another", ""} <= set(parts.captions.remembered)
    assert not parts.model.holds("text_encoders")


def test_kept_texts_are_found_again(model: StableDiffusion, tmp_path: Path) -> None:
    store = TextStore(tmp_path / "texts", model.text_space())
    first = CaptionEncoder(model, CPU, learning=False, store=store)
    texts = ["a cat", "a dog", "a cat"]
    assert first.prepare(texts, 1000) == text_cache.Prepared(2)
    again = CaptionEncoder(model, CPU, learning=False, store=store)
    assert again.prepare(texts, 1000) == text_cache.Prepared(2, reused=2)
    assert torch.equal(first(["a dog"]).embeds, again(["a dog"]).embeds)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _other(path: Path) -> None:
    path.write_bytes(b"no file of ours")


def _not_finite(path: Path) -> None:
    save_file({name: tensor * torch.nan for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize("harm", [_cut, _other, _not_finite, Path.unlink])
def test_damaged_texts_are_read_anew(model: StableDiffusion, tmp_path: Path, harm: Any) -> None:
    store = TextStore(tmp_path, model.text_space())
    whole = CaptionEncoder(model, CPU, learning=False, store=store)
    whole.prepare(["a cat"], 1000)
    harm(store.path("a cat"))
    again = CaptionEncoder(model, CPU, learning=False, store=store)
    assert again.prepare(["a cat"], 1000) == text_cache.Prepared(1)
    assert torch.equal(whole(["a cat"]).embeds, again(["a cat"]).embeds)


@pytest.mark.parametrize(
    "captions", [{"clip_skip": 2}, {"max_token_length": 150}, {"weighted_captions": True}]
)
def test_another_way_to_read_has_texts_of_its_own(model: StableDiffusion, captions: dict[str, Any]) -> None:
    space = model.text_space()
    model.captions = model.captions.model_copy(update=captions)
    assert model.text_space() != space


def test_other_weights_have_texts_of_their_own(model: StableDiffusion) -> None:
    space = model.text_space()
    other = fresh_model()
    other.captions = model.captions
    next(other.text_encoders[0].parameters()).data[0, 0] += 1
    assert other.text_space() != space


def test_a_full_disk_ends_no_run(model: StableDiffusion, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = TextStore(tmp_path / "file" / "texts", "x")
    captions = CaptionEncoder(model, CPU, learning=False, store=store)
    assert captions.prepare(["a", "b"], 1000) == text_cache.Prepared(2, unkept=2)
    assert captions(["a", "b"]).embeds.shape[0] == 2


def test_more_texts_than_fit_into_memory_are_kept_on_disk(model: StableDiffusion, tmp_path: Path) -> None:
    store = TextStore(tmp_path, "y")
    captions = CaptionEncoder(model, CPU, learning=False, store=store, limit=0)
    captions.prepare(["a", "b"], 1000)
    assert not captions.remembered
    assert len(list(tmp_path.iterdir())) == 2
    bare = CaptionEncoder(model, CPU, learning=False, store=TextStore(tmp_path / "none", "y"))
    assert torch.equal(captions(["b", "a"]).embeds, bare(["b", "a"]).embeds)


def test_texts_without_end_are_counted_only_up_to_the_room(model: StableDiffusion) -> None:
    def endless() -> Any:
        number = 0
        while True:
            yield f"text {(number := number + 1)}"

    captions = CaptionEncoder(model, CPU, learning=False, limit=5000)
    assert captions.prepare(endless(), 1000) is None
    assert not captions.remembered


def test_stop_is_seen_between_two_texts(model: StableDiffusion) -> None:
    asked: list[int] = []
    captions = CaptionEncoder(model, CPU, learning=False)
    with pytest.raises(StopRequested):
        captions.prepare("abc", 1000, stop_requested=lambda: bool(asked) or asked.append(1) is not None)
    assert len(captions.remembered) == 1


def test_progress_is_told(tmp_path: Path) -> None:
    job, _ = run(tmp_path, **FROZEN, max_train_steps=1)
    phases = [event for event in events(job) if isinstance(event, Phase) and event.name == "cache_texts"]
    assert phases[-1].done == phases[-1].total > 0


def test_the_pooled_vector_is_kept_too(tmp_path: Path) -> None:
    told = Conditioning(torch.randn(1, 77, 8), torch.randn(1, 4))
    store = TextStore(tmp_path, "z")
    store.save("a", told)
    found = store.load("a")
    assert found is not None
    assert found.pooled is not None
    assert told.pooled is not None
    assert torch.equal(found.pooled, told.pooled)
