"""Small views of pictures look like the pictures, whatever their format."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from app.pictures import small_view


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "LA", "1", "P", "CMYK"])
def test_a_small_view_is_neither_white_nor_black(tmp_path, mode):
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    ramp = np.tile(np.linspace(0, 255, 64), (64, 1)).astype(np.uint8)
    if mode == "I;16":
        Image.fromarray(ramp.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(ramp).convert(mode).save(path)
    with Image.open(io.BytesIO(small_view(path))) as small:
        shown = np.asarray(small.convert("L"), dtype=float)
    assert abs(shown.mean() - 127) < 12
    assert shown[:, :8].mean() < 40
    assert shown[:, -8:].mean() > 215
