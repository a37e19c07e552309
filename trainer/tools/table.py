"""All tools, each with its form and its function. A new one is a row here."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.tools.forms.caption import CAPTION
from trainer.tools.forms.convert import CONVERT
from trainer.tools.forms.difference import EXTRACT
from trainer.tools.forms.merge import MERGE
from trainer.tools.forms.merge_into import MERGE_INTO
from trainer.tools.forms.metadata import METADATA
from trainer.tools.forms.prepare import PREPARE
from trainer.tools.forms.regularisation import REGULARISATION
from trainer.tools.forms.resize import RESIZE
from trainer.tools.forms.split import SPLIT
from trainer.tools.forms.tag import TAG
from trainer.tools.forms.verify import VERIFY
from trainer.tools.tool import Tool

ROWS = (
    PREPARE,
    TAG,
    CAPTION,
    REGULARISATION,
    MERGE,
    MERGE_INTO,
    RESIZE,
    EXTRACT,
    SPLIT,
    CONVERT,
    METADATA,
    VERIFY,
)
TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in ROWS}
"""By name, in the order of the page."""
