"""Small views of pictures look like the pictures, whatever their format."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from app.form.dataset import thumbnail_address
from app.pictures import small_view


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "LA", "1", "P", "CMYK"])
def test_a_small_view_is_neither_white_nor_black(tmp_path, mode):
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    ramp = np.tile(np.linspace(0, 255, 64), (64, 1)).astype(np.uint8)
    if mode == "I;16":
        Image.fromarray(ramp.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(ramp).convert(mode).save(path)
    in_plan = base64.b64decode(thumbnail_address(path).partition(",")[2])
    for view in (small_view(path), in_plan):
        _is_a_ramp(view)


def _is_a_ramp(view: bytes) -> None:
    with Image.open(io.BytesIO(view)) as small:
        shown = np.asarray(small.convert("L"), dtype=float)
    assert abs(shown.mean() - 127) < 12
    eighth = shown.shape[1] // 8
    assert shown[:, :eighth].mean() < 40
    assert shown[:, -eighth:].mean() > 215
