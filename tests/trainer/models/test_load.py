"""Base models: every layout gives the same parts, and a wrong file is told in words."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.checkpoints import load_model, random_model, write_checkpoint
from tests.trainer.tiny import predict
from trainer.errors import UserError
from trainer.families.table import SD1, SD2, SDXL
from trainer.messages import say
from trainer.models.sd import StableDiffusion
from trainer.models.sd_files import load_tokenizer
from trainer.settings import FamilyKey


@pytest.fixture(scope="module")
def sd1() -> StableDiffusion:
    torch.manual_seed(0)
    return random_model("sd1")


@pytest.fixture(scope="module")
def sd1_file(sd1: StableDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny.safetensors", sd1)


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    expected = theirs.state_dict()
    found = ours.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def assert_same_model(ours: StableDiffusion, theirs: StableDiffusion) -> None:
    assert_same(ours.denoiser, theirs.denoiser)
    assert_same(ours.vae, theirs.vae)
    assert len(ours.text_encoders) == len(theirs.text_encoders)
    for mine, other in zip(ours.text_encoders, theirs.text_encoders, strict=True):
        assert_same(mine, other)


def says(error: pytest.ExceptionInfo[UserError]) -> str:
    """The whole message; also proves that its sentences exist and can be filled."""
    return str(error.value)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_one_file_gives_back_the_model_it_was_written_from(family: FamilyKey, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = random_model(family)
    path = write_checkpoint(tmp_path / "model.safetensors", model)
    loaded = load_model(str(path), v2=family == "sd2", sdxl=family == "sdxl")
    assert_same_model(loaded, model)
    assert loaded.family.key == family


def test_the_loaded_model_answers_like_the_original(sd1: StableDiffusion, sd1_file: Path) -> None:
    loaded = load_model(str(sd1_file))
    latents, text = torch.randn(1, 4, 8, 8), torch.randint(0, 49408, (1, 77))
    embeds = loaded.text_encoders[0](text).last_hidden_state
    assert torch.equal(embeds, sd1.text_encoders[0](text).last_hidden_state)
    steps = torch.tensor([400])
    assert torch.equal(predict(loaded, latents, steps, embeds), predict(sd1, latents, steps, embeds))
    assert not any(weight.requires_grad for weight in loaded.denoiser.parameters())


def test_ckpt_is_read_like_safetensors(sd1: StableDiffusion, tmp_path: Path) -> None:
    assert_same_model(load_model(str(write_checkpoint(tmp_path / "tiny.ckpt", sd1))), sd1)


def test_diffusers_folder_is_read(sd1: StableDiffusion, tmp_path: Path) -> None:
    sd1.denoiser.save_pretrained(tmp_path / "unet")
    sd1.vae.save_pretrained(tmp_path / "vae")
    sd1.text_encoders[0].save_pretrained(tmp_path / "text_encoder")
    (tmp_path / "model_index.json").write_text("{}")
    assert_same_model(load_model(str(tmp_path)), sd1)


def test_a_folder_that_predicts_something_else_is_told(sd1: StableDiffusion, tmp_path: Path) -> None:
    sd1.denoiser.save_pretrained(tmp_path / "unet")
    sd1.vae.save_pretrained(tmp_path / "vae")
    sd1.text_encoders[0].save_pretrained(tmp_path / "text_encoder")
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"prediction_type": "v_prediction"}')
    [notice] = load_model(str(tmp_path)).notices
    assert "v_parameterization" in str(say(notice))
    assert load_model(str(tmp_path), v_parameterization=True).notices == ()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weights_come_in_the_wanted_format(dtype: torch.dtype, sd1: StableDiffusion, sd1_file: Path) -> None:
    model = load_model(str(sd1_file), dtype=dtype, sdxl_no_half_vae=True)
    assert {weight.dtype for weight in model.denoiser.parameters()} == {dtype}
    assert {weight.dtype for weight in model.text_encoders[0].parameters()} == {dtype}
    assert {weight.dtype for weight in model.vae.parameters()} == {torch.float32}
    assert torch.equal(model.denoiser.conv_in.weight, sd1.denoiser.conv_in.weight.to(dtype))


def test_loading_draws_no_random_numbers(sd1_file: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_model(str(sd1_file))
    assert torch.equal(torch.rand(1), expected)


def test_a_vae_of_its_own_is_used(sd1: StableDiffusion, sd1_file: Path, tmp_path: Path) -> None:
    torch.manual_seed(9)
    other = random_model("sd1").vae
    other.save_pretrained(tmp_path / "vae")
    from_folder = load_model(str(sd1_file), vae=str(tmp_path / "vae"))
    from_file = load_model(str(sd1_file), vae=str(tmp_path / "vae" / "diffusion_pytorch_model.safetensors"))
    assert_same(from_folder.vae, other)
    assert_same(from_file.vae, other)
    assert not torch.equal(from_file.vae.encoder.conv_in.weight, sd1.vae.encoder.conv_in.weight)


@pytest.mark.parametrize(
    ("settings", "setting"),
    [({"v2": True}, "v2"), ({"sdxl": True}, "sdxl")],
    ids=["v2 is on", "SDXL is on"],
)
def test_another_family_is_refused_with_the_setting_to_change(
    settings: dict[str, Any], setting: str, sd1_file: Path
) -> None:
    with pytest.raises(UserError) as error:
        load_model(str(sd1_file), **settings)
    assert error.value.setting == setting
    assert "tiny.safetensors" in says(error)


def test_inpainting_model_is_refused(tmp_path: Path) -> None:
    model = random_model("sd1")
    model.denoiser.conv_in = nn.Conv2d(9, 32, 3, padding=1)
    with pytest.raises(UserError) as error:
        load_model(str(write_checkpoint(tmp_path / "inpaint.safetensors", model)))
    assert "inpainting" in says(error)


def test_a_lora_file_is_called_a_lora_file(tmp_path: Path) -> None:
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(UserError) as error:
        load_model(str(tmp_path / "lora.safetensors"))
    assert error.value.message.code == "base_model.is_lora"
    assert "is a LoRA" in says(error)


def test_a_file_cut_short_is_refused_and_says_how_much_is_missing(sd1_file: Path, tmp_path: Path) -> None:
    content = sd1_file.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) - 3_000_000])
    with pytest.raises(UserError) as error:
        load_model(str(tmp_path / "cut.safetensors"))
    assert error.value.message.code == "core.file_truncated"
    assert "3.0 MB" in says(error)


def test_damaged_or_foreign_content_is_refused(tmp_path: Path) -> None:
    for name in ("noise.safetensors", "noise.ckpt"):
        (tmp_path / name).write_bytes(bytes(range(256)) * 50)
        with pytest.raises(UserError) as error:
            load_model(str(tmp_path / name))
        assert name in says(error)


class Evil:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_code_in_a_ckpt_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    torch.save({"state_dict": {"x": torch.zeros(1)}, "y": Evil(trace)}, tmp_path / "evil.ckpt")
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps(Evil(trace)))
    for name in ("evil.ckpt", "old.ckpt"):
        with pytest.raises(UserError) as error:
            load_model(str(tmp_path / name))
        assert error.value.message.code in {"core.file_has_code", "core.file_damaged"}
        assert name in says(error)
    assert not trace.exists()


def test_missing_files_and_folders_are_told(tmp_path: Path) -> None:
    for source in ("nowhere.safetensors", str(tmp_path / "nowhere"), str(tmp_path), ""):
        with pytest.raises(UserError) as error:
            load_model(source)
        assert says(error)


def test_an_unknown_hub_name_without_network_is_told() -> None:
    with pytest.raises(UserError) as error:
        load_model("nobody/no-such-model")
    assert "nobody/no-such-model" in says(error)


def test_a_checkpoint_with_a_missing_tensor_is_refused(sd1_file: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(sd1_file)
    del tensors["model.diffusion_model.middle_block.0.in_layers.2.weight"]
    save_file(tensors, tmp_path / "holes.safetensors")
    with pytest.raises(UserError) as error:
        load_model(str(tmp_path / "holes.safetensors"))
    assert "mid_block" in says(error)


def test_tokenizers_pad_as_their_text_encoders_were_trained() -> None:
    encoders = [encoder for family in (SD1, SD2, SDXL) for encoder in family.text_encoders]
    assert [load_tokenizer(encoder).pad_token_id for encoder in encoders] == [49407, 0, 49407, 0]
