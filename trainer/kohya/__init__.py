"""Settings of other programs: kohya_ss's JSON of every age, sd-scripts' TOML and commands, LoRA files.

`read` takes any of them and returns settings with a report on every key; `to_kohya` writes kohya_ss's
JSON, `to_sd_scripts` and `sd_scripts_command` say the same run in sd-scripts' words. Loads no torch.
"""

from trainer.kohya.export import our_command, sd_scripts_cannot, sd_scripts_command
from trainer.kohya.read_sd_scripts import from_sd_scripts
from trainer.kohya.report import Entry, Imported, Report, attention_lines, report_lines
from trainer.kohya.source import read, read_text
from trainer.kohya.write_kohya import to_kohya
from trainer.kohya.write_sd_scripts import to_sd_scripts

__all__ = [
    "Entry", "Imported", "Report", "attention_lines", "from_sd_scripts", "our_command", "read", "read_text",
    "report_lines", "sd_scripts_cannot", "sd_scripts_command", "to_kohya", "to_sd_scripts",
]  # fmt: skip
