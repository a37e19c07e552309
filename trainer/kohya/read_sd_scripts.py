"""Our settings <-> sd-scripts' own options.

kohya_ss hands its settings over in these words, so its rules for rates, noise and attention meet here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import NoneType
from typing import Any

from trainer.kohya import networks, schedule_options
from trainer.kohya.draft import Draft
from trainer.kohya.fitting import as_number
from trainer.kohya.report import Entry, Imported
from trainer.kohya.sd_defaults import DEFAULTS, LISTS
from trainer.settings import TRAINING

OPTION_OF = {
    key: s.spec.flag or key for key, s in TRAINING.items() if s.spec.flag != "-" and s.spec.widget != "secret"
}
"""Our setting -> sd-scripts' option, where one value is simply the other. Secrets are never written out."""
SETTING_OF = {option: key for key, option in OPTION_OF.items()} | {
    name: name for name in ("dynamo_backend", "wandb_api_key", "huggingface_token")
}
NO_EFFECT = {
    "console_log_level", "console_log_file", "console_log_simple", "tokenizer_cache_dir", "debug_dataset",
    "config_file", "output_config", "cache_info", "ddp_timeout", "ddp_gradient_as_bucket_view",
    "ddp_static_graph", "disable_mmap_load_safetensors", "log_prefix", "dataset_class",
    "caption_extention", "epoch", "noise_offset_type", "stop_text_encoder_training",
}  # fmt: skip
"""Options that change nothing in the result here (or nothing anywhere)."""
DEFAULT_RESOLUTION = "512,512"

CACHE_TEXTS = "sdxl_cache_text_encoder_outputs"


def from_sd_scripts(args: Mapping[str, Any], *, sdxl: bool | None = None) -> Imported:
    """Settings from sd-scripts' resolved options (what `train_network.py` holds after parsing).

    Absent options take sd-scripts' own defaults. `sdxl`: whether `sdxl_train_network.py` runs them
    (None: an SDXL-only option says so). Raises nothing for content.
    """
    draft = draft_from_options(args, sdxl=sdxl)
    return draft.finish("sd_scripts")


def draft_from_options(args: Mapping[str, Any], *, sdxl: bool | None = None) -> Draft:
    """As `from_sd_scripts`, open for more."""
    draft = Draft({})
    odd = [option for option, value in args.items() if option in DEFAULTS and not _has_form(option, value)]
    values = {**DEFAULTS, **args, **{option: DEFAULTS[option] for option in odd}}
    draft.take(
        "sdxl", bool(args.get("sdxl") or args.get("cache_text_encoder_outputs")) if sdxl is None else sdxl
    )
    for reader in (
        _network,
        _rates,
        _optimizer,
        _warmup,
        _attention,
        _noise,
        _pictures,
        _texts,
        _files,
        _process,
    ):
        reader(draft, values)
    if values["cache_text_encoder_outputs_to_disk"]:  # what is cached here is on disk
        draft.take(CACHE_TEXTS, True, key="cache_text_encoder_outputs_to_disk", was=True)
    keys = {entry.key for entry in draft.entries} | {"sdxl"}
    for option, value in values.items():
        if option in keys:
            continue
        setting = SETTING_OF.get(option)
        if setting and setting not in draft.values:
            draft.take(setting, _empty(setting) if value is None else value, key=option, was=value)
        elif not setting:
            _other(draft, option, value)
    draft.entries = [
        entry if entry.key.partition(" ")[0] in args or (entry.key == "sdxl" and sdxl) else _defaulted(entry)
        for entry in draft.entries
    ]
    for option in ("network_args", "optimizer_args", "lr_scheduler_args"):
        if name := networks.twice(values[option]):
            draft.remark(option, "kohya.argument_twice", name=name[:60])
    for option in odd:
        wrong = {"was": args[option], "why": "kohya.wrong_type", "attention": True}
        draft.entries = [
            replace(e, kind="converted", **wrong) if e.key == option else e for e in draft.entries
        ]
    return draft


