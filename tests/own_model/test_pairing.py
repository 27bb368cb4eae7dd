"""Models attacked on the same images are paired example by example."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

import benchbench
from benchbench.errors import UsageError

DIGITS = {"name": "digits", "scale": 1}


def linear(seed: int) -> nn.Module:
    """Some weights; most examples are wrong, and the two models err on different ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def report_of(seed: int, **how: Any) -> benchbench.ModelReport:
    return benchbench.evaluate(
        linear(seed), **{"dataset": DIGITS, "n_test": 300, "threat": benchbench.Threat(epsilon=0.01), **how}
    )


def test_pairs_have_the_exact_test_and_the_worst_common_attack() -> None:
    first = report_of(1, attacks=["pgd-10", {"name": "pgd", "steps": 1}])
    second = report_of(2, attacks=["pgd-10", "mt-20"])
    found = benchbench.compare({"one": first, "two": second})
    assert found.sheets[0].title == "digits, 300 test examples, linf epsilon 0.01, worst of pgd-10"
    sides: dict[str, tuple[Tensor, Tensor]] = {
        "test_accuracy": (first.prediction == first.label, second.prediction == second.label),
        "adv_test_accuracy": (first.attacks["pgd-10"].robust, second.attacks["pgd-10"].robust),
    }
    assert [one["measure"] for one in found.records] == [*sides]
    for one in found.records:
        ours, theirs = (side.numpy() for side in sides[one["measure"]])
        assert (one["A"], one["B"], one["test"], one["n"]) == ("one", "two", "McNemar", 300)
        assert (one["first"], one["second"]) == (ours.mean(), theirs.mean())
        alone = int((ours & ~theirs).sum())
        discordant = int((ours != theirs).sum())
        assert one["p_value"] == pytest.approx(binomtest(alone, discordant).pvalue)
        assert one["low"] <= one["difference"] <= one["high"]
    low, high = sorted(one["p_value"] for one in found.records)
    assert sorted(one["adjusted"] for one in found.records) == pytest.approx([min(1, 2 * low), max(2 * low, high)])


def test_title_names_attacks_with_equal_options_only() -> None:
    first, second = (report_of(1, n_test=20, attacks=["pgd-10", {"name": "pgd", "steps": steps}]) for steps in (1, 2))
    assert benchbench.compare(first, second).sheets[0].title.endswith("worst of pgd-10")


def test_several_radii_are_not_one_report() -> None:
    several = benchbench.evaluate(linear(1), dataset=DIGITS, n_test=20, epsilon=[0.01, 0.02])
    with pytest.raises(UsageError, match="mine is not one report"):
        benchbench.compare({"mine": several, "theirs": several[0]})


def test_flags_are_named() -> None:
    blind = benchbench.evaluate(
        lambda images: linear(1)(images.detach()), dataset=DIGITS, n_test=100, threat=benchbench.Threat(epsilon=0.01)
    )
    found = benchbench.compare(blind, report_of(2, n_test=100))
    (flagged,) = found.sheets[0].remarks
    assert flagged.startswith("flagged: model 1: ")
    assert "zero-gradients" in flagged
    assert "flagged: model 1" in repr(found)
    assert "flagged: model 1" in found._repr_html_()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"n_test": 200}, "they differ in test examples"),
        ({"threat": benchbench.Threat(epsilon=0.02)}, "they differ in threat"),
        ({"dataset": "digits", "threat": benchbench.Threat(epsilon=0.01)}, "they differ in dataset"),
        ({"attacks": "mt-20"}, "no common attack"),
    ],
)
def test_other_images_and_attacks_are_refused(other: dict[str, Any], said: str) -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(256, 10)) if "dataset" in other else linear(2)
    how = {"dataset": DIGITS, "n_test": 300, "threat": benchbench.Threat(epsilon=0.01), **other}
    with pytest.raises(UsageError, match=said):
        benchbench.compare(report_of(1), benchbench.evaluate(wide, **how))


def test_reports_are_compared_with_reports() -> None:
    report = report_of(1)
    with pytest.raises(UsageError, match="one model alone"):
        benchbench.compare(report)
    with pytest.raises(UsageError, match="reports are compared with reports"):
        benchbench.compare(report, "defense=at")


def test_a_model_compared_with_its_equal_is_a_tie() -> None:
    found = benchbench.compare(report_of(1), report_of(1))
    assert [(one["p_value"], one["significant"]) for one in found.records] == [(1.0, False)] * 2
    assert found.records[0]["low"] is None  # equal answers show no spread
