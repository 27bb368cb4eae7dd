"""Distance classifier of Theorem 4.2: training-free, robust where classes are separated."""

from __future__ import annotations

import math

from benchbench.builtin.deferred import nn, torch
from benchbench.contract import DataError, Examples, KeyedGenerator, OptionError, Threat, require


class Distance:
    """Keep the training set, and classify by the nearest class in L-inf.

    Args:
        r: the radius of Theorem 4.2, at most half of the measured separation: the paper calls data r-separated when classes
            are at least **2r** apart. None takes the threat's epsilon: if data are r-separated for the radius of the attacks,
            the theorem promises astuteness at that radius. It scales the logits and changes no prediction.
    """

    def __init__(self, *, r: float | None = None) -> None:
        require({f"r must be a finite number above 0, got {r!r}": r is None or (math.isfinite(r) and r > 0)})
        self.r = r

    def fit(
        self, model: nn.Module, examples: Examples, *, classes: int, threat: Threat, generator: KeyedGenerator
    ) -> nn.Module:
        """The classifier that stores the examples, on `model`'s device; nothing is drawn or trained.

        Raises:
            DataError: a class has no example.
            OptionError: r is taken from the threat, and its epsilon is 0.
        """
        from benchbench.builtin.defenses.distance_classifier import DistanceClassifier

        radius = threat.epsilon if self.r is None else self.r
        if radius <= 0:
            raise OptionError("distance: r is taken from epsilon, which is 0", hint="set r, above 0")
        absent = (torch.bincount(examples.labels, minlength=classes) == 0).nonzero().flatten().tolist()
        if absent:
            raise DataError(
                f"distance: classes {absent} have no training example", hint="the distance to them is not defined"
            )
        device = next((parameter.device for parameter in model.parameters()), examples.inputs.device)
        return DistanceClassifier(examples.inputs, examples.labels, classes=classes, radius=radius).to(device).eval()
