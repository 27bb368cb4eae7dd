"""Certified accuracy, and local Lipschitzness from both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchbench.builtin.options import at_least
from benchbench.contract import (
    Evidence,
    KeyedGenerator,
    Measurement,
    NoBoundError,
    bound_lipschitz,
    bound_margins,
    require,
)

_SMALLEST = 1e-30  # margin that is divided by


@dataclass(frozen=True, kw_only=True)
class CertifiedAccuracy:
    """Share of the test examples that no candidate can change: ``certified_test_accuracy``.

    They lie in ball and box. It bounds robust accuracy from below, as an attack does from above. Per example:
    ``margin_bound``, the lower bound of the label's logit minus the largest other one, and ``certified``, whether it is
    above 0. Examples that the attack fooled get cheap bounds only, which must not certify them. Without a bound there is no
    value, and the row's notes say why.

    Attributes:
        steps: of the optimisation of slopes, at least 0.
        branches: parts that branch and bound splits per example, at least 0.
        seconds: per example, after which no further part is split, above 0; None for no limit. With a limit, rows depend on
            the machine.
    """

    steps: int = 20
    branches: int = 100
    seconds: float | None = None

    def __post_init__(self) -> None:
        require(at_least(0, steps=self.steps, branches=self.branches) | _is_time(self.seconds))

    def measure(self, evidence: Evidence) -> Measurement:
        """Measure it; see `benchbench.contract.Metric`."""
        robust, found, notes, start = evidence.robust("test"), [], set(), 0
        for images, labels, _ in evidence.batches("test", "certified accuracy"):
            hard = robust[start : start + len(labels)].to(images.device)
            start += len(labels)
            try:
                bounds = bound_margins(
                    evidence.model,
                    images,
                    labels,
                    threat=evidence.threat,
                    steps=self.steps,
                    branches=self.branches,
                    seconds=self.seconds,
                    hard=hard,
                )
            except NoBoundError as error:
                return Measurement(values={}, note=f"no bound: {error.message}")
            found.append(bounds.values.cpu())
            notes.add(bounds.note)
        margins = torch.cat(found)
        columns = {"margin_bound": margins, "certified": margins > 0}
        return Measurement(values=self.summarise(columns), per_example=columns, note=", ".join(sorted(notes - {""})))

    def summarise(self, per_example: Mapping[str, Tensor]) -> dict[str, float]:
        """The share; see `benchbench.contract.ExamplewiseMetric`."""
        if "certified" not in per_example:
            return {}
        return {"certified_test_accuracy": float(per_example["certified"].double().mean())}


@dataclass(frozen=True, kw_only=True)
class LipschitzBounds:
    """Test mean of upper bounds of the local Lipschitzness, ``test_lipschitz_upper``.

    And from below by a longer search: ``test_lipschitz_converged``, a search until it stops growing, and
    ``test_lipschitz_limit``, the exact limit at the image (0 at kinks); both with a column per example, as
    ``lipschitz_upper``. Free of the scale of the logits: ``test_lipschitz_scaled``, the median of epsilon times the upper
    bound over the margin (the largest logit minus the next). Below 1, the theorem of the paper certifies the example;
    ``lipschitz_certified_test_accuracy`` is the share of these among all, if correct.

    Attributes:
        branches: parts that branch and bound splits per example, at least 0.
        seconds: per example, after which no further part is split, above 0; None for no limit. With a limit, rows depend on
            the machine.
    """

    branches: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        require(at_least(0, branches=self.branches) | _is_time(self.seconds))

    def measure(self, evidence: Evidence) -> Measurement:
        """Measure it; see `benchbench.contract.Metric`."""
        correct, parts, start, note = evidence.correct("test").cpu(), [], 0, ""
        for images, _, generator in evidence.batches("test", "lipschitz bounds"):
            try:
                sides = bound_lipschitz(
                    evidence.model,
                    images,
                    threat=evidence.threat,
                    draw=partial(_draw, generator, images),
                    branches=self.branches,
                    seconds=self.seconds,
                )
            except NoBoundError as error:
                return Measurement(values={}, note=f"no bound: {error.message}")
            top = evidence.model(images).double().topk(2, dim=1).values
            scaled = evidence.threat.epsilon * sides.upper / (top[:, 0] - top[:, 1]).clamp(min=_SMALLEST)
            right = correct[start : start + len(images)].to(images.device)
            parts.append(torch.stack([sides.converged, sides.limit, sides.upper, scaled, right & (scaled < 1)]).cpu())
            start, note = start + len(images), sides.note
        names = ("lipschitz_converged", "lipschitz_limit", "lipschitz_upper", "lipschitz_scaled", "lipschitz_certified")
        columns = dict(zip(names, torch.cat(parts, dim=1)))
        return Measurement(values=self.summarise(columns), per_example=columns, note=note)

    def summarise(self, per_example: Mapping[str, Tensor]) -> dict[str, float]:
        """Means, and the median of scaled values; see `benchbench.contract.ExamplewiseMetric`."""
        if not per_example:
            return {}
        means = {name: float(per_example[name].double().mean()) for name in per_example}
        return {
            "test_lipschitz_converged": means["lipschitz_converged"],
            "test_lipschitz_limit": means["lipschitz_limit"],
            "test_lipschitz_upper": means["lipschitz_upper"],
            "test_lipschitz_scaled": float(per_example["lipschitz_scaled"].double().median()),
            "lipschitz_certified_test_accuracy": means["lipschitz_certified"],
        }


def _draw(generator: KeyedGenerator, images: Tensor, turn: int) -> Tensor:
    return generator.child("round", turn).uniform_like(images)


def _is_time(seconds: float | None) -> dict[str, bool]:
    return {f"seconds must be above 0, got {seconds}": seconds is None or seconds > 0}
