"""Sentences about pictures by a model of transformers' form: BLIP, BLIP-2, GIT, Florence-2 and their kin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FLORENCE = "florence2"
TASK = "<DETAILED_CAPTION>"
"""What Florence-2 is asked where the form says nothing."""
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
            model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, **options)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise UserError("tools.not_for_caption", "model", name=folder.name, reason=reason) from error
        self._model: Any = model.to(self.device).eval()
        self.florence = model.config.model_type == FLORENCE

    def describe(self, picture: Picture, prompt: str, most: int) -> str:
        """A sentence of at most `most` tokens about a picture, which begins with (or answers) the prompt.

        Raises UserError for a prompt that the model does not take.
        """
        import torch

        text = prompt or (TASK if self.florence else "")
        words: dict[str, Any] = {"text": text} if text else {}
        try:
            inputs = self._processor(images=picture, return_tensors="pt", **words).to(self.device)
        except ValueError as error:  # the picture is whole: Florence-2's tasks stand alone
            raise UserError("tools.caption_prompt", "prompt", prompt=text[:100]) from error
        inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        with torch.no_grad():
            tokens = self._model.generate(**inputs, max_new_tokens=most, num_beams=3, do_sample=False)
        located = self.florence and text in LOCATED
        answer = self._processor.batch_decode(tokens, skip_special_tokens=not located)[0]
        if not located:
            return one_line(answer)
        told = self._processor.post_process_generation(answer, task=text, image_size=picture.size)
        return one_line(", ".join(dict.fromkeys(told[text]["labels"])))


def one_line(text: str) -> str:
    """A caption stands on one line."""
    return " ".join(text.split())
