"""Recipes that a defense adapts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from benchbench.contract import Offer, Recipe, hookimpl
from benchbench.errors import SuiteError
from benchbench.registry import load_registry
from benchbench.suite import read_suite

SUITE = """
name = "tiny"
protocol = "tiny-1"

[[experiments]]
name = "digits"
dataset = "digits"
architectures = ["mlp"]
defenses = ["adapting"]
attacks = ["pgd-10"]
metrics = ["accuracy"]
threat = { epsilon = 0.1 }
recipe = { learning_rate = 0.01, epochs = 1 }
"""


def exits(recipe: Recipe) -> Recipe:
    raise SystemExit(3)


@dataclass(frozen=True)
class Plugin:
    """Offers a defense that adapts recipes in this way."""

    adapt: Callable[[Recipe], object]

    @hookimpl
    def benchbench_defenses(self) -> list[Offer]:
        adapt = self.adapt

        class Adapting:
            def loss(self, *args: Any, **kwargs: Any) -> Any: ...

            def adapt_recipe(self, recipe: Recipe) -> Recipe:
                return cast(Recipe, adapt(recipe))

        return [Offer(name="adapting", summary="Toy.", factory=Adapting)]


@pytest.mark.parametrize(
    ("adapt", "expected"),
    [
        (lambda recipe: None, "adapt_recipe returned a NoneType, expected: Recipe"),
        (lambda recipe: {}["rate"], "adapt_recipe raised KeyError: 'rate'"),
        (exits, "adapt_recipe raised SystemExit: 3"),
    ],
)
def test_defense_that_makes_no_recipe_is_a_mistake_of_the_suite(
    tmp_path: Path, adapt: Callable[[Recipe], object], expected: str
) -> None:
    (tmp_path / "tiny.toml").write_text(SUITE)
    with pytest.raises(SuiteError) as caught:
        read_suite(str(tmp_path / "tiny.toml"), load_registry(extra_plugins=[Plugin(adapt)]))
    (problem,) = caught.value.problems
    assert problem.location == "experiments[0].defenses"
    assert expected in problem.message
