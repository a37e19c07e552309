"""Writes docs/tools.md and docs/tools.ja.md: each tool, what it reads and writes, its command, its settings.

`python -m trainer.tools.tools_doc` rewrites them from the forms and the texts; a test fails while they are
not current.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from trainer.files.whole_file import write_whole
from trainer.messages import LANGUAGES, Language, texts
from trainer.tools.places import NEW, READ
from trainer.tools.settings_doc import DOCS, choices, doc_text, facts, when
from trainer.tools.table import TOOLS
from trainer.tools.tool import Tool

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "lora": ("momo.safetensors",), "shares": ("momo.safetensors:0.8", "style.safetensors:0.5"),
    "new_file": ("new.safetensors",), "new_model": ("new-model.safetensors",), "new_folder": ("training",),
    "model": ("model.safetensors",), "folder": ("pictures",),
}  # fmt: skip
"""What stands in a command for a setting of each kind."""
VALUES_SHOWN: Mapping[str, Mapping[str, str]] = {
    "prepare": {"pictures": "pictures", "instance_prompt": "sks", "class_prompt": "cat", "repeats": "10"},
    "tag": {"model": "SmilingWolf/wd-vit-tagger-v3", "prefix": "sks"},
    "caption": {"model": "Salesforce/blip-image-captioning-base"},
    "regularisation": {"class_prompt": "cat", "count": "100"},
    "resize": {"rank": "8"},
    "extract": {"tuned": "tuned.safetensors", "rank": "64"},
    "split": {"rank": "4"},
    "metadata": {"title": "Momo", "trigger_phrase": "sks cat"},
}
"""Settings of a tool's example beyond those that are required, or with a value of their own."""


def main() -> None:
    """Rewrite the pages of all languages."""
    for language in LANGUAGES:
        write_whole(DOCS / file_name(language), page(language).encode())


def file_name(language: Language) -> str:
    """Name of the page in a language."""
    return f"tools{'' if language == 'en' else f'.{language}'}.md"


def page(language: Language) -> str:
    """The whole page as Markdown."""
    return "\n".join([*_head(language), *(line for tool in TOOLS.values() for line in _tool(tool, language))])


def example(tool: Tool) -> list[str]:
    """A tool's command with all that it needs, as words."""
    own = VALUES_SHOWN.get(tool.name, {})
    command = [tool.name]
    for key, setting in tool.schema.items():
        if key in own or setting.spec.required:
            given = (own[key],) if key in own else EXAMPLES[setting.spec.widget]
            command += [word for value in given for word in (f"--{key}", value)]
    return command


def _head(language: Language) -> Iterator[str]:
    titles = texts(language)["tools"]
    yield f"# {doc_text(language, 'tools_title')}\n"
    yield f"{doc_text(language, 'tools_other_language')}\n"
    yield f"{doc_text(language, 'tools_intro')}\n"
    for name in TOOLS:
        yield f"- [{titles[name]['title']}](#{name}): {titles[name]['about']}"
    yield f"\n{doc_text(language, 'tools_reference')}\n"


def _tool(tool: Tool, language: Language) -> Iterator[str]:
    words = texts(language)["tools"][tool.name]
    yield f'<a id="{tool.name}"></a>\n'
    yield f"## {words['title']}\n"
    yield f"{words['about']} {doc_text(language, 'tools_light' if tool.light else 'tools_in_line')}\n"
    reads = _labels(tool, (*READ, "shares"))
    writes = _labels(tool, NEW) or doc_text(language, "tools_proposes" if tool.proposes else "tools_report")
    yield f"- **{doc_text(language, 'tools_reads')}:** {reads}"
    yield f"- **{doc_text(language, 'tools_writes')}:** {writes}"
    if tool.resumes:
        yield f"- {doc_text(language, 'tools_resumes')}"
    yield f"\n```\n./launch.sh tool {shlex.join(example(tool))}\n```\n"
    for key in tool.schema:
        yield from _setting(tool, key, language)
    yield ""


def _labels(tool: Tool, widgets: tuple[str, ...]) -> str:
    settings = (setting for setting in tool.schema.values() if setting.spec.widget in widgets)
    return ", ".join(f"**{setting.spec.label}**" for setting in settings)


def _setting(tool: Tool, key: str, language: Language) -> Iterator[str]:
    """One setting: label, option, facts, help, choices."""
    setting = tool.schema[key]
    help_ = tool.schema.told(key, texts(language)["tool_settings"])
    meaning = f"（{help_['meaning']}）" if help_.get("meaning") else ""
    yield f"#### {setting.spec.label}{meaning}\n"
    yield f"`--{key}` · {' · '.join(facts(setting, language))}\n"
    if setting.spec.matters:
        yield f"{when(setting, language, tool.schema)}\n"
    yield f"- **{doc_text(language, 'does')}:** {help_['does']}"
    number = setting.kind in {"int", "float"}
    for part in ("usual", "too_much", "goes_with"):
        if help_.get(part):
            heading = "watch_out" if part == "too_much" and not number else part
            yield f"- **{doc_text(language, heading)}:** {help_[part]}"
    yield from choices(setting, language, tool.schema)
    yield ""


if __name__ == "__main__":
    main()
