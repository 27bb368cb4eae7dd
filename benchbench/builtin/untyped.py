"""The type of values from untyped libraries: cvxpy, Foolbox, PyArrow, torchvision."""

from __future__ import annotations

from typing import Any

Untyped = Any