def _has_form(option: str, value: Any) -> bool:
    """Lists where sd-scripts takes several values (and for W,H), else single values."""
    if option in LISTS or option in ("resolution", "face_crop_aug_range"):
        parts = value if isinstance(value, (list, tuple)) else [value]
        return not isinstance(value, bool) and all(
            isinstance(part, (str, int, float, NoneType)) for part in parts
        )
    return isinstance(value, (str, int, float, NoneType))


def _defaulted(entry: Entry) -> Entry:
    return replace(entry, kind="defaulted", was=None, why="", note="", attention=False)


def _empty(setting: str) -> Any:
    """What sd-scripts means by an option that is not given."""
    if TRAINING[setting].optional:
        return None
    return {"switch": False, "int": 0, "float": 0.0, "text": "", "choice": ""}[TRAINING[setting].kind]


def _other(draft: Draft, option: str, value: Any) -> None:
    """An option without a setting: harmless where it is at its default."""
    if option in NO_EFFECT:
        draft.add(option, "unknown", value, why="kohya.no_effect")
    elif option in DEFAULTS and value == DEFAULTS[option]:
        draft.add(option, "taken", value, now=value, why="kohya.at_default")
    else:
        draft.own.setdefault("sd_scripts", {})[option] = value
        draft.add(option, "unknown", value, why="kohya.no_setting", attention=True)


def _network(draft: Draft, values: Mapping[str, Any]) -> None:
    args, odd = networks.parse_args(values["network_args"])
    module = str(values["network_module"] or "")  # a file may say `true`
    kind = networks.lora_type(module, args)
    dim, raw = values["network_dim"] or 4, values["network_alpha"]
    is_zero = _is_zero(raw)
    alpha = dim if is_zero else 1.0 if raw is None else raw
    draft.take(
        "network_dim", dim, was=values["network_dim"], why="" if values["network_dim"] else "kohya.dim_4"
    )
    draft.take("network_alpha", alpha, was=raw, why="kohya.alpha_zero" if is_zero else "")
    if kind:
        draft.take("LoRA_type", kind, key="network_module", was=module, why="kohya.network_module")
    else:
        draft.own.setdefault("sd_scripts", {})["network_module"] = module
        _unknown_network(draft, module)
    settings = networks.settings_of_arguments(kind, args, dim, alpha)
    for setting, value in settings.items():
        name = networks.ARGUMENT_NAMES.get(setting, setting)
        if setting == "conv_alpha" and _is_zero(value) and not _is_zero(settings.get("conv_dim", 0)):
            same = alpha if kind in networks.LYCORIS_ARGS else settings["conv_dim"]  # as each takes a 0
            draft.take(setting, same, key="network_args conv_alpha", was=value, why="kohya.conv_alpha_zero")
            continue
        note = "kohya.decompose_both" if setting == "decompose_both" and value.lower() == "false" else ""
        draft.take(
            setting,
            value,
            key=f"network_args {name}" if name in args or setting in args else setting,
            note=note,
        )
    back = {name: setting for setting, name in networks.ARGUMENT_NAMES.items()} | {
        "block_size": "unit",
        "dropout": "network_dropout",
    }
    unknown = [
        f"{name}={value}"
        for name, value in args.items()
        if back.get(name, name) not in settings and name != "algo"
    ]
    if unknown or odd:
        draft.own.setdefault("sd_scripts", {})["network_args"] = unknown + odd
        draft.add("network_args", "unknown", " ".join(unknown + odd), why="kohya.no_setting", attention=True)
    else:
        draft.add("network_args", "taken", values["network_args"], now=values["network_args"])


def _unknown_network(draft: Draft, module: str) -> None:
    if family := networks.other_family(module):
        draft.add("network_module", "other_family", module, why="kohya.other_model", attention=True,
                  values={"family": family})  # fmt: skip
    else:
        draft.add("network_module", "unknown", module, why="kohya.unknown_network", attention=True)


def _is_zero(value: Any) -> bool:
    return value is not None and not isinstance(value, bool) and as_number(str(value)) == 0


