"""Keeps libraries' chatter out of a run's log: what stands there is meant for the person."""

from __future__ import annotations

import logging
import os
import warnings

CHATTY = ("transformers", "diffusers", "bitsandbytes", "peft", "accelerate", "huggingface_hub", "torch")


def quiet_libraries() -> None:
    """To be called before the libraries are imported. Errors still come through."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in CHATTY:
        warnings.filterwarnings("ignore", module=rf"{name}\b.*")
