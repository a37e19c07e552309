"""All tools, each with its form and its function. A new one is a row here."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.tools.forms.resize import RESIZE
from trainer.tools.forms.verify import VERIFY
from trainer.tools.tool import Tool

TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in (RESIZE, VERIFY)}
"""By name, in the order of the page."""
