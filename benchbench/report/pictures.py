"""Test examples, what an attack made of them, and the difference, as images of a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from benchbench.records.arrays import Array
from benchbench.report.contents import Specimen


def picture(specimen: Specimen) -> dict[str, object]:
    """The template's variables for an example; None for images that need a missing clean one."""
    clean, difference, factor = specimen.clean, None, 0.0
    if clean is not None:
        pixels, factor = amplified(clean, specimen.adversarial)
        difference = png_address(pixels)
    return {
        "specimen": specimen,
        "clean": None if clean is None else png_address(clean),
        "adversarial": png_address(specimen.adversarial),
        "difference": difference,
        "factor": factor,
    }


def amplified(clean: Array, adversarial: Array) -> tuple[Array, float]:
    """The amplified perturbation around grey; the factor: the largest change is black or white.

    Both images are float (C, H, W) in [0, 1]. Without a perturbation all is grey, and the factor is 1.
    """
    change = np.nan_to_num(np.asarray(adversarial, dtype=np.float64) - clean)
    largest = float(np.abs(change).max(initial=0.0))
    factor = 0.5 / largest if largest > 0 else 1.0
    return 0.5 + factor * change, factor


def png_address(pixels: Array) -> str:
    """The ``data:`` address of an image: float (C, H, W) in [0, 1], of one channel or three."""
    scaled = (np.clip(np.nan_to_num(pixels), 0.0, 1.0) * 255).round().astype(np.uint8)
    image = Image.fromarray(scaled[0] if len(scaled) == 1 else scaled.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
