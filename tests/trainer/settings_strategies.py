"""Hypothesis strategies for settings."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from trainer.schema import Setting
from trainer.settings import TRAINING, Settings

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20).map(str.strip)
ARGUMENTS = st.lists(
    st.sampled_from(["weight_decay=0.01", "betas=0.9,0.99", "decouple=True", "d0=1e-5"]), unique=True
)
SPECIAL = {
    "optimizer_args": ARGUMENTS.map(" ".join),
    "lr_scheduler_args": ARGUMENTS.map(" ".join),
    "additional_parameters": st.just(""),
}


def values(setting: Setting) -> st.SearchStrategy[Any]:
    """Legal values of one setting."""
    if setting.key in SPECIAL:
        return SPECIAL[setting.key]
    low, above, high = setting.bound("ge"), setting.bound("gt"), setting.bound("le")
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "switch": st.booleans(),
        "text": TEXTS,
        "choice": st.sampled_from(setting.choices or ("",)),
        "int": st.integers(int(low or 0), int(high) if high is not None else 10**9),
        "float": st.floats(
            low if low is not None else above,
            high if high is not None else 1e6,
            exclude_min=above is not None,
            allow_nan=False,
            allow_infinity=False,
        ),
    }
    found = kinds[setting.kind]
    if setting.pair:
        found = found | st.tuples(found, found).filter(lambda both: both[0] != both[1])
    return st.none() | found if setting.optional else found


PUBLIC = [setting for setting in TRAINING.values() if setting.spec.widget != "secret"]
ALL_SETTINGS: st.SearchStrategy[Settings] = st.fixed_dictionaries(
    {}, optional={setting.key: values(setting) for setting in PUBLIC}
).map(Settings.from_flat)
"""Settings of a run, any of them changed."""
