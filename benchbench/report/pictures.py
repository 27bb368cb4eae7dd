"""Images as PNG data, so that pages carry them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from benchbench.records.arrays import Array


def png_address(pixels: Array) -> str:
    """A ``data:`` address of an image.

    Args:
        pixels: float (C, H, W) in [0, 1], of one channel or three.
    """
    scaled = (np.clip(np.nan_to_num(pixels), 0.0, 1.0) * 255).round().astype(np.uint8)
    image = Image.fromarray(scaled[0] if len(scaled) == 1 else scaled.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether an input of this shape, without the batch, can be shown as an image."""
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) > 1
