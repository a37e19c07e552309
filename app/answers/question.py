"""The one way in for what the page asks: whatever goes wrong comes back as a sentence."""

from __future__ import annotations

import functools
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from app.texts import language_of, said, word
from trainer.errors import DISK_FULL, UserError
from trainer.messages import Language

Request = Mapping[str, Any]
Answer = dict[str, Any]
Questions = TypeVar("Questions")


def question(method: Callable[[Questions, Request], Answer]) -> Callable[[Questions, Request], Answer]:
    """Make a method one of the page's questions: it takes one JSON object and returns one.

    Errors come back as {"error": {"what", "why", "fix"}}; one that is our own bug is printed as well.
    """

    @functools.wraps(method)
    def safe(self: Questions, request: Request) -> Answer:
        request = _whole_letters(request) if isinstance(request, dict) else {}
        try:
            return method(self, request)
        except Exception as error:  # noqa: BLE001  # here it is said to the person
            return {"error": error_in_words(error, language_of(request.get("lang")))}

    safe.__dict__["is_question"] = True
    return safe


def questions_of(owner: object) -> dict[str, Callable[[Request], Answer]]:
    """The questions of an object by name; as plain functions, since Gradio goes by __name__."""
    names = [
        name for name, value in vars(type(owner)).items() if "is_question" in getattr(value, "__dict__", {})
    ]
    return {name: _plain_function(name, getattr(owner, name)) for name in names}


def _plain_function(name: str, method: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    def function(request: Request) -> Answer:
        return method(request)

    function.__name__ = name
    return function


def _whole_letters(request: Request) -> Request:
    """Half letters (lone surrogates, from JavaScript or a damaged file) as "?": no file can hold them."""
    text = json.dumps(request, ensure_ascii=False, default=str)
    return request if text.isascii() else json.loads(text.encode("utf-8", "replace"))


def sent(request: Request, key: str) -> dict[str, Any]:
    """An object that the page sent along; {} where it is none."""
    value = request.get(key)
    return value if isinstance(value, dict) else {}


def error_in_words(error: Exception, language: Language) -> dict[str, str]:
    """{"what"} and, where there is more to say, {"why", "fix"}."""
    if isinstance(error, UserError):
        sentence = said(error.message.code, error.message.values, language)
        return {"what": sentence.what, "why": sentence.why, "fix": sentence.fix}
    if isinstance(error, OSError):
        if error.errno in DISK_FULL:
            return {"what": word(language, "error.disk_full")}
        return {"what": word(language, "error.disk", reason=error.strerror or str(error))}
    traceback.print_exception(error, file=sys.stderr)
    return {"what": word(language, "error.bug", error=f"{type(error).__name__}: {error}"[:300])}
