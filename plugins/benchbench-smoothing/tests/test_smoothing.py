"""The conformance kit, the paper's formulas, and a linear model of known smoothed radius."""

from __future__ import annotations

import math
import statistics
import tomllib

import pytest
import torch
from benchbench_smoothing import benchbench_defenses, benchbench_metrics, benchbench_suites, suite_path
from benchbench_smoothing.certification import ABSTAIN, CertifiedL2, column_name, lower_confidence_bound
from benchbench_smoothing.training import GaussianNoise
from scipy.stats import binomtest

from benchbench.contract import KeyedGenerator, OptionError
from benchbench.testing import LinearToy, ToyEvidence, check_defense, check_metric

NORMAL = statistics.NormalDist()


def test_training_keeps_the_contract() -> None:
    check_defense(GaussianNoise(), accuracy=0.95, uses_threat=False)


def test_metric_keeps_the_contract() -> None:
    check_metric(CertifiedL2(n0=10, n=40), norms=("linf", "l2", "l1"))


@pytest.mark.parametrize(
    ("k", "n", "alpha"), [(1, 10, 0.05), (7, 10, 0.05), (99, 100, 0.001), (100, 100, 0.001), (0, 5, 0.1)]
)
def test_bound_is_clopper_and_pearsons(k: int, n: int, alpha: float) -> None:
    (bound,) = lower_confidence_bound(torch.tensor([k]), n, alpha).tolist()
    if k == 0:
        assert bound == 0.0
        return
    tail = math.fsum(math.comb(n, i) * bound**i * (1.0 - bound) ** (n - i) for i in range(k, n + 1))
    assert tail == pytest.approx(alpha, rel=1e-9)  # P(at least k successes) at the bound


