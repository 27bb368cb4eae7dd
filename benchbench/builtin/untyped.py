"""The type of values that come from libraries without types: cvxpy, Foolbox, PyArrow, torchvision."""

from __future__ import annotations

from typing import Any

Untyped = Any
