"""Judge a finding: is its effect where the statement puts it, and is that more than chance?

Several seeds are the unit of replication: each seed's contrasts are averaged over the settings, and Student's t-test (1908)
asks whether the mean over the seeds lies beyond a bound. With one seed the units are the settings, or pairs of configurations.
A statement of several steps is supported if each of them is (intersection-union test: Berger, 1982), and contradicted if any
is (Bonferroni). An effect lies in an interval if it is significantly above its lower and below its upper end (two one-sided
tests: Schuirmann, 1987). A p-value is twice the smaller one of "it does not hold" and "it holds".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Literal

from benchbench.leaderboard.identity import grouped
from benchbench.leaderboard.spread import has_spread, seed_spread
from benchbench.reproduction.contrasts import Contrast, Steps

Verdict = Literal["supported", "contradicted", "undecided", "not run"]
VERDICTS: Mapping[Verdict, str] = MappingProxyType(
    {
        "supported": "the effect is where the statement puts it; adjusted p-value below 0.05, or nothing is random",
        "contradicted": "the effect is elsewhere, with the same certainty",
        "undecided": "chance may explain it, or there are too few seeds, settings or pairs",
        "not run": "no rows can be compared",
    }
)
EXACT = "none: nothing is random"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The result for a finding's steps; of several, the effect of the least certain one."""

    verdict: Verdict = "not run"  # without a test, and where the test decides nothing
    test: str = ""
    effect: float | None = None  # a mean difference, log ratio or rank correlation
    low: float | None = None  # 95% t interval of the effect
    high: float | None = None
    seeds: int = 0
    settings: int = 0  # settings or pairs
    holding: int = 0  # contrasts that lie within the bounds
    compared: int = 0  # contrasts
    p_holds: float | None = None  # one-sided, of the opposite of the statement; None without a test
    p_fails: float | None = None  # one-sided, of the statement

    @property
    def p_value(self) -> float | None:
        """Two-sided."""
        found = [p_value for p_value in (self.p_holds, self.p_fails) if p_value is not None]
        return min(1.0, 2 * min(found)) if found else None


def judge_steps(steps: Steps, low: float, high: float) -> Judged:
    """Judge whether every step's mean contrast is above `low` and below `high`."""
    if all(one.exact for step in steps for one in step):
        return _judge_exactly([one for step in steps for one in step], low, high)
    found = [_judge_step(_balanced(step), low, high) for step in steps]
    worst = max(found, key=lambda one: math.inf if one.p_holds is None else one.p_holds)
    p_fails = [one.p_fails for one in found if one.p_fails is not None]
    tested = len(p_fails) == len(found)
    holding, compared = sum(one.holding for one in found), sum(one.compared for one in found)
    corrected = min(1.0, len(found) * min(p_fails)) if tested else None
    return replace(worst, holding=holding, compared=compared, p_fails=corrected)


def decide(judged: Judged, adjusted: float | None, significance: float) -> Verdict:
    """The verdict by an adjusted p-value."""
    if judged.p_holds is None or judged.p_fails is None or adjusted is None or adjusted >= significance:
        return judged.verdict
    return "supported" if judged.p_holds < judged.p_fails else "contradicted"


def _judge_exactly(found: Sequence[Contrast], low: float, high: float) -> Judged:
    """Every contrast counts, and the one with the smallest margin is the effect."""
    if not found:
        return Judged()
    effects = sorted((one.effect for one in found), key=lambda effect: min(effect - low, high - effect))
    holding = sum(low < effect < high for effect in effects)
    return Judged(
        verdict="supported" if holding == len(effects) else "contradicted",
        test=EXACT,
        effect=effects[0],
        seeds=1,
        settings=len({one.setting for one in found}),
        holding=holding,
        compared=len(effects),
    )


def _balanced(step: Sequence[Contrast]) -> list[Contrast]:
    """The contrasts of the settings that the most seeds have, under these seeds."""
    seeds = {setting: {one.seed for one in found} for setting, found in grouped(step, lambda one: one.setting).items()}
    most = max(seeds.values(), key=len)
    return [one for one in step if seeds[one.setting] >= most and one.seed in most]


def _judge_step(step: Sequence[Contrast], low: float, high: float) -> Judged:
    effects = [one.effect for one in step]
    means = [fmean(one.effect for one in found) for found in grouped(step, lambda one: one.seed).values()]
    units = means if len(means) > 1 else effects
    testable = len(units) > 1 and has_spread(units)
    p_holds = p_fails = None
    if testable:
        (above, below), (over, under) = _tails(units, low), _tails(units, high)
        p_holds, p_fails = max(above, under), min(below, over)
    spread = seed_spread(units)
    return Judged(
        verdict="undecided",
        test="none: too few or equal" if not testable else "t over seeds" if len(means) > 1 else "t within one seed",
        effect=spread.mean,
        low=spread.low,
        high=spread.high,
        seeds=len(means),
        settings=len({one.setting for one in step}),
        holding=sum(low < effect < high for effect in effects),
        compared=len(step),
        p_holds=p_holds,
        p_fails=p_fails,
    )


def _tails(units: Sequence[float], bound: float) -> tuple[float, float]:
    """One-sided p-values that the mean is not above a bound, and not below it."""
    from scipy.stats import t

    statistic = (fmean(units) - bound) / (stdev(units) / math.sqrt(len(units)))
    return float(t.sf(statistic, len(units) - 1)), float(t.cdf(statistic, len(units) - 1))
