"""The findings of a suite, judged from the rows of each profile and from published ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from benchbench.cell.model import Component
from benchbench.comparison.pairing import SIGNIFICANCE, holm
from benchbench.contract import DataSource, FittingDefense, KeyedGenerator, Threat, as_model_input, derive_seed
from benchbench.errors import MissingDataError, UnknownNameError
from benchbench.leaderboard.clearing import SHORTFALLS, share_doubts
from benchbench.leaderboard.identity import COLUMNS, grouped, values
from benchbench.leaderboard.published import SUITE, PublishedSeparation, published_separation
from benchbench.leaderboard.separations import MeasuredSeparation
from benchbench.records import Row
from benchbench.registry import Registry
from benchbench.reproduction.contrasts import Contrast, Steps, contrasts
from benchbench.reproduction.judging import Judged, Verdict, decide, judge_steps
from benchbench.reproduction.papers import PAPERS
from benchbench.suite import Finding, Suite

PUBLISHED = "published"  # stands where measured rows have a profile
_MOST_POINTS = 2_000
_SEPARATIONS = ("train_train_min", "test_train_min")


@dataclass(frozen=True, kw_only=True)
class JudgedFinding:
    """A finding about one measure under one profile."""

    finding: Finding
    profile: str  # or `PUBLISHED`
    measure: str
    judged: Judged
    adjusted: float | None = None  # p-value by Holm's correction over all findings of the profile; None without a test

    @property
    def verdict(self) -> Verdict:
        """The verdict after the correction."""
        return decide(self.judged, self.adjusted, SIGNIFICANCE)


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """What the findings of a suite are judged from."""

    rows: Iterable[Row]  # of its leaderboard, also published
    separations: Sequence[MeasuredSeparation]
    registry: Registry
    source: DataSource  # of a dataset on which a theorem is tried


def judge_findings(suite: Suite, grounds: Grounds, profile: str | None = None) -> tuple[JudgedFinding, ...]:
    """All findings under a profile, under `PUBLISHED`, or by default under each that has rows.

    Findings about data, which have no profile, are judged under the suite's first one. An unknown profile is an
    UnknownNameError.
    """
    rows, known = sound_rows(grounds.rows), (*suite.profiles, PUBLISHED)
    if profile is not None and profile not in known:
        raise UnknownNameError(f"profile of suite {suite.name}", profile, known)
    judged: list[JudgedFinding] = []
    for chosen in [profile] if profile else [one for one in known if one in rows or one == suite.profiles[0]]:
        found = [
            JudgedFinding(finding=finding, profile=chosen, measure=measure, judged=result)
            for finding in suite.findings
            for measure, result in (
                _about_data(finding, grounds, chosen, suite)
                if finding.exceeds or finding.dataset
                else _about_rows(finding, rows.get(chosen, []))
            )
        ]
        judged += _corrected(found)
    return tuple(judged)


def _about_rows(finding: Finding, rows: Sequence[Row]) -> Iterator[tuple[str, Judged]]:
    for measure in (*finding.measures, *finding.extras):
        yield measure, judge_steps(contrasts(finding, measure, rows), *finding.bounds)


def _about_data(finding: Finding, grounds: Grounds, profile: str, suite: Suite) -> Iterator[tuple[str, Judged]]:
    measured = profile == suite.profiles[0]
    if finding.dataset is not None and measured:
        yield finding.dataset.name, try_theorem(grounds.registry, finding.dataset, grounds.source)
    elif finding.dataset is None and (measured or (profile, suite.name) == (PUBLISHED, SUITE)):
        separations = grounds.separations if measured else published_separation()
        for measure in _SEPARATIONS:
            yield measure, judge_steps(separated(finding, measure, separations), *finding.bounds)


def _corrected(found: Sequence[JudgedFinding]) -> Iterator[JudgedFinding]:
    adjusted = iter(holm([one.judged.p_value for one in found if one.judged.p_value is not None]))
    for one in found:
        yield one if one.judged.p_value is None else replace(one, adjusted=next(adjusted))


def sound_rows(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by profile, each published number once; without failed and doubtful models.

    A row whose flags are only about the attack stays.
    """
    sound = [row for row in share_doubts(rows) if row.status == "ok" and SHORTFALLS.issuperset(row.flags)]
    found = grouped(sound, lambda row: PUBLISHED if row.source == PUBLISHED else row.profile)
    once: dict[tuple[object, ...], Row] = {}
    for row in sorted(found.pop(PUBLISHED, []), key=lambda row: (row.published_source != PAPERS[0], row.experiment)):
        once.setdefault(values(row, COLUMNS), row)
    return {**found, PUBLISHED: [*once.values()]} if once else found


def separated(finding: Finding, measure: str, separations: Sequence[MeasuredSeparation | PublishedSeparation]) -> Steps:
    """Least distances less 2 epsilon, or less those under random labels, by dataset.

    If a dataset was measured with and without some examples, as the paper leaves out a few, the fewest examples count.
    """
    found = []
    exact = finding.exceeds == "two-epsilon"
    for dataset, members in grouped((one for one in separations if one.epsilon), lambda one: one.dataset).items():
        fewest = max(map(_left_out, members))
        kept = [one for one in members if _left_out(one) == fewest]
        for own in (one for one in kept if one.labels == "original"):
            for other in [own] if exact else (one for one in kept if one.labels == "random"):
                effect = getattr(own, measure) - (2 * (own.epsilon or 0.0) if exact else getattr(other, measure))
                seed = getattr(other, "seed", 0)
                found.append(Contrast(setting=dataset, seed=seed, effect=effect, exact=exact))
    return [found] if found else []


def _left_out(one: MeasuredSeparation | PublishedSeparation) -> int:
    return len(one.excluded) if isinstance(one, MeasuredSeparation) else 0


def try_theorem(registry: Registry, dataset: Component, source: DataSource) -> Judged:
    """Try to refute Theorem 4.2 for a dataset's distance classifier, at half its separation."""
    import torch

    from benchbench.data import load_dataset, subset
    from benchbench.figures.spiral import separation_radius
    from benchbench.separations.theorem import check_theorem

    try:
        splits = load_dataset(registry, dataset, source).splits
    except MissingDataError:
        return Judged()
    train = subset(splits.train, _MOST_POINTS, "theorem").examples  # the theorem holds for any part of the data
    inputs, labels, rows = train.inputs, train.labels, torch.arange(len(train))
    r, generator = separation_radius(inputs.numpy(), labels.numpy()), KeyedGenerator(derive_seed(0, "theorem"), rows)
    method = cast(FittingDefense, registry.make("defense", registry.resolve("defense", "distance", {"r": r})))
    threat, classes = Threat(epsilon=r), len(splits.classes)
    model = method.fit(torch.nn.Identity(), train, classes=classes, threat=threat, generator=generator)
    points = as_model_input(inputs, torch.float64)
    check = check_theorem(lambda x: -model(x), points, labels, r=r, generator=generator)
    return Judged(
        verdict="contradicted" if check.failures else "supported",
        test="; ".join(("search for a counterexample", *check.failures)),
        effect=check.ratio,
        seeds=1,
        settings=len(rows),
    )
