"""Names and shapes out of pickles, whatever else stands in them."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.families.pickle_names import PickleError, pickle_shapes

TENSORS = {"a.weight": torch.zeros(3, 4), "b": torch.zeros(()), "v_pred": torch.zeros(0)}
SHAPES = {"a.weight": (3, 4), "b": (), "v_pred": (0,)}


class Callback:
    """What training programs leave in their checkpoints."""


def module() -> Any:
    made = torch.nn.Linear(4, 3)
    return made.state_dict()


CONTENTS = {
    "tensors": (TENSORS, SHAPES),
    "ordered": (OrderedDict(TENSORS), SHAPES),
    "inside": ({"state_dict": TENSORS, "epoch": 3, "lr": [1e-4]}, SHAPES),
    "parameters": ({"w": torch.nn.Parameter(torch.zeros(2, 2))}, {"w": (2, 2)}),
    "a module's": (module(), {"weight": (3, 4), "bias": (3,)}),
    "callbacks": ({"state_dict": TENSORS, "callbacks": {Callback: {"best": Callback()}}, "s": {1}}, SHAPES),
    "defaults": ({"state_dict": TENSORS, "d": defaultdict(list)}, SHAPES),
    "shared": ({"a": (one := torch.zeros(2, 8)), "b": one[0]}, {"a": (2, 8), "b": (8,)}),
    "half": ({"a": torch.zeros(2, dtype=torch.bfloat16)}, {"a": (2,)}),
    "odd keys": ({1: torch.zeros(2), "a": torch.zeros(2)}, {"a": (2,)}),
}


@pytest.mark.parametrize(("content", "shapes"), CONTENTS.values(), ids=list(CONTENTS))
@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 2020"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_torch_writes_is_read(tmp_path: Path, content: Any, shapes: dict, new: bool, protocol: int):
    torch.save(content, tmp_path / "m.ckpt", _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    assert pickle_shapes(tmp_path / "m.ckpt") == shapes


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", range(5))
def test_nothing_in_it_is_run(tmp_path: Path, protocol: int):
    with zipfile.ZipFile(tmp_path / "evil.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"x": Evil(tmp_path / "ran")}, protocol))
    pickle_shapes(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


BOMBS = {
    "a key that takes for ever to hash": b"\x80\x02}K\x01" + b"2\x86" * 60 + b"K\x05s.",
    "room for more than there is": b"\x80\x02r\xff\xff\xff\x7f.",
    "a text longer than the file": b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b".",
    "a byte array longer than memory": b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b".",
    "an empty stack": b"\x80\x02.",
    "nothing": b"",
    "another protocol": b"\x80\x63.",
    "names by number": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=list(BOMBS))
def test_pickles_made_to_harm_are_nothing(tmp_path: Path, content: bytes):
    with zipfile.ZipFile(tmp_path / "m.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", content)
    assert pickle_shapes(tmp_path / "m.ckpt") == {}


@pytest.mark.parametrize(
    ("content", "reason"), [(b"<html>", "damaged"), (b"", "damaged"), (b"PK\x03\x04 cut", "incomplete")]
)
def test_other_files_are_told(tmp_path: Path, content: bytes, reason: str):
    (tmp_path / "m.ckpt").write_bytes(content)
    with pytest.raises(PickleError, match=reason):
        pickle_shapes(tmp_path / "m.ckpt")
