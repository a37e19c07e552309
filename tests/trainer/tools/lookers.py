"""A small tagger and a small caption model of the real classes, built here."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TAGS = [("general", 9), ("sensitive", 9), ("long_hair", 0), ("^_^", 0), ("owl_(bird)", 4), ("blue_sky", 0)]
SIDE = 8


def tagger(folder: Path, side: int = SIDE, *, rows: int = len(TAGS)) -> Path:
    """model.onnx: the mean of the blue channel decides "blue_sky"; the other answers are fixed."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper  # noqa: N806  # its class

    folder.mkdir(parents=True, exist_ok=True)
    weights = np.zeros((3, rows), np.float32)
    weights[0, -1] = 1 / 255  # BGR: blue is first
    bias = np.array([0.9, 0.1, 0.8, 0.6, 0.95, 0.0][:rows], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["output"]),
        ],
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", side, side, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", rows])],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    with (folder / "selected_tags.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["tag_id", "name", "category", "count"])
        table.writerows([number, name, kind, 1] for number, (name, kind) in enumerate(TAGS))
    return folder


def florence(folder: Path) -> Path:
    """Florence-2 with random weights and a vocabulary of a few words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        BartConfig,
        CLIPImageProcessor,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
        PreTrainedTokenizerFast,
    )
    from transformers.models.florence2.configuration_florence2 import Florence2VisionConfig

    words = ["<s>", "<pad>", "</s>", "<unk>", "<image>", "a", "photo", "of", "an", "owl"]
    words += ["in", "the", "sky", "<loc_1>"]
    words_tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, "<unk>"))
    words_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words_tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    text = BartConfig(
        vocab_size=len(words), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=64,
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    vision = Florence2VisionConfig(
        depths=(1,), patch_size=(7,), patch_stride=(4,), patch_padding=(3,), patch_prenorm=(False,),
        embed_dim=(16,), num_heads=(2,), num_groups=(2,), window_size=4, projection_dim=16,
    )  # fmt: skip
    torch.manual_seed(0)
    config = Florence2Config(text_config=text.to_dict(), vision_config=vision.to_dict(), image_token_id=4)
    model = Florence2ForConditionalGeneration(config)
    model.generation_config.suppress_tokens = [0, 1, 2, 3, 4, len(words) - 1]  # so that it says something
    model.save_pretrained(folder)
    pixels: Any = CLIPImageProcessor(size={"height": 16, "width": 16}, do_center_crop=False)
    pixels.image_seq_length = 17  # 4 x 4 places, and one for all
    kinds = {"pure_text": {}, "description_with_bboxes": {"PATTERN": r"(.*?)<loc_(\d+)>"}}
    Florence2Processor(pixels, tokenizer, post_processor_config=kinds).save_pretrained(folder)
    return folder


def captioner(folder: Path) -> Path:
    """BLIP with random weights and a vocabulary of a few words."""
    import torch
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
        BlipTextConfig,
        BlipVisionConfig,
    )

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "photo", "of", "an", "owl", "sky"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    text = BlipTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, encoder_hidden_size=16, max_position_embeddings=32, bos_token_id=5,
        eos_token_id=3, sep_token_id=3, pad_token_id=0,
    )  # fmt: skip
    vision = BlipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16,
        patch_size=8,
    )  # fmt: skip
    torch.manual_seed(0)
    config = BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 16, "width": 16}), tokenizer).save_pretrained(folder)
    return folder
