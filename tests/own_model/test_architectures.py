"""Callables of the user's that make networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from benchbench.own_model.architectures import find_architecture
from benchbench.registry import load_registry

NETWORKS = """
from torch import nn

def of_torchvision(num_classes=1000):
    return nn.Linear(4, num_classes)

def ours(input_shape, classes):
    return nn.Linear(input_shape[0], classes)

def fixed(width=7):
    return nn.Linear(4, width)
"""


@pytest.mark.parametrize(
    ("name", "options", "outputs"),
    [
        ("of_torchvision", {}, 3),
        ("of_torchvision", {"num_classes": 5}, 5),  # what the user says
        ("ours", {}, 3),
        ("fixed", {}, 7),
    ],
)
def test_callable_gets_the_number_of_classes_by_the_name_that_it_takes(
    name: str, options: dict[str, object], outputs: int, tmp_path: Path
) -> None:
    (tmp_path / "networks.py").write_text(NETWORKS)
    registry = load_registry()
    found = find_architecture(registry, {"name": f"{tmp_path}/networks.py:{name}", **options})
    made = found.make(registry, input_shape=(4,), classes=3)
    assert isinstance(made, nn.Linear)
    assert made.out_features == outputs
