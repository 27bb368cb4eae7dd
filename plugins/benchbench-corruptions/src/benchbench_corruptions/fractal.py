"""Random height maps on a torus: diamond-square (Fournier, Fussell, Carpenter, CACM 1982)."""

from __future__ import annotations

from torch import Tensor

from benchbench.contract import KeyedGenerator

_AMPLITUDE = 100.0


def height_maps(height: int, width: int, decay: float, generator: KeyedGenerator) -> Tensor:
    """One map for each example, of which a corner of the given size is returned.

    Args:
        height: in pixels.
        width: in pixels.
        decay: what the size of the draws is divided by from scale to scale, above 1; more is smoother.
        generator: of N examples.

    Returns:
        float64 (N, height, width) on the CPU; a whole map, whose side is a power of two, runs from 0 to 1.
    """
    side = 1 << max(1, (max(height, width) - 1).bit_length())
    heights = _draws(generator, "corner", 1, 0.0).expand(-1, side, side).clone()
    step, amplitude = side, _AMPLITUDE
    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        centres = (pairs + pairs.roll(-1, 2)) / 4 + _draws(generator, f"square {step}", side // step, amplitude)
        heights[:, half::step, half::step] = centres
        across = corners + corners.roll(-1, 2) + centres + centres.roll(1, 1)
        heights[:, ::step, half::step] = across / 4 + _draws(generator, f"across {step}", side // step, amplitude)
        down = corners + corners.roll(-1, 1) + centres + centres.roll(1, 2)
        heights[:, half::step, ::step] = down / 4 + _draws(generator, f"down {step}", side // step, amplitude)
        step, amplitude = half, amplitude / decay
    lowest = heights.amin(dim=(1, 2), keepdim=True)
    return ((heights - lowest) / (heights.amax(dim=(1, 2), keepdim=True) - lowest))[:, :height, :width]


def _draws(generator: KeyedGenerator, purpose: str, side: int, amplitude: float) -> Tensor:
    """Uniform in [-amplitude^2, amplitude^2]: the authors' maps scale twice by the amplitude."""
    unit = generator.child(purpose).uniform(side, side, low=-1.0, high=1.0)
    return unit.double().cpu() * amplitude**2
