"""What a suite's figures show: means over seeds with 95% intervals, by panel and series."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from benchbench.cell.filters import parse_options
from benchbench.comparison.contenders import Contender
from benchbench.leaderboard import identity, names
from benchbench.leaderboard.matching import is_of_setting, is_regression, published_setting, same_setting
from benchbench.leaderboard.spread import interval_of, seed_spread
from benchbench.records import Interval, Row, Rows, accuracy_interval
from benchbench.records.arrays import Array

if TYPE_CHECKING:
    from benchbench.training.checkpoint import EpochRecord

_TRAINED_ON = (*identity.PROTOCOL, *identity.DATA, *identity.NETWORK, *identity.TRAINING)
_UNDER_NORM = (*_TRAINED_ON, "norm", *identity.READING)
_RECORDED = {  # fields of an `EpochRecord`, in the order of the panels
    "validation_accuracy": "accuracy on held-out examples",
    "validation_robust_accuracy": "robust accuracy on held-out examples",
    "accuracy": "accuracy on training batches",
    "loss": "training loss",
}
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured in a suite."""

    rows: Sequence[Row]
    contenders: Sequence[Contender] = ()  # models with per-example outcomes
    histories: Sequence[tuple[Row, Sequence[EpochRecord]]] = ()  # of trainings, each with a row of its model


@dataclass(frozen=True, kw_only=True)
class Point:
    """A mean over seeds."""

    panel: str  # what all series of a panel share: data, network, attack, ...
    series: str  # the training method
    x: float
    y: float
    n: int  # seeds
    low: float | None = None  # ends of the 95% interval of y
    high: float | None = None
    x_low: float | None = None  # ends of the 95% interval of x
    x_high: float | None = None
    published: bool = False  # whether a paper printed it
    flagged: bool = False  # whether a row that it is the mean of is flagged
    href: str = ""  # of the row's page, for a single one
    order: tuple[object, ...] = ()  # of the series in a legend, so that a method has one colour on a page


def radius_points(rows: Iterable[Row]) -> list[Point]:
    """Accuracy under attack against the radius; at radius 0 the accuracy without attack.

    A series is one model at several radii. Models that have one radius each, at which they were trained and attacked, are a
    series together. What has a single radius is left out.
    """
    points: list[Point] = []
    for panel, members in _panels(_classified(rows), lambda row: row, (*_UNDER_NORM, *identity.ATTACK)):
        fixed = identity.grouped(members, _method)
        alone = {key: of for key, of in fixed.items() if len({row.epsilon for row in of}) == 1}
        own = [r for of in alone.values() for r in of if (r.train_norm, r.train_epsilon) == (r.norm, r.epsilon)]
        together = identity.grouped(own, lambda row: (row.defense, row.defense_options, identity.training(row)))
        for label, runs in _labelled([of for key, of in fixed.items() if key not in alone]):
            points += _curve(panel, label, runs, clean=True)
        for label, runs in _labelled([of for of in together.values() if len({row.epsilon for row in of}) > 1]):
            points += _curve(panel, f"{label}, trained at each radius", runs, clean=False)
    return points


def perturbation_points(contenders: Iterable[Contender]) -> list[Point]:
    """The share of test examples that some attack changed at distance x or less, by radius.

    Per example the smallest such radius is an upper bound of the minimal perturbation; the shares are lower bounds.
    """
    points = []
    models = [one for one in _in_order(contenders, lambda one: one.row) if not is_regression(one.row)]
    for panel, members in _panels(models, lambda one: one.row, _UNDER_NORM):
        series = identity.grouped(members, lambda one: _method(one.row)).values()
        kept = [found for found in series if len({one.row.epsilon for one in found}) > 1]
        for label, runs in zip(_labels([[one.row for one in found] for found in kept]), kept):
            bounds = [perturbation_bounds(of) for of in identity.grouped(runs, lambda one: one.row.seed).values()]
            for radius in sorted({0.0, *(one.row.epsilon for one in runs)}):
                reached = [bound <= radius for bound in bounds]
                alone = accuracy_interval(int(reached[0].sum()), len(reached[0]))
                point = _mean(panel, label, runs[0].row, radius, [float(one.mean()) for one in reached], alone)
                flagged = any(one.flags for one in runs if one.row.epsilon == radius)
                points.append(dataclasses.replace(point, flagged=flagged))
    return points


