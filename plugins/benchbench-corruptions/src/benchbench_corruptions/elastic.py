"""Elastic transforms: a random affine map, then a smooth random displacement of each pixel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from benchbench.contract import KeyedGenerator


def elastic_transform(images: Tensor, strength: tuple[float, float, float], generator: KeyedGenerator) -> Tensor:
    """Stretch images (N, C, H, W) in [0, 1]; linear interpolation keeps them there.

    `strength` is (size of the displacements, width that they are smoothed by, shift of three points that set the affine map),
    each as a share of the image's shorter side.
    """
    height, width = images.shape[2:]
    size, smoothness, shift = (part * min(height, width) for part in strength)
    shifts = generator.child("affine").uniform(3, 2, low=-shift, high=shift).double().cpu().numpy()
    noise = generator.child("displacement").uniform(2, height, width, low=-1.0, high=1.0).double().cpu().numpy()
    pictures = images.double().cpu().numpy()
    stretched = [
        np.stack([_stretch(channel, by, size * _smoothed(field, smoothness)) for channel in picture])
        for picture, by, field in zip(pictures, shifts, noise)
    ]
    return torch.from_numpy(np.stack(stretched)).to(images)


def affine_map(height: int, width: int, shifts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each pixel comes from when three points are shifted: matrix (2, 2), offset (2,).

    Args:
        height: in pixels.
        width: in pixels.
        shifts: (3, 2), of points around the centre, right and down.
    """
    across, down, reach = width // 2, height // 2, min(height, width) // 3
    points = [[across + reach, down + reach], [across + reach, down - reach], [across - reach, down - reach]]
    before = np.array(points, dtype=np.float64)
    after = np.column_stack([before + shifts, np.ones(3)])
    solution = np.linalg.solve(after, before)[[1, 0, 2]][:, [1, 0]]  # from columns first to rows first
    return solution[:2].T, solution[2]


def _stretch(
    channel: NDArray[np.float64], shifts: NDArray[np.float64], displacement: NDArray[np.float64]
) -> NDArray[np.float64]:
    matrix, offset = affine_map(*channel.shape, shifts)
    turned = ndimage.affine_transform(channel, matrix, offset, order=1, mode="mirror")
    places = np.indices(channel.shape) + displacement
    found: NDArray[np.float64] = ndimage.map_coordinates(turned, places, order=1, mode="reflect")
    return found


def _smoothed(noise: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    if width == 0:
        return np.zeros_like(noise)
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(noise, sigma=(0, width, width), mode="reflect", truncate=3)
    return smooth
