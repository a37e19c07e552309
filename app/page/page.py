"""The page: header, tabs, rail and action bar put together.

Gradio gives the widgets and the tabs. The script in assets/ hears every input at once with all values
(`collect`), asks the server (app.answers) by one small request, and writes many widgets by one update
(`apply`): no queue, no round trip per field.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from app.answers import Answers
from app.page import layout
from app.page.advanced_tab import advanced_tab
from app.page.folders_tab import folders_tab
from app.page.layout import LANGUAGES, asset, icon, raw_html, t
from app.page.source_model_tab import source_model_tab
from app.page.theme import theme
from app.page.training_tab import training_tab
from app.paths import Roots
from app.texts import script_words

if TYPE_CHECKING:
    from app.jobs.store import JobStore

SCRIPTS = (
    "toolkit", "core", "form", "draft", "fields", "header", "language", "files", "picture", "help", "offer",
    "plan", "unet", "blocks", "browse", "upload", "room_door",
    "run", "notice", "place", "bar", "chart", "samples", "inside", "try", "judge", "remedy", "live_view",
    "jobs", "tool_fields", "tools", "start",
)  # fmt: skip
STYLES = ("theme", "page", "fields", "parts", "browse", "touch")
ROOM = ("room", "room_list", "room_side", "room_edit")
"""Scripts that are fetched when the dataset room is first opened (room_door)."""
TITLE = "LoRA Atelier"
DEMO_STEPS = (0, 40, 80, 160)


def build_page(store: JobStore, roots: Roots | None = None, *, gated: bool = False) -> gr.Blocks:
    """The whole page for the jobs of one workspace. `roots`: the folders that it may use; `gated`: it asks
    for a password, so that one can log out.
    """
    components: dict[str, Component] = {}
    answers = Answers(store, roots)
    i18n = layout.translated()
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        raw_html(header(gated=gated), elem_id="head")
        with gr.Row(elem_id="split"):
            with gr.Tabs(elem_id="tabs"):
                with gr.Tab(i18n("w.tab.source_model"), id="source_model", elem_id="t-source_model"):
                    raw_html('<div id="la-offer"></div>', elem_classes="la-slot")
                    source_model_tab(components)
                with gr.Tab(i18n("w.tab.folders"), id="folders", elem_id="t-folders"):
                    folders_tab(components)
                with gr.Tab(i18n("w.tab.training"), id="training", elem_id="t-training"):
                    training_tab(components, i18n)
                with gr.Tab(i18n("w.tab.advanced"), id="advanced", elem_id="t-advanced"):
                    advanced_tab(components, i18n)
                with gr.Tab(i18n("w.tab.tools"), id="tools", elem_id="t-tools"):
                    view("toolbox", "showTools", ("live", "try", "tools"))
                with gr.Tab(i18n("w.tab.run"), id="run", elem_id="t-run"):
                    view("live", "showRun", ("live", "try", "inside"))
                with gr.Tab(i18n("w.tab.jobs"), id="jobs", elem_id="t-jobs"):
                    view("jobs", "showJobs", ("live", "try", "inside", "jobs"))
            raw_html('<aside class="rail" id="la-rail"></aside>', elem_id="rail")
        raw_html(bar(), elem_id="bar")
        bridge(components, answers)
    return page


def view(name: str, function: str, styles: tuple[str, ...]) -> gr.HTML:
    """A tab that the script fills: it calls `function` when Gradio has mounted it. Until then it says so."""
    return gr.HTML(
        f'<div class="la-{name}"><p class="sub" role="status">{layout.t("loading")}</p></div>',
        elem_id=name,
        css_template="".join(map(layout.style_sheet, styles)),
        js_on_load=f"window.atelier.{function}(element)",
        apply_default_css=False,
    )


def bridge(components: dict[str, Component], answers: Answers) -> None:
    """The wires between the widgets, the script and the server."""
    fields = list(components.values())
    apply = gr.Button("apply", elem_id="la-apply")
    listen = gr.Button("listen", elem_id="la-listen")
    raw_html(
        "",
        elem_id="la-bridge",
        js_on_load="window.atelier.connect(server)",
        server_functions=answers.functions(),
    )
    quiet: dict[str, Any] = {
        "fn": None,
        "queue": False,
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    keys = json.dumps(list(components))
    hear = f"(...values) => {{ window.atelier.heard({keys}, values); return []; }}"
    inputs: list[Any] = [field.input for field in fields]  # pyright: ignore[reportAttributeAccessIssue]  # all have it
    # The button too: the first input after a tab is mounted is not told by Gradio 6.31.
    gr.on([*inputs, listen.click], inputs=fields, js=hear, **quiet)
    apply.click(inputs=None, outputs=fields, js=f"() => window.atelier.written({keys})", **quiet)


def header(*, gated: bool) -> str:
    """Brand, configuration file, search, language, light, and the way out where there is a door."""
    buttons = "".join(
        f'<button type="button" class="btn q" data-act="{name}">{t(f"head.{name}")}</button>'
        for name in ("open", "save", "save_as", "load")
    )
    languages = "".join(
        f'<button type="button" data-lang="{code}" lang="{code}" aria-pressed="false">{name}</button>'
        for code, name in (("en", "English"), ("ja", "日本語"))
    )
    return (
        asset("header.html")
        .replace("{{buttons}}", buttons)
        .replace("{{languages}}", languages)
        .replace("{{logout}}", asset("logout.html") if gated else "")
        .replace("{{config}}", t("head.config"))
        .replace("{{presets}}", t("head.presets"))
        .replace("{{report}}", t("head.report"))
    )


def bar() -> str:
    """Train, Stop, Print training command, the length of the run, and on every tab the run at work."""
    buttons = (("train", "btn p lg", "play"), ("stop", "btn lg", "stop"), ("command", "btn q hide-m", "cmd"))
    words = {name: t(f"bar.{name}") for name, _, _ in buttons}
    words["train"] = f'<span class="whole">{words["train"]}</span><span class="adds">{t("bar.add")}</span>'
    shown = "".join(
        f'<button type="button" class="{style}" data-act="{name}"'
        f"{'' if name == 'command' else ' aria-disabled=true'}>{icon(symbol)}{words[name]}</button>"
        for name, style, symbol in buttons
    )
    length = '<div class="len" id="la-len" role="status" aria-live="polite"></div>'
    run = '<div id="la-now" hidden></div>'
    line = '<div class="la-line" id="la-line" hidden><i></i></div>'
    return f'{line}<div class="la-wrap" role="region" id="la-bar">{shown}{run}{length}</div>'


def script() -> str:
    """All of the page's script, with the words it needs in every language."""
    spoken = {language: script_words(language) for language in LANGUAGES}
    parts = "\n".join(asset(f"{name}.js") for name in SCRIPTS)
    data = json.dumps(spoken, ensure_ascii=False).replace("</", "<\\/")
    given = f"const WORDS = {data};\nconst SPRITE = {json.dumps(asset('icons.svg'))};"
    given += f"\nconst TITLE = {json.dumps(TITLE)};"
    given += f"\nconst DEMO_PICTURES = {json.dumps([(step, demo_picture(step)) for step in DEMO_STEPS])};"
    return f"(() => {{ 'use strict';\n{given}\n{parts}\n}})();"


def room_script() -> str:
    """The dataset room's scripts and style sheet, to be evaluated among the page's own; see room_door.js."""
    parts = "\n".join(asset(f"{name}.js") for name in ROOM)
    style = json.dumps(layout.style_sheet("room"))
    style = f"document.head.append(el('style', {{}}, {style}));"
    return f"(() => {{ 'use strict';\n{parts}\n{style}\nreturn {{ room, openRoom, proposeCaptions }};\n}})()"


def demo_picture(step: int) -> str:
    """A sample picture of the demo after so many steps, as a data address."""
    data = (layout.ASSETS / f"demo_{step}.webp").read_bytes()
    return "data:image/webp;base64," + base64.b64encode(data).decode()


def mount_options() -> dict[str, Any]:
    """Arguments for `gr.mount_gradio_app` that make the page what it is."""
    style = "\n".join([*map(layout.style_sheet, STYLES), layout.glyphs_css(), layout.accordion_css()])
    head = '<meta name="color-scheme" content="light dark">'
    # In the head, not as `css=`: that would be rewritten by Gradio and come after the first paint.
    head += f"<style>{style}</style><script>{script()}</script>"
    return {"theme": theme(), "head": head, "i18n": layout.translated()}
