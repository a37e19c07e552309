"""Tab "Training parameters": the settings that everyone looks at."""

from __future__ import annotations

import gradio as gr
from gradio.components import Component

from app.form.groups import keys_of
from app.page.layout import field_section, fold_out, raw_html, section
from app.page.widgets import add_fields

LENGTH = ("train_batch_size", "epoch", "save_every_n_epochs", "caption_extension", "max_train_epochs")
PRECISION = ("mixed_precision", "save_precision", "num_cpu_threads_per_process", "seed")
RATES = ("learning_rate", "lr_scheduler", "lr_warmup", "optimizer", "optimizer_args",
         "text_encoder_lr", "unet_lr", "stop_text_encoder_training")  # fmt: skip
LORA = ("LoRA_type", "network_weights", "dim_from_weights")
SIZE = ("network_dim", "network_alpha", "max_resolution", "enable_bucket")


def training_tab(components: dict[str, Component], i18n: gr.I18n) -> None:
    """Lay out the fields and add them to `components`."""
    with section("lora"):
        add_fields(components, LORA)
        fold_out(components, i18n, "lora_more")
    with section("length"):
        add_fields(components, keys_of("training", "length", LENGTH))
        raw_html('<p id="la-sum" class="la-note" role="status"></p>', elem_classes=["la-slot", "c3"])
    field_section(components, "training", "precision", PRECISION)
    with section("rates"):
        add_fields(components, keys_of("training", "rates", RATES))
        raw_html('<div id="la-curve"></div>', elem_classes=["la-slot", "c3"])
    field_section(components, "training", "size", SIZE)
