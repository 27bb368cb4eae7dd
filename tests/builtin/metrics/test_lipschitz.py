"""Local Lipschitzness against exact constants of linear models, by both variants; its work, and its rounded search."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.architectures.cnn import make_cnn1
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.datasets.digits import Digits
from benchbench.builtin.defenses.natural import Natural
from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import DatasetSplits, DataSource, Examples, KeyedGenerator, OptionError, Threat, derive_seed
from benchbench.contract.recipe import Recipe
from benchbench.evaluation import Outcome, evaluate
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.memory import Memory
from benchbench.evaluation.subject import Trial, borrowed, place
from benchbench.evaluation.supervision import counting
from benchbench.events import ignore
from benchbench.kernels.arithmetic import Precision, precision_of_searches
from benchbench.testing.metrics import check_metric
from benchbench.testing.toys import LinearToy, smooth_toy
from benchbench.training import TrainingJob, train


@dataclass
class Around:
    """Evidence about some test images."""

    model: nn.Module
    threat: Threat
    images: Tensor

    def examples(self, split: str) -> Examples:
        return Examples(inputs=self.images, labels=torch.zeros(len(self.images), dtype=torch.int64))

    def correct(self, split: str) -> Tensor:
        raise NotImplementedError

    robust = correct

    def batches(self, split: str, purpose: str) -> Iterator[tuple[Tensor, Tensor, KeyedGenerator]]:
        rows = torch.arange(len(self.images))
        yield self.images, self.examples(split).labels, KeyedGenerator(derive_seed(purpose), rows)


def estimate(model: nn.Module, images: Tensor, threat: Threat, metric: LocalLipschitzness) -> tuple[Tensor, Tensor]:
    model.requires_grad_(False)
    columns = metric.measure(Around(model.eval(), threat, images)).per_example
    name = "lipschitz" if metric.variant == "equation" else "lipschitz_released"
    return torch.as_tensor(columns[name]), torch.as_tensor(columns[f"{name}_best"])


def constant_inside(weight: Tensor, image: Tensor, threat: Threat) -> float:
    """max ||W (x - x')||_1 / ||x - x'||_inf over ball and box: a convex function of x', so at a vertex for each radius."""
    best = 0.0
    for radius in torch.linspace(0.02, 1.0, 50) * threat.epsilon:
        low = (image - radius).clamp(min=threat.lower) - image
        high = (image + radius).clamp(max=threat.upper) - image
        for choice in itertools.product((False, True), repeat=len(image)):
            vertex = torch.where(torch.tensor(choice), high, low)
            if float(vertex.abs().max()) > 0:
                best = max(best, float((weight @ vertex).abs().sum() / vertex.abs().max()))
    return best


def test_the_metric_keeps_its_contract() -> None:
    check_metric(LocalLipschitzness(), fills=("test_lipschitz", "test_lipschitz_best"))


def test_the_released_variant_keeps_it_up_to_the_rounding_that_it_descends_to() -> None:
    check_metric(LocalLipschitzness(variant="released"), rounding=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_never_exceeds_the_exact_constant_in_ball_and_box(seed: int) -> None:
    draws = KeyedGenerator(seed, torch.arange(6))
    images = draws.uniform(4).clamp(0.05, 0.95)  # some balls are cut by the box
    weight = KeyedGenerator(seed + 50, torch.arange(3)).normal(4)
    threat = Threat(epsilon=0.2)
    last, best = estimate(LinearToy(weight), images, threat, LocalLipschitzness())
    for row, image in enumerate(images):
        exact = constant_inside(weight, image, threat)
        assert float(last[row]) <= float(best[row]) <= exact * (1 + 1e-4)


def test_the_estimate_never_exceeds_the_constant_of_a_ten_class_model() -> None:
    model = LinearToy(KeyedGenerator(8, torch.arange(10)).normal(64))
    images = KeyedGenerator(9, torch.arange(16)).uniform(64, low=0.2, high=0.8)
    _, best = estimate(model, images, Threat(epsilon=0.1), LocalLipschitzness())
    assert float(best.max()) <= model.lipschitz_constant() * (1 + 1e-4)


def test_the_estimate_comes_within_one_percent_of_a_linear_model_with_one_maximum() -> None:
    direction = KeyedGenerator(8, torch.arange(1)).normal(784)
    model = LinearToy(torch.cat([direction, -direction]))
    images = KeyedGenerator(9, torch.arange(16)).uniform(784, low=0.2, high=0.8)
    last, best = estimate(model, images, Threat(epsilon=0.1), LocalLipschitzness())
    exact = model.lipschitz_constant()
    assert float(best.max()) <= exact * (1 + 1e-4)
    assert float(last.min()) >= 0.99 * exact


def test_columns_average_the_ratios() -> None:
    images = KeyedGenerator(9, torch.arange(5)).uniform(1, 4, 4)
    evidence = Around(smooth_toy((1, 4, 4), 3).eval().requires_grad_(False), Threat(epsilon=0.1), images)
    measured = LocalLipschitzness().measure(evidence)
    assert measured.values["test_lipschitz"] == float(torch.as_tensor(measured.per_example["lipschitz"]).mean())
    assert measured.values["test_lipschitz_best"] >= measured.values["test_lipschitz"]


def test_the_two_variants_have_columns_of_their_own_so_that_neither_passes_for_the_other() -> None:
    images = KeyedGenerator(9, torch.arange(5)).uniform(1, 4, 4)
    evidence = Around(smooth_toy((1, 4, 4), 3).eval().requires_grad_(False), Threat(epsilon=0.1), images)
    equation, released = (LocalLipschitzness(variant=v).measure(evidence) for v in ("equation", "released"))
    assert equation.values.keys() == {"test_lipschitz", "test_lipschitz_best"}
    assert released.values.keys() == {"test_lipschitz_released", "test_lipschitz_released_best"}
    assert not equation.per_example.keys() & released.per_example.keys()


def test_the_released_variant_descends() -> None:
    model = smooth_toy((1, 6, 6), 5)
    images = KeyedGenerator(9, torch.arange(20)).uniform(1, 6, 6)
    threat = Threat(epsilon=0.1)
    one, _ = estimate(model, images, threat, LocalLipschitzness(variant="released", steps=1))
    ten, start = estimate(model, images, threat, LocalLipschitzness(variant="released", steps=10))
    ascended, _ = estimate(model, images, threat, LocalLipschitzness())
    assert float(ten.mean()) < float(one.mean())
    assert float(ten.mean()) < 0.5 * float(start.mean())  # its best is near where it began
    assert float(ascended.mean()) > 2 * float(ten.mean())


def test_the_released_variant_explores_the_same_radius_whatever_epsilon_is() -> None:
    model = smooth_toy((1, 6, 6), 5)
    images = KeyedGenerator(9, torch.arange(4)).uniform(1, 6, 6)
    small, _ = estimate(model, images, Threat(epsilon=0.1), LocalLipschitzness(variant="released"))
    large, _ = estimate(model, images, Threat(epsilon=0.9), LocalLipschitzness(variant="released"))
    assert torch.equal(small, large)


def test_a_ball_of_radius_zero_has_ratio_zero() -> None:
    images = KeyedGenerator(9, torch.arange(4)).uniform(1, 6, 6)
    last, best = estimate(smooth_toy((1, 6, 6), 5), images, Threat(epsilon=0.0), LocalLipschitzness())
    assert torch.equal(last, torch.zeros(4, dtype=torch.float64))
    assert torch.equal(best, last)


def test_bad_options_are_refused() -> None:
    with pytest.raises(OptionError, match="steps must be at least 1"):
        LocalLipschitzness(steps=0)
    with pytest.raises(OptionError, match="'equation' or 'released'"):
        LocalLipschitzness(variant="ascent")  # type: ignore[arg-type]


class Listening(nn.Module):
    """A model that notes in which format it answered, and keeps what it was asked without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = smooth_toy((1, 6, 6), 5)
        self.formats: set[tuple[torch.dtype, bool]] = set()
        self.judged: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        self.formats.add((logits.dtype, logits.requires_grad))
        if not logits.requires_grad:
            self.judged.append(images.clone())
        return logits


def test_a_search_in_bf16_reports_float32s_ratios_at_its_candidates() -> None:
    model, threat = Listening(), Threat(epsilon=0.1)
    with precision_of_searches("bf16"):
        last, best = estimate(
            model, KeyedGenerator(9, torch.arange(50)).uniform(1, 6, 6), threat, LocalLipschitzness(steps=30)
        )
    assert model.formats == {(torch.bfloat16, True), (torch.float32, False)}  # the search, the judgement
    images, strongest, final = model.judged
    ratios = []
    for candidates in (strongest, final):
        change = (model(images) - model(candidates)).abs().sum(dim=1)
        ratios.append((change / (images - candidates).flatten(1).abs().amax(dim=1)).double())
    torch.testing.assert_close(last, ratios[1])
    torch.testing.assert_close(best, torch.maximum(*ratios))
    assert not torch.equal(strongest, final)


def test_the_released_variant_searches_in_float32_whatever_was_asked_for() -> None:
    images, metric = KeyedGenerator(9, torch.arange(20)).uniform(1, 6, 6), LocalLipschitzness(variant="released")
    expected = estimate(smooth_toy((1, 6, 6), 5), images, Threat(epsilon=0.1), metric)
    with precision_of_searches("bf16"):
        found = estimate(smooth_toy((1, 6, 6), 5), images, Threat(epsilon=0.1), metric)
    assert torch.equal(torch.stack(found), torch.stack(expected))


def test_lipschitzness_takes_two_passes_besides_its_steps() -> None:
    images, steps = 5, 20
    linear = nn.Linear(16, 10)
    linear.weight.data = KeyedGenerator(0, torch.arange(10)).normal(16)
    linear.bias.data = torch.tensor([100.0, *[0.0] * 9])  # nothing fools it
    model = nn.Sequential(nn.Flatten(), linear).eval()
    examples = Examples(inputs=torch.rand(images, 1, 4, 4), labels=torch.zeros(images, dtype=torch.int64))
    split = place("test", examples, torch.arange(images), torch.device("cpu"))
    with borrowed(model), counting(model) as count:
        trial = Trial(
            model=model,
            splits={"test": split},
            classes=10,
            threat=Threat(epsilon=0.01),
            attack=Pgd(),
            attack_name="pgd",
            seed=0,
            batch_size=64,
            listener=ignore,
        )
        LocalLipschitzness(steps=steps).measure(ModelEvidence(trial, Memory(None)))
    assert (count.forward, count.gradient) == ((steps + 2) * images, steps * images)


THREAT = Threat(epsilon=0.1)
IMAGES = 64


@pytest.fixture
def digits() -> DatasetSplits:
    return Digits().load(DataSource(root=Path(), cache=Path()))


@pytest.fixture
def trained(digits: DatasetSplits) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make_cnn1(input_shape=(1, 16, 16), classes=10)
    job = TrainingJob(
        model=model,
        defense=Natural(),
        examples=Examples(inputs=digits.train.inputs[::2], labels=digits.train.labels[::2]),
        rows=torch.arange((len(digits.train) + 1) // 2),
        threat=THREAT,
        recipe=Recipe(optimizer="adam", learning_rate=1e-3, batch_size=64, epochs=3),
        seed=0,
        device=torch.device("cpu"),
    )
    return train(job).model


def measured(model: nn.Module, digits: DatasetSplits, precision: Precision) -> Outcome:
    few = Examples(inputs=digits.test.inputs[:IMAGES], labels=digits.test.labels[:IMAGES])
    rows = torch.arange(IMAGES)
    return evaluate(
        model,
        train=few,
        test=few,
        train_rows=rows,
        test_rows=rows,
        classes=10,
        threat=THREAT,
        attack=Pgd(steps=1),
        attack_name="pgd",
        metrics={"lipschitz": LocalLipschitzness()},
        seed=0,
        device=torch.device("cpu"),
        precision=precision,
    )


@pytest.mark.exhaustive
def test_a_search_in_bf16_estimates_within_one_percent_of_float32s(trained: nn.Module, digits: DatasetSplits) -> None:
    plain, fast = (measured(trained, digits, p).values for p in ("float32", "bf16"))  # type: ignore[arg-type]
    assert plain["test_lipschitz"] > 20  # a trained network's
    assert plain != fast  # the search was another one
    for column in ("test_lipschitz", "test_lipschitz_best"):
        assert fast[column] == pytest.approx(plain[column], rel=0.01)
