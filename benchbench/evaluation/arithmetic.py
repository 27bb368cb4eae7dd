"""The fast mode: attacks look for candidates in bfloat16, everything that counts is judged in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["float32", "bf16"]


@contextmanager
def searching(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run an attack in the arithmetic that was asked for; what it returns is judged outside.

    With ``"bf16"`` convolutions and matrix products round to bfloat16 (autocast). That is faster where the hardware
    multiplies bfloat16 matrices: GPUs with tensor cores, CPUs with AMX; with AVX-512's bfloat16 a little; elsewhere not.
    It is a weaker search: docs/performance.md has how many verdicts it missed.
    """
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        yield