def perturbation_bounds(radii: Sequence[Contender]) -> Array:
    """float64 (n,): upper bounds of the minimal perturbations of one model's test examples.

    Takes the model at several radii. The bound is the smallest radius at which an attack succeeded, 0 for an example that is
    misclassified as it is, and inf where none succeeded; n are the examples that all radii share.
    """
    shared = functools.reduce(np.intersect1d, [one.index for one in radii])
    bounds = np.full(len(shared), np.inf)
    for one in sorted(radii, key=lambda one: -one.row.epsilon):
        worst = one.on(shared).worst
        bounds[~worst["adv_test_accuracy"]] = one.row.epsilon
    bounds[~worst["test_accuracy"]] = 0.0
    return bounds


def epoch_points(models: Iterable[tuple[Row, Sequence[EpochRecord]]]) -> list[Point]:
    """Each recorded quantity over the epochs of training, in a separate panel.

    Clean and robust accuracy are known where the recipe holds out a validation split; the accuracy on training batches is that
    of the images that the method makes.
    """
    points = []
    recorded = [(row, history) for row, history in _in_order(models, lambda one: one[0]) if history]
    panels = list(_panels(recorded, lambda one: one[0], _TRAINED_ON))
    panels.sort(key=lambda panel: not any(one.validation_accuracy for _, history in panel[1] for one in history))
    for panel, members in panels:
        series = list(identity.grouped(members, lambda one: _method(one[0])).values())
        labels = _labels([[row for row, _ in found] for found in series])
        for key, quantity in _RECORDED.items():
            for label, runs in zip(labels, series):
                at: dict[int, list[float]] = {}
                for record in sorted((one for _, history in runs for one in history), key=lambda one: one.epoch):
                    found = getattr(record, key)
                    at.setdefault(record.epoch, []).extend([] if found is None else [found])
                points += [
                    _mean(f"{quantity}; {panel}", label, runs[0][0], epoch, found, None, share=key != "loss")
                    for epoch, found in at.items()
                    if found
                ]
    return points


def scatter_points(rows: Iterable[Row], x: str) -> list[Point]:
    """Accuracy under attack against another measure, by setting, ours and published."""
    wanted = [row for row in _classified(rows, every=True) if getattr(row, x) is not None]
    beside = identity.grouped(_latest([row for row in wanted if row.source == "published"]), published_setting)
    measured = list(identity.grouped(_measured(wanted), same_setting).values())
    settings = [
        [*of, *(row for one in beside.values() if is_of_setting(one[0], of[0]) for row in one)] for of in measured
    ]
    several = [of for of in settings or beside.values() if len({names.defense_label(row) for row in of}) > 1]
    titles = [_panel(of[0], identity.SETTING) for of in several]
    points = []
    for panel, found in zip(identity.tell_apart(titles, [of[0] for of in several], identity.SETTING), several):
        ours = identity.by_seed(_measured(found))
        points += [_both(panel, label, runs, x) for label, runs in _labelled(ours)]
        theirs = (row for row in found if row.source == "published")
        points += [_both(panel, names.defense_label(row), [row], x) for row in theirs]
    return points


def _both(panel: str, label: str, runs: Sequence[Row], x: str) -> Point:
    up, across = (
        _mean(
            panel,
            label,
            runs[0],
            0.0,
            [getattr(row, key) for row in runs],
            interval_of(runs[0], key),
            share="acc" in key,
        )
        for key in ("adv_test_accuracy", x)
    )
    ours = runs[0].source == "measured"
    return dataclasses.replace(
        up,
        x=across.y,
        x_low=across.low,
        x_high=across.high,
        published=not ours,
        flagged=any(row.flags for row in runs),
        href=f"rows/{runs[0].cell_id}.html" if ours and len(runs) == 1 else "",
    )


