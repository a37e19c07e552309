"""Where a run's random numbers come from: the seed, the epoch and the batch, nothing else.

So a run that continues, and one whose batches are shared among several processes, draws the same noise for
the same batch.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed torch (CPU and GPUs), Python and numpy: libraries draw from all of them."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # libraries draw from it


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """The seed for what is drawn while one batch is learned from (noise, timesteps, dropouts)."""
    # Hashed, not added: neighbouring batches must not have neighbouring seeds.
    digest = hashlib.blake2b(f"{seed}/{epoch}/{batch}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")
