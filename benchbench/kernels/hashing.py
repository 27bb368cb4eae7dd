"""SplitMix64's finaliser on int64 tensors.

Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_MIX_2 = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB


def mix(state: Tensor) -> Tensor:
    """Return the mixed state in two's complement; masks make the shifts logical."""
    state = (state ^ ((state >> 30) & 0x3FFFFFFFF)) * _MIX_1
    state = (state ^ ((state >> 27) & 0x1FFFFFFFFF)) * _MIX_2
    return state ^ ((state >> 31) & 0x1FFFFFFFF)
