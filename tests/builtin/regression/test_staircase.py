"""The staircase's data, its spline, and the whole experiment against the published tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from run_processes import EXHAUSTIVE
from scipy.interpolate import BSpline

from benchbench.builtin.regression.spline import CubicSpline
from benchbench.builtin.regression.staircase import Staircase, make_cubic_spline
from benchbench.contract import DatasetSplits, DataSource, OptionError, Threat
from benchbench.evaluation import evaluate_regression
from benchbench.registry import load_registry

COLUMNS = ("train_mse", "test_mse", "adv_test_mse", "test_lipschitz", "gap", "adv_gap")

# Table 1 of the arXiv version.
SMALL = {
    "natural": (0.0059, 0.0192, 0.1926, 1.2872, 0.0133, 0.0326),
    "at": (0.0064, 0.3360, 0.3720, 0.5396, 0.3296, 0.3653),
    "trades-1": (0.0060, 0.1571, 0.1679, 0.5148, 0.1511, 0.1569),
    "trades-3": (0.0060, 0.0786, 0.0968, 0.4193, 0.0725, 0.0892),
    "trades-6": (0.0061, 0.0554, 0.0748, 0.3870, 0.0493, 0.0680),
}
# Its Table 8. Gaps are left out: there they were printed as train - test.
LARGE = {
    "natural": (0.010, 0.010, 0.027, 0.341),
    "llr-released": (0.010, 0.010, 0.015, 0.272),
    "at": (0.010, 0.010, 0.014, 0.251),
    "trades-1": (0.010, 0.010, 0.015, 0.277),
    "trades-3": (0.010, 0.010, 0.015, 0.279),
    "trades-6": (0.011, 0.011, 0.016, 0.284),
}


REGISTRY = load_registry()
THREAT = Threat(epsilon=1 / 3, lower=float("-inf"), upper=float("inf"))
OPTIONS = {"gr": {"beta": 1e-4}, "llr": {"lam": 0.01, "mu": 0.0}}


def measured(n_train: int, method: str) -> dict[str, float]:
    """What the protocol measures of a method, for instance ``rst-2`` or ``gr-released``, by column."""
    name, _, setting = method.partition("-")
    option = {"rst": "lam", "trades": "beta"}.get(name, "variant")
    options = OPTIONS.get(name, {}) | ({option: setting if option == "variant" else float(setting)} if setting else {})
    splits = load(n_train, 10_000 if n_train == 40 else 15_000)
    defense = REGISTRY.make("defense", REGISTRY.resolve("defense", name, options))
    metrics = {
        metric: REGISTRY.make("metric", REGISTRY.resolve("metric", metric))
        for metric in ("squared-error", "target-lipschitz")
    }
    outcome = evaluate_regression(
        defense.fit_regression(CubicSpline(), splits.train, threat=THREAT),
        train=splits.train,
        test=splits.test,
        threat=THREAT,
        attack=REGISTRY.make("attack", REGISTRY.resolve("attack", "exact")),
        attack_name="exact",
        metrics=metrics,
    )
    return dict(outcome.values)


def load(n_train: int, n_test: int = 50) -> DatasetSplits:
    return Staircase(n_train=n_train, n_test=n_test).load(DataSource(root=Path(), cache=Path()))


def as_double(positions: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(positions)[:, None]


@pytest.mark.parametrize("method", SMALL)
def test_forty_examples_give_table_1_to_four_decimals(method: str) -> None:
    found = measured(40, method)
    assert tuple(round(found[column], 4) for column in COLUMNS) == SMALL[method]


@pytest.mark.parametrize(
    ("method", "expected"),
    [("rst-0.5", (0.2469, 0.2669, 0.5104)), ("rst-1", (0.1954, 0.2057, 0.4633)), ("rst-2", (0.1463, 0.1525, 0.4303))],
)
def test_forty_examples_give_the_protocols_rst(method: str, expected: tuple[float, ...]) -> None:
    found = measured(40, method)
    # The protocol's 0.1463 is 0.146332, where Clarabel stalls 3e-8 above the least objective; that has 0.146355.
    assert (found["test_mse"], found["adv_test_mse"], found["test_lipschitz"]) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize("method", LARGE)
def test_thirty_thousand_examples_give_table_8_to_three_decimals(method: str) -> None:
    found = measured(30_000, method)
    assert tuple(round(found[column], 3) for column in COLUMNS[:4]) == LARGE[method]


@pytest.mark.slow
@pytest.mark.exhaustive  # takes two minutes
def test_llr_of_the_equation_is_solved_for_thirty_thousand_examples() -> None:
    found = measured(30_000, "llr")
    assert round(found["test_mse"], 3) == 0.010


@pytest.mark.parametrize("method", ["rst-0.5", "rst-1", "rst-2"][:: 1 if EXHAUSTIVE else 3])
def test_thirty_thousand_examples_give_the_protocols_rst(method: str) -> None:
    found = measured(30_000, method)
    assert round(found["adv_test_mse"], 3) == 0.014
    assert round(found["test_lipschitz"], 3) == 0.251


@pytest.mark.parametrize("method", ["gr", "gr-released", "llr", "llr-released"])
def test_optimal_gr_and_llr_have_the_published_training_error_but_a_far_smaller_test_error(method: str) -> None:
    found = measured(40, method)
    assert round(found["train_mse"], 4) == 0.0059
    assert found["test_mse"] < 0.07 < 0.2186  # published: GR 0.2186, LLR 0.2235, from searches that stopped early


def test_splits_have_the_contracts_types_and_no_box() -> None:
    splits = load(40)
    assert splits.task == "regression"
    assert splits.classes == ()
    assert splits.train.inputs.shape == (40, 1)
    assert splits.train.labels.shape == (40,)
    assert splits.train.inputs.dtype == splits.train.labels.dtype == torch.float32
    assert (splits.lower, splits.upper) == (-np.inf, np.inf)


def test_same_seed_gives_the_same_data_and_another_seed_does_not() -> None:
    first, again = load(40), load(40)
    other = Staircase(n_train=40, n_test=50, seed=2).load(DataSource(root=Path(), cache=Path()))
    assert torch.equal(first.test.labels, again.test.labels)
    assert not torch.equal(first.train.labels, other.train.labels)


def test_loading_leaves_numpys_global_generator_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    load(40)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[arg-type]


def test_frequencies_follow_the_weights_and_moves_are_a_third() -> None:
    positions = load(30_000).train.inputs[:, 0].double()
    stairs = positions.round()
    moves = (positions - stairs)[positions != stairs]
    assert float((stairs == 9).double().mean()) == pytest.approx(0.01 / 1.05, abs=0.003)
    assert len(moves) / 30_000 == pytest.approx(0.005, abs=0.002)
    assert moves.abs().sub(1 / 3).abs().max() < 1e-6


@pytest.mark.parametrize("options", [{"n_train": 0}, {"n_test": 0}, {"seed": -1}, {"seed": 2**32}])
def test_sizes_and_seeds_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        Staircase(**options)


def test_ten_stairs_have_thirty_four_features() -> None:
    assert CubicSpline().theta.shape == (34,)


def test_features_and_slopes_equal_scipys() -> None:
    model = CubicSpline()
    positions = np.linspace(-0.66, 10.3, 203)
    knots = model.knots.numpy()
    expected = BSpline.design_matrix(positions, knots, 3).toarray()
    slopes = BSpline(knots, np.eye(34), 3).derivative()(positions)
    np.testing.assert_allclose(model.features(as_double(positions)).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(model.slopes(as_double(positions)).numpy(), slopes, atol=1e-11)


def test_slopes_are_the_derivative_of_the_prediction() -> None:
    model = CubicSpline()
    with torch.no_grad():
        model.theta.copy_(torch.randn(34, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    positions = torch.linspace(0.05, 8.9, 20, dtype=torch.float64)[:, None].requires_grad_()
    (gradient,) = torch.autograd.grad(model(positions).sum(), positions)
    torch.testing.assert_close(gradient[:, 0], model.slopes(positions) @ model.theta)


def test_penalty_is_zero_on_lines_alone() -> None:
    penalty = CubicSpline().penalty().numpy()
    line = 2.0 + 3.0 * np.arange(34)
    values = np.linalg.eigvalsh(penalty)
    assert line @ penalty @ line == pytest.approx(0.0, abs=1e-9)
    assert values[1] == pytest.approx(0.0, abs=1e-12)
    assert values[2] > 1e-5


@pytest.mark.parametrize(("input_shape", "classes"), [((1, 28, 28), 0), ((2,), 0), ((1,), 10)])
def test_spline_refuses_other_tasks(input_shape: tuple[int, ...], classes: int) -> None:
    with pytest.raises(OptionError, match="cubic-spline"):
        make_cubic_spline(input_shape=input_shape, classes=classes)
