"""Windows of an image, outside of which the coefficients of a neuron are 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Window:
    """Rows from `top` and columns from `left`, of a size."""

    top: int
    left: int
    height: int
    width: int

    def of(self, values: Tensor) -> Tensor:
        """What lies in the window, of values (..., H, W)."""
        return values[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def joined(self, other: Window) -> Window:
        """The least window that has both."""
        top, left = min(self.top, other.top), min(self.left, other.left)
        bottom = max(self.top + self.height, other.top + other.height)
        right = max(self.left + self.width, other.left + other.width)
        return Window(top=top, left=left, height=bottom - top, width=right - left)


@dataclass(frozen=True, kw_only=True, eq=False)
class Windowed:
    """Coefficients (..., height, width) in a window, or all of them."""

    inside: Tensor
    window: Window | None = None

    def of(self, values: Tensor) -> Tensor:
        """Those of some values (..., H, W) that have a coefficient."""
        return values if self.window is None else self.window.of(values)

    def whole(self, shape: tuple[int, ...]) -> Tensor:
        """All coefficients, (..., *shape)."""
        if self.window is None:
            return self.inside
        return self._within(Window(top=0, left=0, height=shape[-2], width=shape[-1]))

    def plus(self, other: Windowed, shape: tuple[int, ...]) -> Windowed:
        """The sum of two."""
        if self.window is None or other.window is None:
            return Windowed(inside=self.whole(shape) + other.whole(shape))
        window = self.window.joined(other.window)
        return Windowed(inside=self._within(window) + other._within(window), window=window)

    def moved(self, inside: Tensor, stride: tuple[int, int], padding: tuple[int, int], size: torch.Size) -> Windowed:
        """Coefficients of the source, of this size, of a step with a stride and padding."""
        if self.window is None:
            return Windowed(inside=inside)
        top, left = (at * step - pad for at, step, pad in zip((self.window.top, self.window.left), stride, padding))
        window = Window(top=top, left=left, height=inside.shape[-2], width=inside.shape[-1])
        rows = slice(max(-top, 0), min(window.height, size[-2] - top))
        columns = slice(max(-left, 0), min(window.width, size[-1] - left))
        cut = inside[..., rows, columns]
        return Windowed(
            inside=cut, window=Window(top=max(top, 0), left=max(left, 0), height=cut.shape[-2], width=cut.shape[-1])
        )

    def _within(self, window: Window) -> Tensor:
        own = self.window
        if own is None or own == window:
            return self.inside
        left, top = own.left - window.left, own.top - window.top
        right, bottom = window.width - own.width - left, window.height - own.height - top
        return F.pad(self.inside, (left, right, top, bottom))


def neurons_by_place(wanted: Tensor) -> Iterator[tuple[Tensor, Tensor, Window]]:
    """The wanted neurons of bool (..., H, W), those at one place after the other.

    Yields their places in the flat order, int64 (K,), unit vectors float64 (K, ..., 1, 1), and their window.
    """
    columns = wanted.shape[-1]
    size = wanted.shape[-2] * columns
    flat = wanted.reshape(-1, size)
    for place in flat.any(dim=0).nonzero()[:, 0].tolist():
        channels = flat[:, place].nonzero()[:, 0]
        units = F.one_hot(channels, len(flat)).double().reshape(-1, *wanted.shape[:-2], 1, 1)
        yield channels * size + place, units, Window(top=place // columns, left=place % columns, height=1, width=1)