def _rates(draft: Draft, values: Mapping[str, Any]) -> None:
    """`unet_lr`, `text_encoder_lr`: not given means the base rate; "only" switches the other part off."""
    unet, text = values["unet_lr"], values["text_encoder_lr"]
    rates = [text] if isinstance(text, (int, float, str)) else list(text or ())
    draft.take(
        "learning_rate",
        0.0 if values["learning_rate"] is None else values["learning_rate"],
        was=values["learning_rate"],
    )
    unet_only, text_only = values["network_train_unet_only"], values["network_train_text_encoder_only"]
    first = rates[0] if rates else None
    draft.take(
        "unet_lr", 0 if text_only else unet, was=unet, why="kohya.text_encoder_only" if text_only else ""
    )
    if unet_only:
        draft.take("text_encoder_lr", 0, was=text, why="kohya.unet_only")
    elif len(rates) == 2 and len({str(rate) for rate in rates}) > 1 and draft.get("sdxl"):
        draft.take("text_encoder_lr", rates, was=text, why="kohya.text_rates_each")
    elif len({str(rate) for rate in rates}) > 1:
        draft.take("text_encoder_lr", first, was=text, why="kohya.two_text_rates")
    else:
        draft.take("text_encoder_lr", first, was=text)
    for option in ("network_train_unet_only", "network_train_text_encoder_only"):
        draft.add(option, "taken", values[option], now=values[option])


def _optimizer(draft: Draft, values: Mapping[str, Any]) -> None:
    name = values["optimizer_type"] or ""
    if not name:
        name = "AdamW8bit" if values["use_8bit_adam"] else "Lion" if values["use_lion_optimizer"] else "AdamW"
    draft.take("optimizer", name, key="optimizer_type", was=values["optimizer_type"])
    for option in ("use_8bit_adam", "use_lion_optimizer"):
        draft.add(option, "taken", values[option], now=values[option])
    for option in ("optimizer_args", "lr_scheduler_args"):
        parts = networks.parts_of(values[option])
        text = " ".join(f'"{part}"' if len(part.split()) > 1 else part for part in parts)
        draft.take(option, text, was=values[option])
    schedule, _, rate = str(values["lr_scheduler"] or "constant").partition(":")
    if rate and values["learning_rate"] is None:  # as sd-scripts itself writes it for a relative step
        draft.take(
            "learning_rate", rate, key="lr_scheduler", was=values["lr_scheduler"], why="kohya.relative_step"
        )
    draft.take("lr_scheduler", schedule, was=values["lr_scheduler"])
    for option in schedule_options.ARGUMENT_OF:
        _schedule_option(draft, option, values[option])


def _schedule_option(draft: Draft, option: str, value: Any) -> None:
    """`lr_decay_steps` is 0 where it is not given; the other two are None."""
    if value is None or not schedule_options.schedule_takes(draft.get("lr_scheduler"), option):
        harmless = value == DEFAULTS[option]
        why = "kohya.at_default" if harmless else "kohya.no_effect"
        draft.add(option, "taken" if harmless else "unknown", value, now=value if harmless else None, why=why)
        return
    text = schedule_options.with_argument(draft.get("lr_scheduler_args"), option, value)
    draft.take("lr_scheduler_args", text, key=option, was=value, why="kohya.schedule_option")


def _warmup(draft: Draft, values: Mapping[str, Any]) -> None:
    """A whole number is steps; a fraction (also "10%") is a share of the run.

    sd-scripts cuts a share off to whole steps, the percentage here is rounded: where that differs for a run
    of known length, the steps are kept instead.
    """
    raw = values["lr_warmup_steps"]
    amount = raw
    if isinstance(raw, str):
        percent = raw.strip().endswith("%")
        amount = as_number(raw.strip().rstrip("%"))
        amount = amount / 100 if percent and amount is not None else amount
    share = amount if isinstance(amount, float) and 0 < amount <= 1 else None
    total = 0 if values["max_train_epochs"] else as_number(str(values["max_train_steps"])) or 0
    if share is not None and int(share * total) != round(share * total):
        draft.take("lr_warmup", 0, key="lr_warmup_steps", was=raw, why="kohya.warmup_share_in_steps")
        draft.take("lr_warmup_steps", int(share * total))
    elif share is not None:
        draft.take(
            "lr_warmup", round(share * 100, 9), key="lr_warmup_steps", was=raw, why="kohya.warmup_share"
        )
        draft.take("lr_warmup_steps", 0)
    else:
        draft.take("lr_warmup", 0, key="lr_warmup_steps", was=raw, why="kohya.warmup_steps")
        draft.take("lr_warmup_steps", 0 if amount is None else amount, was=raw)


