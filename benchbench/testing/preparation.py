"""The host of `PreparedDefense.prepare` on the toys of the kit."""

from __future__ import annotations

import torch
from torch import nn

from benchbench.contract import Examples, ExtraExamples, PreparedDefense, Recipe, TrainingHost
from benchbench.contract.training import LoopDefense
from benchbench.testing.conformance import keyed
from benchbench.testing.resumption import learn
from benchbench.testing.toys import TOY_THREAT, LinearToy, smooth_toy, toy_training_examples

TOY_RECIPE = Recipe(learning_rate=0.003, epochs=40, batch_size=16)


def toy_training_host(model: nn.Module, *, classes: int = 2, recipe: Recipe = TOY_RECIPE) -> TrainingHost:
    """A host for a toy model: extra data are toy examples; phases train for the toy problem.

    For another model than `LinearToy`, extra examples are noise of shape (3, 8, 8), and phases return a fresh network.
    """
    linear, kept, examples = isinstance(model, LinearToy), dict[str, torch.Tensor](), toy_training_examples()
    if not linear:
        draws = keyed("extra", len(examples))
        examples = Examples(inputs=draws.uniform(3, 8, 8), labels=draws.integers(classes))

    def train(phase: str, defense: LoopDefense, recipe: Recipe) -> nn.Module:
        if not linear:
            return smooth_toy((3, 8, 8), classes).eval()
        helper = LinearToy(torch.zeros(2, 64)).train()
        learn(defense, helper, examples, threat=TOY_THREAT, purpose=phase)
        return helper.eval()

    return TrainingHost(
        recipe=recipe,
        model=model,
        extra_examples=lambda _: ExtraExamples(examples, seed=1, device=torch.device("cpu")),
        train=train,
        save=lambda state: kept.update({name: value.detach().clone() for name, value in state.items()}),
        saved=lambda: dict(kept),
    )


def prepared(defense: object, model: nn.Module, classes: int = 2) -> None:
    """Let a `PreparedDefense` prepare for a toy model."""
    if isinstance(defense, PreparedDefense):
        defense.prepare(toy_training_host(model, classes=classes))
