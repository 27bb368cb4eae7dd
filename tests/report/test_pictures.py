"""Images on pages."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from benchbench.report.gathering import is_picture
from benchbench.report.pictures import png_address


def test_images_of_one_and_three_channels_become_pngs() -> None:
    pixels = np.zeros((3, 2, 5), dtype=np.float32)
    pixels[0] = 1.0
    content = base64.b64decode(png_address(pixels).partition(",")[2])
    image = Image.open(io.BytesIO(content))
    assert (image.size, image.getpixel((0, 0))) == ((5, 2), (255, 0, 0))
    assert is_picture((1, 28, 28))
    assert not is_picture((2,))
    assert not is_picture((4, 8, 8))
