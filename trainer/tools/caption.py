"""Sentences about pictures by a model of transformers' form: BLIP, BLIP-2, GIT, Florence-2 and their kin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import UserError, is_out_of_memory
from trainer.tools.proposals import one_line

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FLORENCE = "florence2"
TASK = "<DETAILED_CAPTION>"
"""What Florence-2 is asked where the form says nothing."""
FEWEST_TOKENS, AROUND = 5, 2
"""Tokens that a sentence has at least; those that models put around it."""
MOST_MISSING = 0.1
"""Share of a model's tensors that its file may lack: what it can make anew, but not what it has learned."""
LOCATED = ("<OD>", "<DENSE_REGION_CAPTION>")
"""Florence-2's tasks that answer with places in the picture; what stands there becomes the caption."""


class Captioner:
    """A model that describes pictures, loaded. Code that lies beside a model is never run."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError for a folder that holds no such model."""
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        from trainer.training.precision import pick_device

        self.device = pick_device()
        dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor: Any = AutoProcessor.from_pretrained(folder, **options)
            load: Any = AutoModelForImageTextToText.from_pretrained
            model, loaded = load(folder, dtype=dtype, output_loading_info=True, **options)
        except Exception as error:  # transformers' and safetensors' own have no common class but this
            if is_out_of_memory(error):
                raise
            raise UserError("tools.not_for_caption", "model", name=folder.name) from error
        if len(loaded["missing_keys"]) > MOST_MISSING * len(model.state_dict()):
            raise UserError("tools.not_for_caption", "model", name=folder.name)
        self._model: Any = model.to(self.device).eval()
        self._name = folder.name
        self.florence = model.config.model_type == FLORENCE

    def describe(self, picture: Picture, prompt: str, most: int) -> str:
        """A sentence of at most `most` tokens about a picture, which begins with (or answers) the prompt.

        Raises UserError for a prompt that the model does not take, and for pictures that it cannot.
        """
        text = prompt or (TASK if self.florence else "")
        words: dict[str, Any] = {"text": text} if text else {}
        try:
            inputs = self._processor(images=picture, return_tensors="pt", **words).to(self.device)
        except ValueError as error:  # the picture is whole: Florence-2's tasks stand alone
            raise UserError("tools.caption_prompt", "prompt", prompt=text[:100]) from error
        inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        tokens = self._generated(inputs, min(most, self._room(inputs)))
        located = self.florence and text in LOCATED
        answer = self._processor.batch_decode(tokens, skip_special_tokens=not located)[0]
        if not located:
            return one_line(answer)
        parsed = self._processor.post_process_generation(answer, task=text, image_size=picture.size)
        return one_line(", ".join(dict.fromkeys(parsed[text]["labels"])))

    def _room(self, inputs: Any) -> int:
        """How many tokens it can write behind the prompt. Raises UserError where that is next to none."""
        config = self._model.config
        places = getattr(config.get_text_config(), "max_position_embeddings", None)
        if not places:  # it counts them from each other
            return sys.maxsize
        used = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
        free = places - used - AROUND
        if free < FEWEST_TOKENS:
            raise UserError("tools.caption_long", "prompt", most=places - FEWEST_TOKENS - AROUND)
        return places - AROUND if config.is_encoder_decoder else free

    def _generated(self, inputs: Any, most: int) -> Any:
        """Tokens, (1, length)."""
        import torch

        try:
            with torch.no_grad():
                return self._model.generate(**inputs, max_new_tokens=most, num_beams=3, do_sample=False)
        except (RuntimeError, IndexError) as error:  # sizes that do not go together
            if is_out_of_memory(error):
                raise
            raise UserError("tools.not_for_caption", "model", name=self._name) from error
