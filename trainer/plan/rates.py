"""Learning rates of the parts: what stands in the settings, and what follows from it."""

from __future__ import annotations

from trainer.settings import Optimizer

TextRates = tuple[float, float]
"""Of the first text encoder and of the second; families with one ask the first."""


def rate(value: float | None, fallback: float) -> float:
    """A part's learning rate: its own, or "Learning rate" where that is blank."""
    return fallback if value is None else value


def denoiser_rate(optimizer: Optimizer) -> float:
    """Of the denoiser (the UNet)."""
    return rate(optimizer.unet_lr, optimizer.learning_rate)


def text_rates(optimizer: Optimizer) -> TextRates:
    """Of the text encoders: one value counts for both."""
    own = optimizer.text_encoder_lr
    if isinstance(own, tuple):
        return own
    both = rate(own, optimizer.learning_rate)
    return both, both


def written_rates(optimizer: Optimizer) -> dict[str, tuple[float, ...]]:
    """Setting -> the rates that stand in it, without zeros."""
    text = optimizer.text_encoder_lr
    settings = {
        "learning_rate": (optimizer.learning_rate,),
        "unet_lr": (optimizer.unet_lr,),
        "text_encoder_lr": text if isinstance(text, tuple) else (text,),
    }
    return {key: tuple(one for one in rates if one) for key, rates in settings.items()}


def trains_denoiser(optimizer: Optimizer) -> bool:
    """Whether the denoiser is trained: its rate is not 0."""
    return denoiser_rate(optimizer) > 0


def trains_text_encoder(optimizer: Optimizer) -> bool:
    """Whether a text encoder is trained: its rate is not 0."""
    return any(text_rates(optimizer))
