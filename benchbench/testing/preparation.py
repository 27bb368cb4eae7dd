"""The host of `PreparedDefense.prepare` on the toys of the kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchbench.contract import Examples, ExtraExamples, PreparedDefense, Recipe, Threat
from benchbench.contract.training import LoopDefense
from benchbench.testing.conformance import keyed
from benchbench.testing.resumption import learn
from benchbench.testing.toys import TOY_THREAT, LinearToy, smooth_toy, toy_training_examples

TOY_RECIPE = Recipe(learning_rate=0.003, epochs=40, batch_size=16)


class ToyStopError(Exception):
    """The toy host interrupts a fit."""


@dataclass(kw_only=True)
class ToyTrainingHost:
    """A `TrainingHost` without files: extra data are toy examples, phases train toy models.

    Attributes:
        model: the network that will be trained; phases on the toy problem train a linear one, others return a fresh network.
        classes: number of classes.
        threat: of the phases.
        recipe: of the training.
        saves: how many calls of `save` are left until the host interrupts the fit; None for no interruption.
        kept: what `save` kept.
    """

    model: nn.Module
    classes: int = 2
    threat: Threat = TOY_THREAT
    recipe: Recipe = TOY_RECIPE
    saves: int | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)
    seconds_left: float = float("inf")

    def check(self) -> None:
        """Never stop."""

    def extra_examples(self, option: str) -> ExtraExamples:
        """Toy examples in the shape of the model's input, for every option."""
        examples = toy_training_examples()
        if not isinstance(self.model, LinearToy):
            draws = keyed(f"extra {option}", len(examples))
            examples = Examples(inputs=draws.uniform(3, 8, 8), labels=draws.integers(self.classes))
        return ExtraExamples(examples, seed=1, device=torch.device("cpu"))

    def train(self, phase: str, defense: LoopDefense, recipe: Recipe) -> nn.Module:
        """A linear model trained on the toy problem, or else an untrained network."""
        if not isinstance(self.model, LinearToy):
            return smooth_toy((3, 8, 8), self.classes).eval()
        model = LinearToy(torch.zeros(2, 64)).train()
        learn(defense, model, toy_training_examples(), threat=self.threat, purpose=phase)
        return model.eval()

    def save(self, state: Mapping[str, Tensor]) -> None:
        """Keep the state; interrupt the fit if it is time."""
        self.kept = {name: value.detach().clone() for name, value in state.items()}
        if self.saves is not None:
            self.saves -= 1
            if self.saves <= 0:
                raise ToyStopError

    def saved(self) -> Mapping[str, Tensor]:
        """What `save` kept."""
        return self.kept


def prepared(defense: object, model: nn.Module, classes: int = 2) -> None:
    """Let a `PreparedDefense` prepare for a toy model."""
    if isinstance(defense, PreparedDefense):
        defense.prepare(ToyTrainingHost(model=model, classes=classes))
