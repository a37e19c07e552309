"""The same run as a command: ours, and sd-scripts'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.families.table import named_by
from trainer.kohya.toml_text import toml_text
from trainer.kohya.write_sd_scripts import to_sd_scripts
from trainer.messages import Message
from trainer.settings import Settings

CONFIG_NAME = "config_lora.toml"


def our_command(config: str) -> list[str]:
    """Our own command for settings saved as `config`; it needs no page, and starts its processes itself."""
    return ["python", "-m", "trainer", "train", config]


def sd_scripts_command(settings: Settings, carried: Mapping[str, Any] | None = None) -> tuple[list[str], str]:
    """sd-scripts' command as a list of words, and the text of the TOML file it names.

    The words need no shell; to show them, quote them for the reader's system. Sample prompts stand in
    the TOML as comments, with the name of the file they belong in.
    """
    machine = settings.machine
    words = ["accelerate", "launch", "--dynamo_backend", machine.dynamo_backend]
    words += ["--dynamo_mode", machine.dynamo_mode]
    words += ["--dynamo_use_fullgraph"] * machine.dynamo_use_fullgraph
    words += ["--dynamo_use_dynamic"] * machine.dynamo_use_dynamic
    words += machine.extra_accelerate_launch_args.replace('"', "").split()
    words += ["--gpu_ids", machine.gpu_ids] if machine.gpu_ids else []
    words += ["--main_process_port", str(machine.main_process_port)] if machine.main_process_port else []
    words += ["--mixed_precision", machine.mixed_precision]
    words += ["--multi_gpu"] * machine.multi_gpu
    words += ["--num_processes", str(machine.num_processes), "--num_machines", str(machine.num_machines)]
    words += ["--num_cpu_threads_per_process", str(machine.num_cpu_threads_per_process)]
    folder = settings.folders.output_dir
    words += [
        named_by(settings.model).script,
        "--config_file",
        f"{folder}/{CONFIG_NAME}" if folder else CONFIG_NAME,
    ]
    options = to_sd_scripts(settings, carried)
    return words, _prompt_lines(settings, options) + toml_text(options)


def _prompt_lines(settings: Settings, options: Mapping[str, Any]) -> str:
    prompts = settings.sampling.sample_prompts.strip().splitlines()
    if not prompts:
        return ""
    lines = [f"# {options['sample_prompts']}:", *(f"#   {line}" for line in prompts)]
    return "\n".join(lines) + "\n\n"


def sd_scripts_cannot(settings: Settings) -> tuple[Message, ...]:
    """What sd-scripts does not do of these settings."""
    codes = []
    if settings.optimizer.stop_text_encoder_training:
        codes.append("kohya.cannot_stop_text_encoder")
    if settings.captions.no_token_padding:
        codes.append("kohya.cannot_token_padding")
    if settings.optimizer.lr_scheduler in ("constant", "adafactor") and (
        settings.optimizer.lr_warmup or settings.optimizer.lr_warmup_steps
    ):
        codes.append("kohya.cannot_warm_up")
    if settings.images.train_inpainting or settings.network.LoRA_type in ("Kohya LoHa", "Kohya LoKr"):
        codes.append("kohya.needs_newer")
    return tuple(Message(code) for code in codes)
