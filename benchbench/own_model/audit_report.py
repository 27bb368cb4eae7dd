"""The result of an audit: what was tried, and whether it refutes the claim."""

from __future__ import annotations

from dataclasses import dataclass

from tabulate import tabulate
from torch import Tensor

from benchbench.own_model.report import ModelReport

LEVEL = 0.01  # of true claims, at most this share is refuted by chance
LOOKS = 10  # at a random model, at most


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One attack of an audit."""

    attack: str
    examples: int  # it was tried on these
    broken: int  # of them
    seconds: float
    planted: int = 0  # answers that it was tested with
    found: int = 0  # of them


@dataclass(frozen=True, kw_only=True, repr=False)
class AuditReport:
    """The result of `audit`; tensors are over the attacked test examples, on the CPU."""

    first: ModelReport  # of the first attack: data, threat, set-up
    flags: tuple[str, ...]  # of the diagnostics after it
    claimed: float  # robust accuracy
    tried: tuple[Tried, ...]
    left: tuple[str, ...]  # attacks that were not tried, or failed
    robust: Tensor  # bool (N,), withstood all attacks; of a random model, the strongest one
    witnesses: Tensor  # float32 (N, ...), what broke each example, or was tried last

    @property
    def bound(self) -> float:
        """Share of the examples that withstood all attacks, an upper bound on the robust accuracy."""
        return float(self.robust.double().mean())

    @property
    def p_value(self) -> float:
        """Upper bound on the probability of so few robust examples, if the claim is true."""
        from scipy.stats import binom

        looks = LOOKS if "random-model" in self.flags else 1
        return min(1.0, looks * float(binom.cdf(int(self.robust.sum()), len(self.robust), self.claimed)))

    @property
    def refuted(self) -> bool:
        """Whether the claim is refuted."""
        return self.p_value <= LEVEL

    def __repr__(self) -> str:
        blind = tuple(one.attack for one in self.tried if 5 * one.found < 4 * one.planted)
        known = {"flags": self.flags, "not tried": self.left, "cannot find planted answers": blind}
        tests = [f"{one.found} of {one.planted}" if one.planted else "" for one in self.tried]
        rows = [(t.attack, t.examples, t.broken, f"{t.seconds:.1f}", test) for t, test in zip(self.tried, tests)]
        lines = [self.first.title, tabulate(rows, ("attack", "tried on", "broken", "seconds", "planted answers found"))]
        lines += [f"{what}: {', '.join(names)}" for what, names in known.items() if names]
        return "\n".join([*lines, *self.first.warnings, self.verdict])

    @property
    def verdict(self) -> str:
        """One sentence: whether the claim is refuted, by how many examples."""
        return (
            f"{'refuted' if self.refuted else 'not refuted'}: {self.claimed:.2%} is claimed, {self.bound:.2%} of "
            f"{len(self.robust):,} examples withstood all attacks, {self.first.test_accuracy:.2%} are right without one; "
            f"p = {self.p_value:.2g}, exact one-sided test"
        )