def _attention(draft: Draft, values: Mapping[str, Any]) -> None:
    attention = next((name for name in ("xformers", "sdpa") if values[name]), "none")
    for option in ("xformers", "sdpa"):
        draft.add(option, "taken", values[option], now=values[option])
    draft.take(
        "xformers",
        attention,
        key=attention if attention != "none" else "xformers",
        was=values.get(attention, False),
    )


def _noise(draft: Draft, values: Mapping[str, Any]) -> None:
    multires, offset = values["multires_noise_iterations"], values["noise_offset"]
    draft.take(
        "noise_offset_type",
        "Both" if multires and offset else "Multires" if multires else "Original",
        key="multires_noise_iterations" if multires else "noise_offset",
        was=multires or offset,
    )
    draft.take("multires_noise_iterations", multires or 0, was=multires)
    draft.take("noise_offset", offset or 0, was=offset)
    draft.take("min_timestep", values["min_timestep"] or 0, was=values["min_timestep"])
    last = values["max_timestep"]
    draft.take("max_timestep", 1000 if last is None else last, was=last)


def _pictures(draft: Draft, values: Mapping[str, Any]) -> None:
    size = values["resolution"]
    text = ",".join(str(part) for part in size) if isinstance(size, (list, tuple)) else size
    draft.take(
        "max_resolution", DEFAULT_RESOLUTION if text in (None, "") else str(text), key="resolution", was=size
    )
    draft.take(
        "vae_batch_size",
        0 if values["vae_batch_size"] in (None, 1) else values["vae_batch_size"],
        was=values["vae_batch_size"],
    )


def _texts(draft: Draft, values: Mapping[str, Any]) -> None:
    extension = values["caption_extention"] or values["caption_extension"]
    draft.take("caption_extension", extension or "", was=extension)
    length = values["max_token_length"]
    draft.take("max_token_length", 75 if length is None else length, was=length)
    skip = values["clip_skip"]
    draft.take("clip_skip", 1 if skip is None else skip, was=skip)


def _files(draft: Draft, values: Mapping[str, Any]) -> None:
    kind = str(values["save_model_as"] or "safetensors")
    draft.take(
        "save_model_as", "ckpt" if kind == "pt" else kind, was=kind, why="kohya.pt" if kind == "pt" else ""
    )
    precision = values["save_precision"]
    draft.take("save_precision", precision or "float", was=precision)
    draft.take("output_name", values["output_name"] or "last", was=values["output_name"])
    draft.take("seed", values["seed"])
    upload = values["resume_from_huggingface"]
    draft.take(
        "resume_from_huggingface", (values["resume"] or "") if upload is True else upload or "", was=upload
    )
    prompts = values["sample_prompts"]
    if prompts:
        draft.own.setdefault("sd_scripts", {})["sample_prompts"] = prompts
        draft.add("sample_prompts", "unknown", prompts, why="kohya.prompt_file", attention=True)
    else:
        draft.take("sample_prompts", "", was=prompts)


def _process(draft: Draft, values: Mapping[str, Any]) -> None:
    backend = values["dynamo_backend"] if values["torch_compile"] else "no"
    draft.take("dynamo_backend", backend, was=values["dynamo_backend"])
    draft.add("torch_compile", "taken", values["torch_compile"], now=values["torch_compile"])
    workers = values["max_data_loader_n_workers"]
    draft.take("max_data_loader_n_workers", 0 if workers is None else workers, was=workers)