@pytest.mark.parametrize("trials", [1, 10, 100, 1000, 100_000])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_bound_is_scipys_exact_interval(trials: int, alpha: float) -> None:
    successes = sorted({0, 1, trials // 2, trials - trials // 10, trials - 1, trials})
    bounds = lower_confidence_bound(torch.tensor(successes), trials, alpha)
    exact = [
        binomtest(k, trials, alternative="greater").proportion_ci(1.0 - alpha, method="exact").low for k in successes
    ]
    assert bounds.tolist() == pytest.approx(exact, rel=1e-9, abs=1e-11)  # SciPy's root is found to 2e-12


def linear_problem(distances: list[float]) -> tuple[LinearToy, torch.Tensor]:
    """A linear model, and images at given L2 distances from its boundary on the side of class 0."""
    direction = torch.tensor([3.0, -4.0, 12.0, 0.0]) / 13.0
    model = LinearToy(torch.stack([direction, -direction])).eval()
    return model, torch.tensor(distances)[:, None] * direction


def test_radius_of_a_linear_model_approaches_its_exact_distance() -> None:
    distances = [0.05, 0.1, 0.25, 0.4]
    model, images = linear_problem(distances)
    certificate = CertifiedL2(n0=300, n=20_000).certify(model, images, KeyedGenerator(0, torch.arange(4)))
    assert certificate.prediction.tolist() == [0, 0, 0, 0]
    for radius, exact in zip(certificate.radius.tolist(), distances):
        assert (
            exact - 0.03 < radius <= exact
        )  # smoothing a halfspace changes nothing: g = f, and its radius is the distance


def test_certificate_exceeds_the_exact_distance_as_rarely_as_alpha_says() -> None:
    model, images = linear_problem([0.2] * 4000)
    certificate = CertifiedL2(n0=10, n=100, alpha=0.05).certify(model, images, KeyedGenerator(1, torch.arange(4000)))
    too_large = int((certificate.radius > 0.2).sum())
    assert 0 < too_large <= 4000 * 0.05 + 3 * math.sqrt(4000 * 0.05 * 0.95)


def test_radius_is_the_papers_formula_and_has_its_largest_value() -> None:
    model, images = linear_problem([5.0])
    certificate = CertifiedL2(sigma=0.5, n=300, alpha=0.01).certify(model, images, KeyedGenerator(0, torch.tensor([0])))
    assert certificate.radius.item() == pytest.approx(0.5 * NORMAL.inv_cdf(0.01 ** (1 / 300)))


def test_image_on_the_boundary_is_abstained_from() -> None:
    model, images = linear_problem([0.0])
    certificate = CertifiedL2().certify(model, images, KeyedGenerator(0, torch.tensor([7])))
    assert (certificate.prediction.item(), certificate.radius.item()) == (ABSTAIN, 0.0)


def biased_problem(distances: list[float]) -> tuple[LinearToy, torch.Tensor, torch.Tensor]:
    """sign(w.x + b) as two logits, ||w|| = 5, b = 2; images at signed distances; their labels."""
    normal, bias = torch.tensor([3.0, -4.0]), 2.0
    model = LinearToy(torch.stack([-normal, normal]) / 2.0, torch.tensor([-bias, bias]) / 2.0).eval()
    signed = torch.tensor(distances)
    images = (signed[:, None] - bias / 5.0) * normal / 5.0
    return model, images, (signed > 0.0).long()


@pytest.mark.parametrize("sigma", [0.25, 1.0])
def test_linear_model_is_right_under_noise_as_often_as_phi_says(sigma: float) -> None:
    distances, copies = [-0.5, -0.2, 0.1, 0.3], 5000
    model, images, labels = biased_problem(distances)
    counts = CertifiedL2(sigma=sigma)._counts(model, images, KeyedGenerator(3, torch.arange(4)), copies)
    for right, distance in zip(counts.gather(1, labels[:, None])[:, 0].tolist(), distances):
        expected = NORMAL.cdf(abs(distance) / sigma)
        assert abs(right / copies - expected) < 4.0 * math.sqrt(expected * (1.0 - expected) / copies)


def test_radius_beside_a_biased_boundary_grows_to_the_distance_with_the_copies() -> None:
    distances = torch.tensor([-0.3, -0.15, 0.15, 0.3])
    model, images, labels = biased_problem(distances.tolist())
    gaps = []
    for copies in (100, 1000, 10_000):
        certificate = CertifiedL2(n=copies).certify(model, images, KeyedGenerator(0, torch.arange(4)))
        assert torch.equal(certificate.prediction, labels)
        assert bool((certificate.radius <= model.distance(images, labels, "l2")).all())
        gaps.append(float((distances.abs() - certificate.radius).max()))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.03


def test_boundary_is_certified_as_rarely_as_alpha_says() -> None:
    images_there, alpha = 4000, 0.05
    model, images, _ = biased_problem([0.0] * images_there)
    certificate = CertifiedL2(n0=10, n=100, alpha=alpha).certify(
        model, images, KeyedGenerator(2, torch.arange(images_there))
    )
    certified = int((certificate.prediction != ABSTAIN).sum())
    assert 0 < certified <= images_there * alpha + 3.0 * math.sqrt(images_there * alpha * (1.0 - alpha))


def test_class_is_chosen_and_bounded_on_different_noise() -> None:
    model, images = linear_problem([0.01] * 400)
    certificate = CertifiedL2(n0=1, n=1, alpha=0.6).certify(model, images, KeyedGenerator(0, torch.arange(400)))
    agreed = float(
        (certificate.prediction != ABSTAIN).double().mean()
    )  # 0.6 > 1/2 is bound by one success in one trial
    assert 0.4 < agreed < 0.62  # one noise for both would agree always


def test_certificate_does_not_depend_on_the_batch() -> None:
    model, images = linear_problem([0.05, 0.1, 0.2, 0.3])
    generator = KeyedGenerator(0, torch.arange(4))
    together = CertifiedL2().certify(model, images, generator)
    alone = CertifiedL2().certify(model, images[2:3], generator.take(torch.tensor([2])))
    assert torch.equal(alone.radius, together.radius[2:3])


def test_accuracies_count_correct_examples_with_enough_radius() -> None:
    metric = CertifiedL2(n=500, radii=(0.05, 0.1, 4.0))
    measured = metric.measure(ToyEvidence())
    radius = torch.as_tensor(measured.per_example["certified_radius_l2"])
    prediction = torch.as_tensor(measured.per_example["certified_prediction"])
    correct = prediction == ToyEvidence().examples("test").labels
    assert measured.values["smoothed_test_accuracy"] == pytest.approx(float(correct.double().mean()))
    assert measured.values["abstention_test_rate"] == pytest.approx(float((prediction == ABSTAIN).double().mean()))
    for at in metric.radii:
        expected = float((correct & (radius >= at)).double().mean())
        assert measured.values[column_name(at)] == pytest.approx(expected)
    assert measured.values[column_name(4.0)] == 0.0


def test_radii_name_their_columns() -> None:
    names = [column_name(radius) for radius in (1.0, 0.25, 12.5, 1e-3)]
    assert [name.removeprefix("certified_test_accuracy_l2_") for name in names] == ["1", "0_25", "12_5", "0_001"]


@pytest.mark.parametrize(
    "options",
    [{"sigma": 0.0}, {"n0": 0}, {"n": 0}, {"alpha": 0.0}, {"alpha": 1.0}, {"radii": (0.0,)}, {"radii": (1.0, 1.0)}],
)
def test_option_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be"):
        CertifiedL2(**options)  # type: ignore[arg-type]


def test_negative_noise_is_refused() -> None:
    with pytest.raises(OptionError, match="sigma must be at least 0"):
        GaussianNoise(sigma=-0.1)


def test_offers_name_their_components() -> None:
    assert [offer.name for offer in benchbench_defenses()] == ["gaussian-noise"]
    assert [offer.name for offer in benchbench_metrics()] == ["certified-l2"]
    assert [offer.name for offer in benchbench_suites()] == ["smoothing-digits"]
    assert tomllib.loads(suite_path().read_text(encoding="utf-8"))["name"] == "smoothing-digits"
