"""Checks for methods that fit without the training loop."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from benchbench.contract import Examples, FittingDefense, PreparedDefense, Threat
from benchbench.testing.conformance import expect, keyed, name_of, untouched
from benchbench.testing.preparation import ToyStopError, ToyTrainingHost, prepared
from benchbench.testing.toys import LinearToy, toy_training_examples


def check_fit(defense: FittingDefense, threat: Threat, accuracy: float) -> None:
    """Check that a fit is repeatable, goes on after an interruption, and solves the toy problem."""
    examples = toy_training_examples()
    blank = LinearToy(torch.zeros(2, 64))
    fitted = []
    for _ in range(2):
        prepared(defense, blank)
        fitted.append(_fit(defense, blank, examples, threat))
    if isinstance(defense, PreparedDefense):
        fitted.append(_fit_interrupted(defense, blank, examples, threat))
    logits = [model(examples.inputs) for model in fitted]
    name = name_of(defense)
    expect(logits[0].shape == (len(examples), 2), f"{name}: logits", expected="(N, 2)", got=tuple(logits[0].shape))
    expect(torch.equal(logits[0], logits[1]), f"{name}: repeatability", expected="the same model twice", got="another")
    expect(
        torch.equal(logits[0], logits[-1]),
        f"{name}: resumption",
        expected="the same model after an interruption: a fit that calls `save` goes on from `saved`",
        got="another",
    )
    expect(bool(fitted[0].state_dict()), f"{name}: state_dict", expected="all state of the model", got="nothing")
    expect_accuracy(defense, fitted[0], accuracy)


def _fit(defense: FittingDefense, blank: nn.Module, examples: Examples, threat: Threat) -> nn.Module:
    with untouched(defense, blank, examples.inputs, examples.labels):
        model = defense.fit(blank, examples, classes=2, threat=threat, generator=keyed("fit", len(examples)))
    return model.eval()


def _fit_interrupted(defense: FittingDefense, blank: nn.Module, examples: Examples, threat: Threat) -> nn.Module:
    """Interrupt a fit when it first saves, and start it again."""
    kept: dict[str, Tensor] = {}
    for saves in (1, None):
        host = ToyTrainingHost(model=blank, saves=saves, kept=kept)
        defense.prepare(host)  # type: ignore[attr-defined]  # the caller has checked that it prepares
        with suppress(ToyStopError):
            model = defense.fit(blank, examples, classes=2, threat=threat, generator=keyed("fit", len(examples)))
        kept = host.kept
    return model.eval()


def expect_accuracy(defense: object, model: nn.Module, accuracy: float) -> None:
    """Raise `ConformanceError` if a model is worse than `accuracy` on the toy problem."""
    examples = toy_training_examples()
    with torch.no_grad():
        reached = float((model(examples.inputs).argmax(dim=1) == examples.labels).float().mean())
    expect(
        reached >= accuracy,
        f"{name_of(defense)}: accuracy on the toy problem",
        expected=f"at least {accuracy}",
        got=f"{reached:.4f}",
    )
