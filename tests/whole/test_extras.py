"""What needs a library of an extra says, where the library is not installed, which command installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchbench.errors import SuiteError, UsageError
from benchbench.registry import Registry, load_registry
from benchbench.separations import nearest_other_class
from benchbench.suite import read_suite

SUITE = """
name = "extra"
protocol = "extra-1"

[[experiments]]
name = "digits"
dataset = "digits"
architectures = ["{architecture}"]
defenses = ["natural"]
attacks = ["{attack}"]
metrics = ["accuracy"]
threat = {{ norm = "linf", epsilon = 0.1 }}
recipe = {{ learning_rate = 0.001, epochs = 1 }}
"""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry where no extra is installed."""
    for module in ("foolbox", "timm"):
        monkeypatch.setitem(sys.modules, module, None)
    for module in [name for name in sys.modules if name.startswith("benchbench.separations.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "numba", None)
    return load_registry()


@pytest.mark.parametrize(
    ("architecture", "attack", "extra"), [("timm:resnet18", "pgd-10", "timm"), ("mlp", "foolbox:LinfPGD", "foolbox")]
)
def test_suite_with_a_member_of_a_family_names_the_extra(
    registry: Registry, tmp_path: Path, architecture: str, attack: str, extra: str
) -> None:
    file = tmp_path / "suite.toml"
    file.write_text(SUITE.format(architecture=architecture, attack=attack), encoding="utf-8")
    with pytest.raises(SuiteError) as caught:
        read_suite(str(file), registry).profile("paper")
    assert f"pip install 'benchbench-robustness[{extra}]'" in str(caught.value)


def test_resnet50_names_the_extra(registry: Registry) -> None:
    component = registry.resolve("architecture", "resnet50")
    with pytest.raises(UsageError, match="need timm") as caught:
        registry.make("architecture", component, input_shape=(3, 32, 32), classes=10)
    assert caught.value.hint == "pip install 'benchbench-robustness[timm]'"


def test_separation_of_images_names_the_extra(registry: Registry) -> None:
    images = np.arange(8, dtype=np.uint8).reshape(4, 2)
    with pytest.raises(UsageError, match="needs numba") as caught:
        nearest_other_class(images, np.array([0, 1, 0, 1]), images, np.array([0, 1, 0, 1]))
    assert caught.value.hint == "pip install 'benchbench-robustness[separation]'"
