"""Sketches of networks: shapes without memory, or none where the constructor cannot work that way."""

from __future__ import annotations

import sys
from typing import NoReturn

import pytest
import torch
from torch import nn

from benchbench.kernels.sketches import sketch


def _exit() -> NoReturn:
    sys.exit("no")


def _fail() -> NoReturn:
    raise KeyError("size")


def test_a_sketch_has_shapes_and_no_numbers() -> None:
    network = sketch(lambda: nn.Linear(10**6, 10**6))
    assert isinstance(network, nn.Linear)
    assert (network.weight.shape, network.weight.device) == ((10**6, 10**6), torch.device("meta"))


@pytest.mark.parametrize("make", [_exit, _fail])
def test_a_constructor_that_ends_in_any_way_gives_no_sketch(make: object) -> None:
    assert sketch(make) is None  # type: ignore[arg-type]
