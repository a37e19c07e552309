"""What a form of settings is made of, whatever it is for: `Spec`, `Section`, `Setting`, `Schema`.

A form is a class of sections (`Form`); what shows, reads, checks or documents it takes its `Schema`
or one `Setting`, so that another form needs no more than its own declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, Literal, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from typing_extensions import Self

Widget = Literal[
    "", "model", "file", "folder", "rate", "percent", "lines", "blocks", "secret", "hidden",
    "lora", "picture", "shares", "new_file", "new_model", "new_folder",
]  # fmt: skip
"""The last six are the tools': a LoRA file, a picture, LoRA files with strengths, and what is written."""
HELP_PARTS = ("does", "usual", "too_much", "goes_with")
"""Parts of a setting's help, in the order they are read."""
SET = "*"
"""In `Spec.matters`: the other setting is on, no blank text and not zero (a blank number counts)."""
Derived = Mapping[str, Callable[[Mapping[str, Any]], Any]]
"""Keys in `Spec.matters` that are no settings but follow from several."""


@dataclass(frozen=True)
class Spec:
    """What a setting needs beyond type, bounds and default."""

    label: str
    """kohya_ss's own English words; never translated, the Japanese meaning stands under them."""
    tab: str
    group: str
    """Heading on the page; its title is in texts under `groups`."""
    widget: Widget = ""
    """Blank: follows from the type."""
    matters: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Other setting, or "family" -> values (or SET) under which this one has a meaning; all must hold."""
    suggestions: tuple[str, ...] = ()
    """Offered values of a free text."""
    flag: str = ""
    """sd-scripts' option, where it is not the key. "-": none."""
    required: bool = False
    unbuilt: bool | tuple[str, ...] = False
    """True: no effect yet, or the choices that have none. Preflight blocks when it is set to something."""
    since: str = "0.1"


class Section(BaseModel):
    """Settings that one part of a program uses."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Form(BaseModel):
    """All settings of one form: nested sections in code, one flat object in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Self:
        """Build from flat keys; absent keys take our defaults.

        Raises pydantic.ValidationError (errors' `loc` begins with section and key) for a bad value and
        KeyError for a key that is no setting.
        """
        settings = settings_of(cls)
        sections: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            sections.setdefault(settings[key].section, {})[key] = value
        return cls.model_validate(sections)

    def flat(self) -> dict[str, Any]:
        """All values by key, in the order of declaration. Secrets are left out."""
        return {
            key: self.get(key) for key, setting in settings_of(type(self)).items() if not setting.is_secret
        }

    def replace(self, **values: Any) -> Self:
        """A copy with some values changed (checked like any other input)."""
        return self.from_flat({**{key: self.get(key) for key in settings_of(type(self))}, **values})

    def get(self, key: str) -> Any:
        """The value of a setting by its key."""
        return getattr(getattr(self, settings_of(type(self))[key].section), key)


@dataclass(frozen=True)
class Setting:
    """One declared setting, as the form, the command line and the docs see it."""

    key: str
    section: str
    spec: Spec
    info: FieldInfo

    @property
    def default(self) -> Any:
        """Value of a fresh form."""
        return self.info.default

    @property
    def choices(self) -> tuple[Any, ...]:
        """The only values allowed, or () where the value is free."""
        return tuple(getattr(self.info.annotation, "__args__", ())) if self.kind == "choice" else ()

    @property
    def kind(self) -> Literal["switch", "int", "float", "text", "choice"]:
        """Type of the value; int and float may be blank where `optional`."""
        types = get_args(self.info.annotation) if self.optional else (self.info.annotation,)
        kinds: dict[Any, Literal["switch", "int", "float", "text"]]
        kinds = {bool: "switch", int: "int", float: "float", str: "text"}
        return kinds.get(_plain(types[0]), "choice")

    @property
    def is_secret(self) -> bool:
        """A key or token: it is kept apart and never written into a file of settings."""
        return self.spec.widget == "secret"

    @property
    def pair(self) -> bool:
        """May be two numbers instead of one ("5e-5 1e-5")."""
        return any(get_origin(part) is tuple for part in get_args(self.info.annotation))

    @property
    def optional(self) -> bool:
        """May be blank (None)."""
        return type(None) in get_args(self.info.annotation)

    def bound(self, name: Literal["ge", "gt", "le"]) -> float | None:
        """A legal limit, or None."""
        inner = get_args(get_args(self.info.annotation)[0]) if self.optional else ()
        constraints = [part for info in inner if isinstance(info, FieldInfo) for part in info.metadata]
        found = [
            getattr(part, name)
            for part in [*constraints, *self.info.metadata]
            if getattr(part, name, None) is not None
        ]
        return found[-1] if found else None


def _plain(annotation: Any) -> Any:
    """The type inside `Annotated`."""
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation


@cache
def settings_of(form: type[Form]) -> dict[str, Setting]:
    """Every setting of a form by key, in the order of declaration."""
    settings = {}
    for section, outer in form.model_fields.items():
        for key, info in cast("type[Section]", outer.annotation).model_fields.items():
            spec = next(part for part in info.metadata if isinstance(part, Spec))
            settings[key] = Setting(key, section, spec, info)
    return settings


Values = TypeVar("Values", bound=Form)


class Schema(Mapping[str, Setting], Generic[Values]):
    """A form as a value: its settings by key, and what they have to do with each other."""

    def __init__(self, form: type[Values], derived: Derived | None = None, name: str = "") -> None:
        """`name`: the tool whose form it is; blank for training."""
        self.form = form
        self.name = name
        self.derived = derived or {}
        self._settings = settings_of(form)

    def __getitem__(self, key: str) -> Setting:
        """The setting of this key."""
        return self._settings[key]

    def __iter__(self) -> Iterator[str]:
        """Keys in the order of declaration."""
        return iter(self._settings)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._settings)

    def __eq__(self, other: object) -> bool:
        """Two schemas of one form are the same."""
        return isinstance(other, Schema) and self.form is other.form

    def __hash__(self) -> int:
        """By the form."""
        return hash(self.form)

    def told(self, key: str, table: Mapping[str, Any]) -> dict[str, Any]:
        """What a table of texts says under a key; a tool may say it in its own words, under "tool.key"."""
        return table.get(f"{self.name}.{key}", table.get(key, {}))

    def read(self, values: Mapping[str, Any]) -> Values:
        """The form's values. Raises as `Form.from_flat`."""
        return self.form.from_flat(values)

    def idle_because(self, key: str, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The other settings (or derived keys) that make this one idle; () when it counts."""

        def holds(other: str, wanted: tuple[Any, ...]) -> bool:
            if other in self.derived:
                value = self.derived[other](values)
            else:
                value = values.get(other, self[other].default)
            return (value is None or bool(value)) if wanted == (SET,) else value in wanted

        return tuple(other for other, wanted in self[key].spec.matters.items() if not holds(other, wanted))

    def matters(self, key: str, values: Mapping[str, Any]) -> bool:
        """Whether a setting has a meaning under these values (see `Spec.matters`)."""
        return not self.idle_because(key, values)