def _latest(published: Sequence[Row]) -> list[Row]:
    """Published rows; of methods that both papers have in a setting, those of the later."""
    keys = [(published_setting(row), names.defense_label(row)) for row in published]
    later = {key for key, row in zip(keys, published) if row.published_source != "arxiv-v1"}
    return [row for key, row in zip(keys, published) if row.published_source != "arxiv-v1" or key not in later]


def _classified(rows: Iterable[Row], *, every: bool = False) -> list[Row]:
    """The finished rows with an accuracy under attack; measured ones, or every one."""
    finished = (row for row in rows if row.status == "ok" and not is_regression(row))
    found = _in_order((row for row in finished if row.adv_test_accuracy is not None), lambda row: row)
    return found if every else _measured(found)


def _in_order(items: Iterable[_Item], row_of: Callable[[_Item], Row]) -> list[_Item]:
    return sorted(items, key=lambda item: names.defense_order(row_of(item)))


def _measured(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.source == "measured"]


def _panels(
    items: Iterable[_Item], row_of: Callable[[_Item], Row], columns: Sequence[str]
) -> Iterator[tuple[str, list[_Item]]]:
    """Items whose rows share some columns, with a label that differs from the others'."""
    found = list(identity.grouped(items, lambda item: identity.values(row_of(item), columns)).values())
    rows = [row_of(members[0]) for members in found]
    return zip(identity.tell_apart([_panel(row, columns) for row in rows], rows, columns), found)


def _panel(row: Row, columns: Sequence[str]) -> str:
    network = " ".join(part for part in (names.network_label(row), names.dropout_label(row)) if part)
    attack = names.attack_label(row.attack, parse_options(row.attack_options)) if "attack" in columns else ""
    norm = row.norm if "norm" in columns else ""
    norm += f" epsilon {names.number(row.epsilon)}" if "epsilon" in columns else ""
    augmentation = names.augmentation_label(row)
    return names.joined(names.dataset_label(row), network, augmentation, attack, norm, row.profile)


def _method(row: Row) -> tuple[object, ...]:
    """Equal for models that differ in nothing but the seed."""
    return (*identity.values(row, identity.DEFENSE), identity.training(row))


def _labels(series: Sequence[Sequence[Row]]) -> list[str]:
    """The method of each series of a panel, in distinct words."""
    return identity.labels_within(Rows.of(found[0] for found in series), [0] * len(series)) if series else []


def _labelled(series: Sequence[Sequence[Row]]) -> Iterator[tuple[str, Sequence[Row]]]:
    return zip(_labels(series), series)


def _curve(panel: str, label: str, rows: Sequence[Row], *, clean: bool) -> Iterator[Point]:
    """A series at each radius; with `clean` also at radius 0."""
    radii = identity.grouped(sorted(rows, key=lambda row: row.epsilon), lambda row: row.epsilon)
    at = [(0.0, rows, "test_accuracy"), *((radius, of, "adv_test_accuracy") for radius, of in radii.items())]
    for radius, found, key in at[0 if clean else 1 :]:
        seeds = {row.seed: row for row in reversed(found) if getattr(row, key) is not None}
        if seeds:
            runs = [seeds[seed] for seed in sorted(seeds, key=lambda seed: seed or 0)]
            point = _mean(panel, label, rows[0], radius, [getattr(row, key) for row in runs], interval_of(runs[0], key))
            flagged = key == "adv_test_accuracy" and any(row.flags for row in runs)
            yield dataclasses.replace(point, flagged=flagged)


def _mean(
    panel: str, series: str, row: Row, x: float, found: Sequence[float], alone: Interval | None, *, share: bool = True
) -> Point:
    """The mean over seeds with its 95% interval, of a single seed `alone`."""
    spread = seed_spread(found)
    low, high = (alone.low, alone.high) if spread.n == 1 and alone else (spread.low, spread.high)
    if share and low is not None and high is not None:
        low, high = max(0.0, low), min(1.0, high)
    order = names.defense_order(row)
    return Point(panel=panel, series=series, x=x, y=spread.mean, n=spread.n, low=low, high=high, order=order)
