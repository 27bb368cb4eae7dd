"""Compare models that were attacked on the same images, example by example."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch

from benchbench.comparison.pairing import Difference, adjust, paired
from benchbench.comparison.showing import comparison
from benchbench.errors import UsageError
from benchbench.leaderboard.frames import Listing
from benchbench.own_model.report import ModelReport


def compare_reports(reports: Mapping[str, ModelReport]) -> Listing:
    """Compare models by name as `benchbench.comparison.pairing.compare` does rows.

    Each example counts under the worst of the attacks that both models have. Holm's correction is over all pairs and measures.
    Reports on other data, another threat, other examples or without a common attack are a UsageError.
    """
    if len(reports) < 2:
        raise UsageError("one model alone cannot be compared", hint="pass two reports")
    if strange := [str(name) for name, one in reports.items() if not isinstance(one, ModelReport)]:
        raise UsageError(f"{strange[0]} is not one report", hint="of several radii, pass those of one")
    found = [difference for names in combinations(reports, 2) for difference in _differences(names, reports)]
    flags = {name: sorted({flag for a in one.attacks.values() for flag in a.flags}) for name, one in reports.items()}
    first = next(iter(reports.values()))
    same = [[(attack.name, attack.options) for attack in one.attacks.values()] for one in reports.values()]
    shared = [label for label, one in first.attacks.items() if all((one.name, one.options) in each for each in same)]
    title = f"{first.title}, worst of {' and '.join(shared) or 'the attacks that each pair had'}"
    return comparison(adjust(found), {}, {name: signs for name, signs in flags.items() if signs}, title)


def _differences(names: tuple[str, str], reports: Mapping[str, ModelReport]) -> list[Difference]:
    first, second = (reports[name] for name in names)
    columns = ("dataset", "dataset_digest", "threat")
    differing = [name for name in columns if getattr(first, name) != getattr(second, name)]
    if not torch.equal(first.index, second.index):
        differing.append("test examples")
    if differing:
        raise UsageError(
            f"{names[0]} and {names[1]} cannot be compared: they differ in {', '.join(differing)}",
            hint="evaluate both on the same data, n_test and threat",
        )
    attacks = [
        (ours, theirs)
        for ours in first.attacks.values()
        for theirs in second.attacks.values()
        if (ours.name, ours.options) == (theirs.name, theirs.options)
    ]
    if not attacks:
        raise UsageError(f"{names[0]} and {names[1]} were evaluated under no common attack")
    correct = [(report.prediction == report.label).numpy() for report in (first, second)]
    robust = [torch.stack([one.robust for one in side]).all(dim=0).numpy() for side in zip(*attacks)]
    values = {"test_accuracy": correct, "adv_test_accuracy": robust}
    return [paired(names, measure, *pair) for measure, pair in values.items()]
