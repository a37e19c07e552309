"""How far an answer is from what it should have been."""

from __future__ import annotations

from torch import Tensor

PLAIN_LOSSES = ("l2", "l1")
"""Those without a threshold."""


def distance(
    prediction: Tensor,
    target: Tensor,
    loss_type: str = "l2",
    huber_c: Tensor | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """Mean distance of each picture of the batch, (B,), in float32.

    `prediction` and `target` are (B, C, h, w). `masks` (B, 1, h, w) weigh the places before the mean is taken
    over all of them ("Masked loss").

    "huber" and "smooth_l1" are pseudo-Huber losses with threshold huber_c (B,): near 0 like l2, far
    away like l1 (arXiv 2403.16728).
    """
    # float32 whatever the model computes in: squares of half-precision errors lose their small digits
    error = prediction.float() - target.float()
    if loss_type == "l2":
        scores = error**2
    elif loss_type == "l1":
        scores = error.abs()
    else:
        if huber_c is None:
            raise ValueError(f"loss_type {loss_type} needs huber_c")
        threshold = huber_c.to(error).view(-1, 1, 1, 1)
        scores = 2 * ((error**2 + threshold**2).sqrt() - threshold)
        # Near 0 and far away huber is x² and 2c·|x|, smooth_l1 x²/c and 2·|x|.
        scores = scores * threshold if loss_type == "huber" else scores
    if masks is not None:
        # Before the mean over all places: a small mask makes a small loss, as in the reference.
        scores = scores * masks.to(scores)
    return scores.mean(dim=(1, 2, 3))
