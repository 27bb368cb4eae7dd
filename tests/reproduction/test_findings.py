"""The findings of closer-look: each against a brute-force computation on made-up rows.

On these it holds, fails or is undecided.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_rows import make_row
from scipy.stats import ttest_1samp

from benchbench.comparison.pairing import holm
from benchbench.contract import DataSource
from benchbench.errors import UnknownNameError
from benchbench.leaderboard import published_rows, read_rows
from benchbench.leaderboard.separations import MeasuredSeparation
from benchbench.records import Row
from benchbench.registry import load_registry
from benchbench.reproduction.contrasts import contrasts
from benchbench.reproduction.findings import PUBLISHED, Grounds, judge_findings, separated, sound_rows
from benchbench.reproduction.findings_table import findings_page, findings_table
from benchbench.reproduction.judging import VERDICTS, Judged, decide, judge_steps
from benchbench.suite import Finding, Suite, read_suite

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = load_registry()
SUITE: Suite = read_suite("closer-look", REGISTRY)
FINDINGS = {finding.name: finding for finding in SUITE.findings}
SEEDS = range(5)

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "natural": ("natural", {}),
    "gr": ("gr", {"beta": 1.0, "h": 1.0, "variant": "equation"}),
    "llr": ("llr", {"lam": 4.0, "mu": 3.0, "variant": "equation"}),
    "at": ("at", {"steps": 10}),
    **{f"rst {lam}": ("rst", {"lam": lam}) for lam in (0.5, 1.0, 2.0)},
    **{f"trades {beta}": ("trades", {"beta": beta}) for beta in (1.0, 3.0, 6.0)},
}
RST, TRADES = ("rst 0.5", "rst 1.0", "rst 2.0"), ("trades 1.0", "trades 3.0", "trades 6.0")
ROBUST, PLAIN = ("at", *RST, *TRADES), ("natural", "gr", "llr")
SETTINGS: dict[str, dict[str, Any]] = {
    "cnn1": {"dataset": "mnist", "architecture": "cnn1"},
    "cnn2": {"dataset": "mnist", "architecture": "cnn2"},
    "svhn": {"dataset": "svhn", "architecture": "wrn", "dropout": 0.0},
    "svhn dropout": {"dataset": "svhn", "architecture": "wrn", "dropout": 0.5},
    "cifar": {"dataset": "cifar-10", "architecture": "wrn", "dropout": 0.0},
    "cifar crop": {"dataset": "cifar-10", "architecture": "wrn", "dropout": 0.0, "augmentation": "crop4+flip"},
    "cifar dropout": {"dataset": "cifar-10", "architecture": "wrn", "dropout": 0.2, "augmentation": "crop4+flip"},
    "proof": {"dataset": "mnist", "architecture": "cnn2", "trained_on": "train+test"},
    "stairs 40": {"dataset": "staircase", "architecture": "cubic-spline", "n_train": 40, "attack": "exact"},
    "stairs 30000": {"dataset": "staircase", "architecture": "cubic-spline", "n_train": 30000, "attack": "exact"},
}
IMAGES = tuple(name for name in SETTINGS if name not in ("proof", "stairs 40", "stairs 30000"))
STAIRS = ("natural", "gr", "llr", "at", *TRADES)

Cell = tuple[str, str, str]  # setting, method, attack
Step = list[tuple[list[Cell], list[Cell]]]  # of contrasts: cells whose mean is subtracted, and cells whose mean it is
Values = Callable[[Cell, int], float]


def cells(setting: str, methods: Sequence[str], attack: str = "pgd-10") -> list[Cell]:
    return [(setting, method, attack) for method in methods]


def between(*groups: Sequence[str], settings: Sequence[str] = IMAGES) -> list[Step]:
    return [[(cells(one, low), cells(one, high)) for one in settings] for low, high in pairwise(groups)]


def every(*groups: Sequence[str], settings: Sequence[str] = IMAGES) -> list[Step]:
    pairs = [pair for low, high in pairwise(groups) for pair in product(low, high)]
    return [[(cells(one, [low]), cells(one, [high])) for one in settings] for low, high in pairs]


def moved(methods: Sequence[str], *pairs: tuple[str, str]) -> list[Step]:
    return [[(cells(one, [name]), cells(other, [name])) for one, other in pairs for name in methods]]


DROPOUT = (("svhn", "svhn dropout"), ("cifar crop", "cifar dropout"))
BRUTE: dict[str, list[Step]] = {
    "networks-can-be-accurate-and-robust": [[([], cells("proof", ["rst 2.0"]))]],
    "robust-methods-are-smoother": between(ROBUST, PLAIN),
    "trades-is-smoothest": between(TRADES, ("at", *RST)),
    "trades-is-smoother-with-beta": between(*[[one] for one in TRADES]),
    "natural-training-is-least-smooth": every(("gr", "llr", *ROBUST), ["natural"]),
    "robust-methods-are-most-robust": between(PLAIN, ROBUST),
    "gr-and-llr-lie-between": between(["natural"], ["gr", "llr"], ["at", *TRADES]),
    "natural-training-is-least-robust": every(["natural"], ("gr", "llr", *ROBUST)),
    "trades-6-is-most-robust-on-cnn2": every((*PLAIN, "at", *TRADES[:2]), TRADES[2:], settings=["cnn2"]),
    "trades-6-is-most-robust-on-cifar-10": every(
        (*PLAIN, "at", *TRADES[:2]), TRADES[2:], settings=["cifar crop", "cifar dropout"]
    ),
    "robust-methods-cost-accuracy": between(ROBUST, ["natural"]),
    "beta-costs-accuracy": between(*[[one] for one in TRADES]),
    "llr-is-as-accurate-as-natural-training": between(["natural"], ["llr"]),
    "llr-is-more-robust-than-natural-training": between(["natural"], ["llr"]),
    "rst-is-more-accurate-than-at": between(["at"], RST),
    "mt-lowers-robust-accuracy-by-1-to-5-points": [
        [(cells(one, [name]), cells(one, [name], "mt-20")) for one in IMAGES for name in METHODS]
    ],
    "augmentation-helps-on-cifar-10": moved(tuple(METHODS), ("cifar", "cifar crop")),
    "robust-methods-generalise-worse": between(PLAIN, ROBUST),
    "trades-6-generalises-better-than-at-on-cnn2": between(["trades 6.0"], ["at"], settings=["cnn2"]),
    "dropout-narrows-both-gaps": moved(ROBUST, *DROPOUT),
    "dropout-makes-models-smoother": moved(ROBUST, *DROPOUT),
    "dropout-raises-both-accuracies": moved((*RST, *TRADES), *DROPOUT),
    "staircase-natural-training-has-the-least-error": every(["natural"], STAIRS[1:], settings=["stairs 40"]),
    "staircase-natural-training-is-least-smooth": every(STAIRS[1:], ["natural"], settings=["stairs 40"]),
    "staircase-at-overfits": every(("natural", "gr", "llr", *TRADES), ["at"], settings=["stairs 40"]),
    "staircase-trades-is-smoother-with-beta": between(*[[one] for one in TRADES], settings=["stairs 40"]),
    "staircase-enough-data-help-every-robust-method": every(
        ("llr", "at", *TRADES), ["natural"], settings=["stairs 30000"]
    ),
}
RANKED = {
    "smoother-models-are-more-robust": ("pgd-10", IMAGES, tuple(METHODS)),
    "smoother-models-are-more-robust-under-mt": ("mt-20", IMAGES, tuple(METHODS)),
    "staircase-smoother-models-err-less": ("exact", ("stairs 40",), STAIRS),
}
BETWEEN_COLUMNS = {"adversarial-gap-is-larger": (IMAGES, ROBUST)}
OF_DATA = {"separation-exceeds-2-epsilon", "random-labels-destroy-separation", "theorem-holds-on-the-spiral"}
MODES = ("supported", "contradicted", "undecided")


def made_up(cell: Cell, seed: int, measures: dict[str, float]) -> Row:
    """A row of a model, whose measures that are no column go into `extra`."""
    setting, method, attack = cell
    defense, options = METHODS[method]
    columns = {"attack": attack, **SETTINGS[setting]}
    if columns["architecture"] == "wrn":
        columns["architecture_options"] = json.dumps({"depth": 40, "dropout": columns["dropout"], "width": 10})
    if attack == "mt-20":
        columns["attack_options"] = '{"variant":"equation"}'
    extra = {name: value for name, value in measures.items() if name.endswith("released")}
    known = {name: value for name, value in measures.items() if name not in extra}
    return make_row(**columns, defense=defense, defense_options=json.dumps(options), seed=seed, extra=extra, **known)


def planted_levels(steps: Sequence[Step]) -> dict[Cell, int]:
    """How many steps above the lowest cells each cell stands."""
    levels: dict[Cell, int] = {}
    for step in steps:
        for below, above in step:
            for one in below:
                levels.setdefault(one, 0)
            height = max((levels[one] for one in below), default=0) + 1
            levels.update({one: max(height, levels.get(one, 0)) for one in above})
    return levels


def planted(finding: Finding, mode: str) -> float:
    """An effect of each step: inside the bounds, outside of them, or on one."""
    low, high = finding.bounds
    if mode == "undecided":
        return low if math.isfinite(low) else high
    inside = (low + high) / 2 if math.isfinite(low + high) else low + 0.05 if math.isfinite(low) else high - 0.05
    if low == 0.99:
        return 0.997 if mode == "supported" else 0.9
    outside = high + 0.05 if math.isfinite(high) else low - 0.05
    return inside if mode == "supported" else outside


def on_made_up_rows(finding: Finding, measure: str, mode: str) -> tuple[list[Row], Values]:
    """Rows with a planted effect, and their values."""
    steps, random = BRUTE[finding.name], np.random.default_rng(5)
    effect, seeds = (
        planted(finding, mode),
        [0] if "staircase" in finding.name else SEEDS,
    )
    start = 0.0 if finding.bounds[0] == 0.99 else 0.5
    drawn = {}
    for cell, level in planted_levels(steps).items():
        noise = 0.002 * random.normal(size=5)
        noise = noise if mode != "undecided" else noise[0] * np.arange(-2, 3)  # without effect on the mean
        drawn |= {(cell, seed): start + effect * level + noise[seed] for seed in seeds}
    shown = math.exp if finding.ratio else float
    rows = [
        made_up(_exact(cell), seed, {measure: shown(value), **_regression(cell, measure)})
        for (cell, seed), value in drawn.items()
    ]
    return rows, lambda cell, seed: drawn[cell, seed]


def _exact(cell: Cell) -> Cell:
    return (cell[0], cell[1], "exact") if cell[0].startswith("stairs") else cell


def _regression(cell: Cell, measure: str) -> dict[str, float]:
    return {"test_mse": 0.1} if cell[0].startswith("stairs") and measure != "test_mse" else {}


def judged_of(finding: Finding, measure: str, rows: Sequence[Row]) -> tuple[Judged, str]:
    judged = judge_steps(contrasts(finding, measure, rows), *finding.bounds)
    return judged, decide(judged, judged.p_value, 0.05)


def brute_units(step: Step, values: Values, seeds: Sequence[int]) -> list[float]:
    """The mean contrast of each seed."""
    units = []
    for seed in seeds:
        found = []
        for below, above in step:
            subtracted = np.mean([values(cell, seed) for cell in below]) if below else 0.0
            found.append(np.mean([values(cell, seed) for cell in above]) - subtracted)
        units.append(float(np.mean(found)))
    return units


def brute_p_value(units: Sequence[Sequence[float]], low: float, high: float) -> float:
    """Twice the smaller of two one-sided p-values over all steps."""
    holds, fails = [], []
    for one in units:
        beyond = [
            ttest_1samp(one, bound, alternative=side).pvalue
            for bound, side in ((low, "greater"), (high, "less"))
            if math.isfinite(bound)
        ]
        before = [
            ttest_1samp(one, bound, alternative=side).pvalue
            for bound, side in ((low, "less"), (high, "greater"))
            if math.isfinite(bound)
        ]
        holds.append(max(beyond))
        fails.append(min(before))
    return min(1.0, 2 * min(max(holds), min(1.0, len(fails) * min(fails))))


def test_every_finding_has_a_brute_force_computation() -> None:
    assert {*BRUTE, *RANKED, *BETWEEN_COLUMNS, *OF_DATA} == set(FINDINGS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [name for name in BRUTE if "staircase" not in name])
def test_finding_is_judged_as_by_brute_force(name: str, mode: str) -> None:
    finding = FINDINGS[name]
    for measure in (*finding.measures, *finding.extras):
        rows, values = on_made_up_rows(finding, measure, mode)
        judged, verdict = judged_of(finding, measure, rows)
        units = [brute_units(step, values, SEEDS) for step in BRUTE[name]]
        assert verdict == mode
        assert judged.test == "t over seeds"
        assert judged.seeds == 5
        assert judged.p_value == pytest.approx(brute_p_value(units, *finding.bounds))
        assert any(judged.effect == pytest.approx(np.mean(one)) for one in units)


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("name", [name for name in BRUTE if "staircase" in name])
def test_finding_about_the_staircase_needs_no_test(name: str, mode: str) -> None:
    finding = FINDINGS[name]
    for measure in finding.measures:
        rows, values = on_made_up_rows(finding, measure, mode)
        judged, verdict = judged_of(finding, measure, rows)
        effects = [brute_units([one], values, [0])[0] for step in BRUTE[name] for one in step]
        low, high = finding.bounds
        assert (verdict == "supported") == all(low < effect < high for effect in effects) == (mode == "supported")
        assert (judged.test, judged.p_value) == ("none: nothing is random", None)
        assert judged.holding == sum(low < effect < high for effect in effects)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RANKED)
def test_correlation_is_judged_as_by_brute_force(name: str, mode: str) -> None:
    finding, (attack, settings, methods) = FINDINGS[name], RANKED[name]
    exact = attack == "exact"
    if exact and mode == "undecided":
        return
    sign = {"supported": 1.0, "contradicted": -1.0, "undecided": 0.0}[mode] * (1 if finding.bounds[0] == 0 else -1)
    random = np.random.default_rng(3)
    for measure in (*finding.measures, *finding.extras):
        rows, found = [], []
        for seed in [0] if exact else SEEDS:
            correlations = []
            for setting in settings:
                others = 0.2 + 0.05 * np.arange(len(methods)) + 0.02 * random.normal(size=len(methods))
                measured = 10 + sign * others + random.normal(size=len(methods)) * (0.02 if sign else 1.0)
                other = finding.against
                for method, one, value in zip(methods, others, measured):
                    rows.append(
                        made_up(
                            (setting, method, attack),
                            seed,
                            {other: one, measure: value, **_regression((setting, "", ""), measure)},
                        )
                    )
                ranks = [np.argsort(np.argsort(column)) for column in (others, measured)]
                correlations.append(np.corrcoef(*ranks)[0, 1])
            found.append(float(np.mean(correlations)))
        judged, verdict = judged_of(finding, measure, rows)
        assert verdict == mode
        assert judged.effect == pytest.approx(np.mean(found))
        if not exact:
            assert judged.p_value == pytest.approx(brute_p_value([found], *finding.bounds))


@pytest.mark.parametrize(("shift", "verdict"), [(0.05, "supported"), (-0.05, "contradicted"), (0.0, "undecided")])
def test_difference_of_two_columns_is_judged_as_by_brute_force(shift: float, verdict: str) -> None:
    (name, (settings, methods)), random = next(iter(BETWEEN_COLUMNS.items())), np.random.default_rng(2)
    rows, found = [], []
    for seed in SEEDS:
        differences = shift + 0.01 * random.normal(size=(len(settings), len(methods)))
        found.append(float(differences.mean()))
        for (setting, method), difference in zip(product(settings, methods), differences.flat):
            rows.append(made_up((setting, method, "pgd-10"), seed, {"gap": 0.03, "adv_gap": 0.03 + difference}))
    judged, given = judged_of(FINDINGS[name], "adv_gap", rows)
    assert (given, judged.settings) == (verdict, len(settings) * len(methods))
    assert judged.effect == pytest.approx(np.mean(found))
    assert judged.p_value == pytest.approx(brute_p_value([found], 0.0, math.inf))


def test_one_seed_is_tested_over_settings_and_one_setting_decides_nothing() -> None:
    finding = FINDINGS["robust-methods-are-smoother"]
    rows, values = on_made_up_rows(finding, "test_lipschitz", "supported")
    one_seed = [row for row in rows if row.seed == 0]
    judged, verdict = judged_of(finding, "test_lipschitz", one_seed)
    effects = [brute_units([one], values, [0])[0] for one in BRUTE[finding.name][0]]
    assert (verdict, judged.test, judged.seeds, judged.settings) == ("supported", "t within one seed", 1, len(IMAGES))
    assert judged.p_value == pytest.approx(brute_p_value([effects], 0.0, math.inf))
    interval = ttest_1samp(effects, 0.0).confidence_interval(0.95)
    assert (judged.low, judged.high) == pytest.approx((interval.low, interval.high))
    alone = [row for row in one_seed if row.architecture == "cnn1"]
    judged, verdict = judged_of(finding, "test_lipschitz", alone)
    assert (verdict, judged.p_value, judged.holding, judged.compared) == ("undecided", None, 1, 1)


def test_seeds_that_few_settings_have_do_not_make_replicates_of_others() -> None:
    finding = FINDINGS["robust-methods-are-smoother"]
    rows, values = on_made_up_rows(finding, "test_lipschitz", "supported")
    mixed = [row for row in rows if row.seed == 0 or row.architecture == "cnn1"]
    judged, _ = judged_of(finding, "test_lipschitz", mixed)
    units = brute_units([one for one in BRUTE[finding.name][0] if one[0][0][0] == "cnn1"], values, SEEDS)
    assert (judged.seeds, judged.settings) == (5, 1)
    assert judged.effect == pytest.approx(np.mean(units))


def test_equal_values_under_every_seed_allow_no_test() -> None:
    finding = FINDINGS["rst-is-more-accurate-than-at"]
    rows = [
        made_up(("cnn1", name, "pgd-10"), seed, {"test_accuracy": 0.5 + 0.1 * (name != "at")})
        for seed in SEEDS
        for name in ("at", *RST)
    ]
    judged, verdict = judged_of(finding, "test_accuracy", rows)
    assert (verdict, judged.p_value, judged.holding) == ("undecided", None, 5)


def test_a_step_without_a_test_leaves_the_whole_statement_undecided() -> None:
    finding = FINDINGS["trades-is-smoother-with-beta"]
    rows, _ = on_made_up_rows(finding, "test_lipschitz", "supported")
    assert judged_of(finding, "test_lipschitz", rows)[1] == "supported"
    fewer = [
        row
        for row in rows
        if '"beta": 6.0' not in row.defense_options or (row.seed == 0 and row.architecture == "cnn1")
    ]
    judged, verdict = judged_of(finding, "test_lipschitz", fewer)
    assert (verdict, judged.p_value) == ("undecided", None)


def test_a_model_without_a_middle_value_is_not_compared_across_it() -> None:
    finding = FINDINGS["trades-is-smoother-with-beta"]
    rows, _ = on_made_up_rows(finding, "test_lipschitz", "supported")
    fewer = [row for row in rows if not (row.architecture == "cnn1" and '"beta": 3.0' in row.defense_options)]
    judged, _ = judged_of(finding, "test_lipschitz", fewer)
    assert judged.compared == 2 * 5 * (len(IMAGES) - 1)


@pytest.mark.parametrize(
    ("name", "measure"), [("trades-is-smoother-with-beta", "test_lipschitz"), ("beta-costs-accuracy", "test_accuracy")]
)
def test_one_value_of_an_option_alone_is_compared_with_nothing(name: str, measure: str) -> None:
    finding = FINDINGS[name]
    rows, _ = on_made_up_rows(finding, measure, "supported")
    judged, verdict = judged_of(finding, measure, [row for row in rows if '"beta": 6.0' in row.defense_options])
    assert (verdict, judged.compared, judged.effect) == ("not run", 0, None)


def test_values_of_an_option_are_compared_where_all_other_options_are_equal() -> None:
    finding = FINDINGS["trades-is-smoother-with-beta"]
    rows, _ = on_made_up_rows(finding, "test_lipschitz", "supported")
    others = [
        dataclasses.replace(row, defense_options=row.defense_options.replace("}", ', "steps": 7}'), test_lipschitz=1.0)
        for row in rows
    ]
    judged, verdict = judged_of(finding, "test_lipschitz", [*rows, *others])
    assert (judged.settings, judged.holding, judged.compared) == (
        2 * len(IMAGES),
        2 * 5 * len(IMAGES),
        4 * 5 * len(IMAGES),
    )
    assert verdict == "supported"


def test_pairs_differ_in_nothing_but_what_their_groups_name() -> None:
    finding = FINDINGS["mt-lowers-robust-accuracy-by-1-to-5-points"]
    rows, _ = on_made_up_rows(finding, "adv_test_accuracy", "supported")
    assert judged_of(finding, "adv_test_accuracy", rows)[0].settings == len(IMAGES) * len(METHODS)
    fewer_images = [dataclasses.replace(row, n_test=50) if row.attack == "mt-20" else row for row in rows]
    assert judged_of(finding, "adv_test_accuracy", fewer_images)[1] == "not run"


def test_holms_correction_is_over_all_findings_of_a_profile() -> None:
    rows = read_rows(ROOT / "leaderboards" / "closer-look.parquet")
    found = judge_findings(SUITE, grounds(rows), PUBLISHED)
    p_values = [one.judged.p_value for one in found if one.judged.p_value is not None]
    assert len(p_values) > 20
    assert [one.adjusted for one in found if one.adjusted is not None] == holm(p_values)
    assert {one.profile for one in found} == {PUBLISHED}


def grounds(rows: Sequence[Row], separations: Sequence[MeasuredSeparation] = ()) -> Grounds:
    nowhere = DataSource(root=Path("/nowhere"), cache=Path("/nowhere"))
    return Grounds(rows=rows, separations=separations, registry=REGISTRY, source=nowhere)


def test_what_the_papers_tables_say() -> None:
    found = judge_findings(SUITE, grounds(published_rows()), PUBLISHED)
    verdicts = {(one.finding.name, one.measure): one.verdict for one in found}
    assert verdicts["robust-methods-are-smoother", "test_lipschitz"] == "supported"
    assert verdicts["robust-methods-are-smoother", "test_lipschitz_released"] == "not run"
    assert verdicts["smoother-models-are-more-robust", "test_lipschitz"] == "supported"
    assert verdicts["trades-is-smoother-with-beta", "test_lipschitz"] == "undecided"  # one run of each, six settings
    assert (
        verdicts["staircase-natural-training-is-least-smooth", "test_lipschitz"] == "contradicted"
    )  # by GR in Table 1
    assert verdicts["staircase-at-overfits", "test_mse"] == "supported"
    assert verdicts["separation-exceeds-2-epsilon", "train_train_min"] == "supported"


def test_published_numbers_that_are_printed_twice_count_once() -> None:
    rows = sound_rows(published_rows())[PUBLISHED]
    natural = [
        row
        for row in rows
        if (row.dataset, row.defense, row.attack, row.dropout, row.augmentation)
        == ("cifar-10", "natural", "pgd-10", 0.0, "crop4+flip")
        and row.trained_on == "train"
    ]
    assert [row.published_source for row in natural] == ["neurips2020"]
    unaugmented = [
        row
        for row in rows
        if (row.dataset, row.augmentation, row.attack) == ("cifar-10", "none", "pgd-10") and row.trained_on == "train"
    ]
    assert {row.published_source for row in unaugmented} == {"arxiv-v1"}


def test_failed_and_doubtful_rows_are_left_out_and_weak_attacks_only_of_what_they_measured() -> None:
    finding = FINDINGS["rst-is-more-accurate-than-at"]
    rows, _ = on_made_up_rows(finding, "test_accuracy", "supported")
    for columns, kept in (
        ({"status": "failed"}, 0),
        ({"flags": ("zero-gradients",)}, 0),
        ({"flags": ("quarter-broken",)}, len(rows)),
    ):
        changed = [dataclasses.replace(row, **columns) for row in rows]
        assert len(sound_rows(changed).get("quick", [])) == kept
    weak = [dataclasses.replace(row, flags=("quarter-broken",), adv_test_accuracy=0.5) for row in rows]
    assert judged_of(finding, "test_accuracy", weak)[1] == "supported"
    assert contrasts(finding, "adv_test_accuracy", weak) == []


def test_values_of_any_size_end_in_a_verdict() -> None:
    finding = FINDINGS["robust-methods-are-smoother"]
    for size in (1e308, 1e99, 5e-324, 0.0):
        rows = [
            made_up(("cnn1", name, "pgd-10"), seed, {"test_lipschitz": size if name in PLAIN else 1.0 + seed})
            for seed in SEEDS
            for name in (*PLAIN, *ROBUST)
        ]
        (one,) = judge_findings(
            dataclasses.replace(SUITE, findings=(dataclasses.replace(finding, extras=()),)), grounds(rows), "quick"
        )
        assert one.verdict == ("not run" if size in (1e308, 0.0) else "supported" if size > 1 else "contradicted")
        assert findings_table([one]).groups


def separation(**columns: Any) -> MeasuredSeparation:
    given = {
        "dataset": "mnist",
        "labels": "original",
        "seed": 0,
        "excluded": (),
        "epsilon": 0.1,
        "train_train_min": 0.7,
    }
    means = {
        "n_train": 10,
        "n_test": 5,
        "train_train_mean": 1.0,
        "test_train_min": 0.8,
        "test_train_mean": 1.0,
        "report": "{}",
    }
    return MeasuredSeparation(**{**given, **means, **columns})


def test_separation_of_every_dataset_must_exceed_two_epsilon() -> None:
    finding = FINDINGS["separation-exceeds-2-epsilon"]
    apart = [
        separation(),
        separation(dataset="svhn", epsilon=0.031, train_train_min=0.0),
        separation(dataset="spiral", epsilon=None),
    ]
    judged = judge_steps(separated(finding, "train_train_min", apart), *finding.bounds)
    assert (judged.verdict, judged.effect, judged.holding, judged.settings) == (
        "contradicted",
        pytest.approx(-0.062),
        1,
        2,
    )
    apart.append(
        separation(dataset="svhn", epsilon=0.031, train_train_min=0.094, excluded=(3, 5, 7))
    )  # as in the paper
    judged = judge_steps(separated(finding, "train_train_min", apart), *finding.bounds)
    assert (judged.verdict, judged.effect) == ("supported", pytest.approx(0.032))


@pytest.mark.parametrize(
    ("least", "verdict"),
    [((0.2, 0.21, 0.22), "supported"), ((0.9, 0.91, 0.92), "contradicted"), ((0.2, 0.7, 1.2), "undecided")],
)
def test_random_labels_are_judged_over_their_draws(least: tuple[float, ...], verdict: str) -> None:
    finding = FINDINGS["random-labels-destroy-separation"]
    drawn = [separation(labels="random", seed=seed, train_train_min=value) for seed, value in enumerate(least)]
    judged = judge_steps(separated(finding, "train_train_min", [separation(), *drawn]), *finding.bounds)
    assert decide(judged, judged.p_value, 0.05) == verdict
    assert judged.effect == pytest.approx(0.7 - np.mean(least))
    one = judge_steps(separated(finding, "train_train_min", [separation(), drawn[0]]), *finding.bounds)
    assert (one.verdict, one.p_value) == ("undecided", None)


def test_theorem_is_tried_under_the_first_profile_and_not_without_data() -> None:
    theorem = FINDINGS["theorem-holds-on-the-spiral"]
    suite = dataclasses.replace(SUITE, findings=(theorem,))
    (tried,) = judge_findings(suite, grounds([]))
    assert (tried.profile, tried.verdict, tried.measure, tried.judged.settings) == ("paper", "supported", "spiral", 200)
    assert judge_findings(suite, grounds([]), "quick") == ()
    mnist = dataclasses.replace(theorem, dataset=REGISTRY.resolve("dataset", "mnist"))
    (missing,) = judge_findings(dataclasses.replace(SUITE, findings=(mnist,)), grounds([]))
    assert missing.verdict == "not run"


def test_unknown_profile_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'published'"):
        judge_findings(SUITE, grounds([]), "publishd")


def test_page_states_place_and_verdict_of_every_finding() -> None:
    found = judge_findings(SUITE, grounds(read_rows(ROOT / "leaderboards" / "closer-look.parquet")))
    page = findings_page(found, "closer-look")
    profiles = list(dict.fromkeys(one.profile for one in found))
    for finding in SUITE.findings:
        (line,) = [line for line in page.splitlines() if line.startswith("| ") and f"<br>`{finding.name}` | " in line]
        stated, *cells = line.removeprefix("| ").split(" | ")
        assert finding.place
        assert stated.replace("\\", "") == f"{finding.statement}<br>{finding.place}<br>`{finding.name}`"
        for profile, cell in zip(profiles, cells):
            verdicts = {one.verdict for one in found if (one.finding.name, one.profile) == (finding.name, profile)}
            given = {verdict for verdict in VERDICTS if verdict in cell}
            assert given == (verdicts - {"not run"} or verdicts)
    table = findings_table(found)
    assert all(len(line.entries) == len(table.columns) for line in table.lines)
    assert [group.label for group in table.groups] == [
        "paper profile",
        "quick profile",
        "short profile",
        "ten-epochs profile",
        "published numbers",
    ]
