"""SDXL as diffusers and the reference have it: texts, sizes and crop, samples."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from tests.checkpoints import random_model
from tests.trainer.references import reference
from trainer.data.buckets import Fit
from trainer.families.table import SDXL
from trainer.families.unet import UNET
from trainer.models.base import Framing
from trainer.models.clip import tokenize
from trainer.models.sd import StableDiffusion
from trainer.models.sd_files import load_tokenizer
from trainer.models.sdxl import time_ids
from trainer.models.single_file import unet_config
from trainer.plan.sample_prompts import SamplePrompt
from trainer.settings import Captions
from trainer.training.sampling import draw


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    torch.manual_seed(0)
    made = random_model("sdxl")
    for part in (made.denoiser, made.vae, *made.text_encoders):
        part.eval()
    return made


@pytest.fixture(scope="module")
def diffusers(model: StableDiffusion) -> Any:
    """diffusers' own pipeline of the same parts."""
    texts, tokenizers = model.text_encoders, model.tokenizers
    pipeline = StableDiffusionXLPipeline(
        model.vae, texts[0], texts[1], tokenizers[0], tokenizers[1], model.denoiser,
        model.schedule.sampler("ddim"),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def reading(model: StableDiffusion, **captions: Any) -> StableDiffusion:
    """The same model that reads captions in another way."""
    other = copy.copy(model)
    other.captions = Captions(**captions)
    return other


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in reference("sdxl_tokens").items() for case in cases]
)
def test_tokens_of_both_encoders_equal_the_reference(name: str, case: dict[str, Any]) -> None:
    weighted, _, length = name.rpartition("_")
    for end, encoder in zip("12", SDXL.text_encoders, strict=True):
        length_ = 75 if length == "None" else int(length)
        tokens = tokenize(load_tokenizer(encoder), [case["caption"]], length_, weighted=bool(weighted))
        assert tokens.ids[0].tolist() == [filled(row) for row in case[f"ids{end}"]]
        if tokens.weights is not None:
            wanted = [filled(row) for row in case[f"w{end}"]]
            assert torch.allclose(tokens.weights[0], torch.tensor(wanted))


def filled(row: list[Any]) -> list[Any]:
    """Undo the shortening of a recorded row: the last value repeats."""
    return row + row[-1:] * (77 - len(row))


@torch.no_grad()
@pytest.mark.parametrize("clip_skip", [1, 2])
def test_texts_are_those_of_diffusers_whatever_clip_skip_says(
    model: StableDiffusion, diffusers: Any, clip_skip: int
) -> None:
    told = reading(model, clip_skip=clip_skip).encode_text(["a red circle", ""])
    embeds, _, pooled, _ = diffusers.encode_prompt(
        ["a red circle", ""], device="cpu", do_classifier_free_guidance=False
    )
    assert told.embeds.shape == (2, 77, 88)
    assert torch.allclose(told.embeds, embeds, atol=1e-5)
    assert told.pooled is not None
    assert torch.allclose(told.pooled, pooled, atol=1e-5)


@torch.no_grad()
def test_long_captions_have_the_pooled_vector_of_their_first_chunk(model: StableDiffusion) -> None:
    words = " ".join(["circle"] * 75)
    long = reading(model, max_token_length=150).encode_text([f"{words} blue", f"{words} red"])
    assert long.embeds.shape == (2, 152, 88)
    assert long.pooled is not None
    assert torch.equal(long.pooled[0], long.pooled[1])
    assert not torch.equal(long.embeds[0], long.embeds[1])


@torch.no_grad()
def test_weights_of_a_caption_do_not_touch_the_pooled_vector(model: StableDiffusion) -> None:
    plain = model.encode_text(["a circle"])
    weighted = reading(model, weighted_captions=True).encode_text(["a (circle:1.5)"])
    assert torch.allclose(weighted.embeds[0, 2], plain.embeds[0, 2] * 1.5, atol=1e-5)
    assert plain.pooled is not None
    assert weighted.pooled is not None
    assert torch.allclose(weighted.pooled, plain.pooled, atol=1e-6)


def test_sizes_and_crop_are_told_height_first() -> None:
    fit = Fit((64, 192), (115, 192))  # 96 x 160 is cut at the sides, but told as if it had bars above
    framing = Framing([(96, 160)], [fit.bars(96, 160)], fit.bucket)
    assert time_ids(framing).tolist() == [[160, 96, 42, 0, 192, 64]]


def test_a_sample_is_the_picture_that_diffusers_draws(model: StableDiffusion, diffusers: Any) -> None:
    prompt = SamplePrompt("a red circle", negative="blue", width=64, height=128, scale=4.0, steps=2)
    ours = draw(model, prompt, lambda text: model.encode_text([text]), sampler="ddim", seed=3,
                interrupted=lambda: False)  # fmt: skip
    pipeline = copy.copy(diffusers)
    pipeline.scheduler = model.schedule.sampler("ddim")
    theirs = pipeline(
        prompt.prompt,
        negative_prompt=prompt.negative,
        width=prompt.width,
        height=prompt.height,
        num_inference_steps=prompt.steps,
        guidance_scale=prompt.scale,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int)).max() <= 1


def test_the_file_tells_how_deep_its_transformers_are() -> None:
    """Children of SDXL with fewer layers (1, 2, 4 instead of 1, 2, 10) are read as they are."""
    shapes: dict[str, tuple[int, ...]] = {
        "input_blocks.0.0.weight": (64, 4, 3, 3),
        **{f"input_blocks.{1 + 3 * level}.0.out_layers.3.weight": (64, 64, 3, 3) for level in range(3)},
        **{f"input_blocks.4.1.transformer_blocks.{n}.attn2.to_k.weight": (64, 88) for n in range(2)},
        **{f"input_blocks.7.1.transformer_blocks.{n}.attn2.to_k.weight": (64, 88) for n in range(4)},
        "label_emb.0.0.weight": (256, 1576),
    }
    file: Any = SimpleNamespace(shapes={UNET + name: shape for name, shape in shapes.items()})
    assert unet_config(file, SDXL)["transformer_layers_per_block"] == [1, 2, 4]
