"""How the models of each family are opened: where families meet their files in this room."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.models.opening import Opener
from trainer.models.sd import StableDiffusion
from trainer.models.sdxl import StableDiffusionXL
from trainer.settings import FamilyKey

OPENERS: Mapping[FamilyKey, Opener] = {
    "sd1": StableDiffusion.opened,
    "sd2": StableDiffusion.opened,
    "sdxl": StableDiffusionXL.opened,
}
