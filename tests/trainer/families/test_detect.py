"""What a base model is, told from its first bytes."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoints import random_model, write_checkpoint
from tests.trainer.made import SD1, SD2, SDXL, model_file
from tests.trainer.references import reference
from trainer.families.detect import facts_of, read_model
from trainer.families.facts import ModelUnreadableError
from trainer.families.layers import FULL_SIZE_LAYERS, diffusers_layers
from trainer.families.table import FAMILIES

DEMO = Path(__file__).parents[3] / "presets/demo/model"


@pytest.mark.parametrize(("shapes", "family"), [(SD1, "sd1"), (SD2, "sd2"), (SDXL, "sdxl")])
def test_families_are_told_by_their_text_encoders(tmp_path, shapes, family):
    facts = read_model(model_file(tmp_path / "m.safetensors", shapes))
    assert (facts.kind, facts.family) == ("base", family)


def test_sizes_are_counted(tmp_path):
    facts = read_model(model_file(tmp_path / "m.safetensors", SD1))
    assert facts.denoiser == 32 * 4 * 9 + 32 * 32 * 9 + 32 * 128 + 32 * 32 + 32 * 32
    assert (facts.text_encoder, facts.vae) == (48 * 48, 8 * 3 * 9)
    assert dict(facts.layers) == {
        ("attention", (32, 32)): 1,
        ("transformer", (32, 32, 1, 1)): 1,
        ("resnet", (32, 32, 3, 3)): 1,
        ("resnet", (32, 128)): 1,
        ("stem", (32, 4, 3, 3)): 1,
        ("text_attention", (48, 48)): 1,
    }


UNET = "model.diffusion_model."
INPUT = f"{UNET}input_blocks.0.0.weight"
ATTENTION = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
XL = {**SDXL, f"{UNET}label_emb.0.0.weight": (128, 88)}
OTHERS = {
    "lora": [
        {"lora_unet_x.lora_down.weight": (4, 8)},
        {"unet.x.lora_A.weight": (4, 8), "unet.x.lora_B.weight": (8, 4)},
        {
            "text_encoder.x.lora_linear_layer.down.weight": (4, 8),
            "unet.x.processor.to_q_lora.down.weight": (4, 8),
        },
        {"lora_unet_x.oft_blocks": (2, 4, 4)},
        {"lora_unet_x.diff": (8, 8), "lora_unet_x.diff_b": (8,)},
        {"transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight": (4, 8)},
    ],
    "vae": [
        {"first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3)},
        {"decoder.conv_in.weight": (8, 3, 3, 3)},
        {
            "encoder.down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3),
            "decoder.conv_in.weight": (8, 16, 3, 3),
        },
    ],
    "text_encoder": [
        {"text_model.encoder.layers.0.mlp.fc1.weight": (8, 8)},
        {"encoder.block.0.layer.0.SelfAttention.q.weight": (8, 8)},
    ],
    "part": [
        {name: shape for name, shape in SD1.items() if name.startswith(UNET)},
        {name.removeprefix(UNET): shape for name, shape in SD1.items() if name.startswith(UNET)},
        {"down_blocks.0.resnets.0.conv1.weight": (32, 32, 3, 3), "conv_in.weight": (32, 4, 3, 3)},
        {name: shape for name, shape in SDXL.items() if not name.startswith("conditioner.embedders.1")},
    ],
    "embedding": [{"emb_params": (4, 768)}, {"clip_g": (4, 1280), "clip_l": (4, 768)}],
    "controlnet": [
        {"control_model.input_blocks.0.0.weight": (8, 4, 3, 3)},
        {
            "controlnet_cond_embedding.conv_in.weight": (8, 3, 3, 3),
            "down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3),
        },
    ],
    "addition": [{"ip_adapter.1.to_k_ip.weight": (8, 8), "image_proj.proj.weight": (8, 8)}],
    "upscaler": [{"conv_first.weight": (64, 3, 3, 3)}, {**SD2, INPUT: (32, 7, 3, 3)}],
    "refiner": [
        {
            **{name: shape for name, shape in XL.items() if not name.startswith("conditioner.")},
            "conditioner.embedders.0.model.transformer.resblocks.0.attn.in_proj_weight": (192, 64),
        }
    ],
    "inpainting": [{**base, INPUT: (32, 9, 3, 3)} for base in (SD1, SD2, XL)],
    "depth": [{**SD2, INPUT: (32, 5, 3, 3)}],
    "mixed": [
        {
            **SD1,
            UNET + ATTENTION: (32, 1024),
            "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (9, 768),
        },
        {**SD2, f"{UNET}label_emb.0.0.weight": (128, 88)},
    ],
    "other_model": [{"double_blocks.0.img_attn.qkv.weight": (8, 8)}, {"something.else": (8, 8)}],
}
CASES = [(kind, shapes) for kind, cases in OTHERS.items() for shapes in cases]


@pytest.mark.parametrize(("kind", "shapes"), CASES, ids=[f"{kind}-{i}" for i, (kind, _) in enumerate(CASES)])
@pytest.mark.parametrize("ending", [".safetensors", ".ckpt"])
def test_other_files_are_told_apart(tmp_path, kind, shapes, ending):
    path = tmp_path / f"m{ending}"
    if ending == ".safetensors":
        model_file(path, shapes)
    else:
        torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    assert read_model(path).kind == kind


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("double_blocks.0.img_attn.qkv.weight", "FLUX.1"),
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "FLUX.1"),
        ("single_transformer_blocks.0.proj_mlp.weight", "FLUX.1"),
        ("distilled_guidance_layer.in_proj.weight", "Chroma"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"),
        ("net.llm_adapter.embed.weight", "Anima"),
        ("llm_adapter.blocks.0.norm_self_attn.weight", "Anima"),
        ("cap_embedder.0.weight", "Z-Image / Lumina"),
    ],
)
def test_models_of_other_families_are_named(name, title):
    more = {"double_blocks.0.img_attn.qkv.weight": (8, 8)} if title == "Chroma" else {}
    facts = facts_of({**more, name: (8, 8)}, {})
    assert (facts.kind, facts.title) == ("other_model", title)


def test_a_full_size_sdxl_is_told_and_counted():
    shapes = {name: tuple(shape) for name, shape in reference("sdxl_checkpoint").items()}
    facts = facts_of(shapes, {})
    assert (facts.kind, facts.family, facts.depths) == ("base", "sdxl", (2, 10))
    assert facts.denoiser == FAMILIES["sdxl"].weights[0]
    assert facts.vae == 0
    assert facts.layers == FULL_SIZE_LAYERS["sdxl"]


def test_marks_of_v_prediction_and_zero_terminal_snr_are_told():
    facts = facts_of({**XL, "v_pred": (0,), "ztsnr": (0,)}, {})
    assert (facts.v_prediction, facts.zero_terminal_snr) == (True, True)
    facts = facts_of(XL, {})
    assert (facts.v_prediction, facts.zero_terminal_snr) == (None, False)


def test_the_prediction_is_told(tmp_path):
    assert read_model(model_file(tmp_path / "a.safetensors", SD1)).v_prediction is None
    marked = model_file(tmp_path / "b.safetensors", SD1, **{"modelspec.prediction_type": "v"})
    assert read_model(marked).v_prediction is True
    marked = model_file(tmp_path / "c.safetensors", SD1, **{"modelspec.prediction_type": "epsilon"})
    assert read_model(marked).v_prediction is False
    assert read_model(model_file(tmp_path / "d.safetensors", {**SDXL, "v_pred": ()})).v_prediction is True


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-10], "incomplete"),
        (lambda data: data[:50], "incomplete"),
        (lambda data: b"<html>" + data, "damaged"),
        (lambda data: data[:8] + b"x" + data[9:], "damaged"),
        (lambda data: b"", "damaged"),
    ],
)
def test_damaged_and_cut_files_are_told(tmp_path, change, reason):
    path = model_file(tmp_path / "m.safetensors")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelUnreadableError, match=reason):
        read_model(path)


def test_a_changed_file_is_read_again(tmp_path):
    path = model_file(tmp_path / "m.safetensors", SD1)
    assert read_model(path).family == "sd1"
    model_file(path, SDXL)
    assert read_model(path).family == "sdxl"


def test_a_diffusers_folder_is_told():
    facts = read_model(DEMO)
    assert (facts.kind, facts.family, facts.v_prediction) == ("base", "sd1", False)
    assert facts.denoiser > 1_000_000
    kinds = {kind for (kind, _), _ in facts.layers}
    assert kinds == {"attention", "transformer", "resnet", "time", "stem", "text_attention", "text_mlp"}


def test_file_and_folder_of_one_model_count_alike(tmp_path):
    """The original layout and diffusers' names give the same LoRA."""
    original = model_file(tmp_path / "m.safetensors", SD1)
    folder = tmp_path / "folder"
    names = {
        "unet": {
            "down_blocks.0.attentions.0.proj_in.weight": (32, 32, 1, 1),
            "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight": (32, 32),
            "down_blocks.0.resnets.0.conv1.weight": (32, 32, 3, 3),
            "down_blocks.0.resnets.0.time_emb_proj.weight": (32, 128),
            "conv_in.weight": (32, 4, 3, 3),
        },
        "text_encoder": {"text_model.encoder.layers.0.self_attn.q_proj.weight": (48, 48)},
        "vae": {"encoder.conv_in.weight": (8, 3, 3, 3)},
    }
    for part, shapes in names.items():
        model_file(folder / part / "diffusion_pytorch_model.safetensors", shapes)
        (folder / part / "config.json").write_text("{}")
    (folder / "unet/config.json").write_text(json.dumps({"in_channels": 4}))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    one, other = read_model(original), read_model(folder)
    assert (one.denoiser, one.text_encoder, one.vae, one.layers) == (
        other.denoiser,
        other.text_encoder,
        other.vae,
        other.layers,
    )


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(ModelUnreadableError, match="no_model"):
        read_model(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ModelUnreadableError, match="damaged"):
        read_model(tmp_path)


def test_a_ckpt_is_told_without_running_it(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    with zipfile.ZipFile(tmp_path / "evil.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
    read_model(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_ckpt_that_is_none_is_told(tmp_path):
    (tmp_path / "m.ckpt").write_text("<html>")
    with pytest.raises(ModelUnreadableError, match="damaged"):
        read_model(tmp_path / "m.ckpt")
    (tmp_path / "n.ckpt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ModelUnreadableError, match="incomplete"):
        read_model(tmp_path / "n.ckpt")


def test_tensors_of_a_real_writer_are_read(tmp_path):
    save_file({"lora_te_x.alpha": torch.zeros(())}, tmp_path / "l.safetensors")
    assert read_model(tmp_path / "l.safetensors").kind == "lora"


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_a_whole_model_has_the_same_layers_in_both_layouts(tmp_path, family):
    model = random_model(family)
    facts = read_model(write_checkpoint(tmp_path / "m.safetensors", model))
    unet, text = (
        {name: tuple(tensor.shape) for name, tensor in part.state_dict().items()}
        for part in (model.denoiser, model.text_encoders[0])
    )
    assert facts.layers == diffusers_layers(
        unet, {f".{name}": shape for name, shape in text.items()}, FAMILIES[family]
    )
