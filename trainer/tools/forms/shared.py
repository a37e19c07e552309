"""Settings that several tools have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema import Spec
from trainer.tools.lora_files import SavePrecision

# fmt: off
Lora = Annotated[str, Spec("LoRA file", "tools", "files", "lora", required=True)]
Loras = Annotated[str, Spec("LoRA files", "tools", "files", "shares", required=True)]
Output = Annotated[str, Spec("Save as", "tools", "files", "new_file", required=True)]
FilePrecision = Annotated[SavePrecision, Spec("Save precision", "tools", "how")]
NetworkRank = Annotated[int, Field(ge=1, le=4096), Spec("Network Rank (Dimension)", "tools", "how")]
ConvRank = Annotated[int, Field(ge=0, le=4096), Spec("Convolution Rank (Dimension)", "tools", "how")]
# fmt: on
StoredPrecision = Literal["as it is", "float", "fp16", "bf16"]
