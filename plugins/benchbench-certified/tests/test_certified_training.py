"""The conformance kit, bounds by hand and by samples, and the schedules."""

from __future__ import annotations

import math
import tomllib

import pytest
import torch
from benchbench_certified import benchbench_architectures, benchbench_defenses, benchbench_suites, suite_path
from benchbench_certified.lipschitz import make_lipschitz_mlp
from benchbench_certified.steps import Interval, Step
from benchbench_certified.strided import make_strided_cnn
from benchbench_certified.tracing import Tracer, least_margins
from benchbench_certified.training import CrownIntervalTraining, IntervalTraining, Ramp
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import KeyedGenerator, NoBoundError, OptionError, PacedDefense, Progress, Threat
from benchbench.testing import check_architecture, check_defense

BOTH = [IntervalTraining, CrownIntervalTraining]
END = Progress(epoch=9, step=9, epochs=10, steps=10)


class Mixed(nn.Module):
    """A network with a layer of each kind: pooling, normalisation, a residual sum, constants."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.rand(2, 1, 1))
        self.first = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.act = nn.LeakyReLU(0.1)
        self.second = nn.Conv2d(3, 3, 3, padding=2, dilation=2, groups=3)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.weight = nn.Parameter(torch.randn(4, 48) / 6)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.softplus(self.pool((images - self.mean) / 0.25))  # linear bounds stop here
        hidden = self.act(self.norm(self.first(hidden)))
        hidden = torch.relu(hidden + 0.5 * self.second(hidden) - 0.1)
        return F.linear(hidden.view(images.size(0), -1), self.weight)


def mixed() -> nn.Module:
    model = Mixed()
    model.norm.running_mean.uniform_()
    model.norm.running_var.uniform_(0.5, 1.5)
    nn.init.uniform_(model.norm.weight, -1.0, 1.0)
    return model


NETWORKS = {
    "lipschitz": lambda: make_lipschitz_mlp(input_shape=(2, 4, 4), classes=4, hidden=(8,), scale=3.0),
    "mixed": mixed,
    "strided": lambda: make_strided_cnn(input_shape=(2, 4, 4), classes=4, channels=(3, 4), hidden=8),
    "mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(32, 8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 4), nn.Identity()
    ),
}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]().double().eval()


def traced(model: nn.Module, images: Tensor, epsilon: float) -> list[Step]:
    return Tracer().bound(model, Interval(lower=images - epsilon, upper=images + epsilon))


@pytest.mark.parametrize("method", BOTH)
def test_method_keeps_the_contract_and_trains_robustly(method: type[IntervalTraining]) -> None:
    assert isinstance(method(), PacedDefense)
    check_defense(method(), accuracy=0.95, robust_accuracy=0.9)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("epsilon", [0.0, 0.02, 0.3])
def test_no_sample_is_below_a_bound_or_outside_an_interval(name: str, epsilon: float) -> None:
    model, draws = network(name), torch.Generator().manual_seed(1)
    images = torch.rand(3, 2, 4, 4, dtype=torch.float64, generator=draws)
    labels = torch.tensor([0, 3, 1])
    steps = traced(model, images, epsilon)
    signs = torch.rand(2000, 1, 2, 4, 4, dtype=torch.float64, generator=draws) * 2 - 1
    signs[::2] = signs[::2].sign()
    with torch.no_grad():
        logits = model((images + epsilon * signs).flatten(0, 1)).view(2000, 3, 4)
    margins = logits.gather(2, labels.expand(2000, 3)[..., None]) - logits
    last = steps[-1].interval
    plain = last.lower.gather(1, labels[:, None]) - last.upper  # not elided; the label's own margin is no bound
    plain = plain.scatter(1, labels[:, None], -math.inf)
    bounds = [plain, *(least_margins(steps, labels, through_all=one) for one in (False, True))]
    for bound in bounds:
        assert (margins >= bound - 1e-9).all()
    assert (logits >= last.lower - 1e-9).all()
    assert (logits <= last.upper + 1e-9).all()
    assert (bounds[1] >= bounds[0] - 1e-9).all()  # eliding the last layer is never worse
    if epsilon == 0.0:
        torch.testing.assert_close(bounds[2], margins[0])
    elif epsilon == 0.02 and name != "lipschitz":
        assert bounds[2].sum() > bounds[1].sum()  # the linear bound is tighter where few signs are open


def test_bounds_of_one_hidden_layer_are_the_papers_by_hand() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    image, epsilon = torch.rand(1, 1, 2, 2, dtype=torch.float64), 0.3
    first, last = model[1], model[3]
    centre = first.weight @ image.flatten() + first.bias
    reach = epsilon * first.weight.abs().sum(dim=1)
    lower, upper = centre - reach, centre + reach
    steps, label = traced(model, image, epsilon), torch.tensor([1])
    by_intervals, by_lines = (
        least_margins(steps, label, through_all=False)[0],
        least_margins(steps, label, through_all=True)[0],
    )
    assert ((lower < 0) & (upper > 0)).any()
    for other in range(3):
        row, shift = last.weight[1] - last.weight[other], last.bias[1] - last.bias[other]
        least = sum(min(row[k] * lower[k].relu(), row[k] * upper[k].relu()) for k in range(5)) + shift
        torch.testing.assert_close(by_intervals[other], least)
        coefficients, constant = torch.zeros(4, dtype=torch.float64), shift
        for k in range(5):
            if lower[k] >= 0:
                slope, offset = 1.0, 0.0
            elif upper[k] <= 0:
                slope, offset = 0.0, 0.0
            elif row[k] >= 0:
                slope, offset = float(upper[k] > -lower[k]), 0.0
            else:
                slope = upper[k] / (upper[k] - lower[k])
                offset = -slope * lower[k]
            coefficients = coefficients + row[k] * slope * first.weight[k]
            constant = constant + row[k] * (slope * first.bias[k] + offset)
        expected = coefficients @ image.flatten() - epsilon * coefficients.abs().sum() + constant
        torch.testing.assert_close(by_lines[other], expected)


@pytest.mark.parametrize("method", BOTH)
def test_linear_model_gets_its_exact_worst_margin(method: type[IntervalTraining]) -> None:
    torch.manual_seed(0)
    model, labels = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.tensor([0, 1, 2])
    images = torch.full((3, 1, 4, 4), 0.5)
    generator = KeyedGenerator(0, torch.arange(3))
    found = method(kappa_end=0.0).loss(model, images, labels, threat=Threat(epsilon=0.1), generator=generator).loss
    weight = model[1].weight.detach()
    logits = model(images).detach()
    length = (weight[labels][:, None] - weight[None]).abs().sum(dim=2)
    expected = F.cross_entropy(logits + 0.1 * length, labels, reduction="sum")
    torch.testing.assert_close(found.detach(), expected)


@pytest.mark.parametrize("corner", [0.0, 1.0])
def test_ball_is_cut_by_the_box(corner: float) -> None:
    model, labels, generator = network("strided").float(), torch.tensor([0]), KeyedGenerator(0, torch.arange(1))
    image = torch.full((1, 2, 4, 4), corner)
    cut = IntervalTraining(kappa_end=0.0).loss(model, image, labels, threat=Threat(epsilon=0.2), generator=generator)
    box = Interval(lower=(image - 0.2).relu(), upper=(image + 0.2).clamp(max=1.0))
    expected = F.cross_entropy(-least_margins(Tracer().bound(model, box), labels, through_all=False), labels)
    torch.testing.assert_close(cut.loss, expected)


def test_schedules_grow_linearly_over_the_steps() -> None:
    ramp = Ramp(warm_up=0.2, length=0.4)
    at = [ramp.at(Progress(epoch=step // 10, step=step % 10, epochs=10, steps=10)) for step in (0, 19, 20, 30, 60, 99)]
    assert at == pytest.approx([0.0, 0.0, 0.0, 0.25, 1.0, 1.0])
    assert Ramp(warm_up=0.2, length=0.0).at(Progress(epoch=2, step=0, epochs=10, steps=10)) == 1.0


@pytest.mark.parametrize("done", [0.0, 0.5, 1.0])
def test_loss_mixes_clean_interval_and_linear_parts_as_the_schedules_say(done: float) -> None:
    model, labels = network("mlp").float(), torch.tensor([0, 1, 2])
    images, generator = torch.full((3, 2, 4, 4), 0.5), KeyedGenerator(0, torch.arange(3))
    method = CrownIntervalTraining(kappa_start=0.9, kappa_end=0.3, beta_start=0.8, beta_end=0.2, warm_up=0.0, ramp=1.0)
    method.at_step(END)
    method.at_step(Progress(epoch=int(done * 10), step=0, epochs=10, steps=10))
    kappa, beta = 0.9 - 0.6 * done, 0.8 - 0.6 * done
    steps = traced(model, images, 0.1 * done)
    margins = (1 - beta) * least_margins(steps, labels, through_all=False) + beta * least_margins(
        steps, labels, through_all=True
    )
    clean = F.cross_entropy(model(images), labels, reduction="sum")
    expected = kappa * clean + (1 - kappa) * F.cross_entropy(-margins, labels, reduction="sum")
    found = method.loss(model, images, labels, threat=Threat(epsilon=0.1), generator=generator)
    torch.testing.assert_close(found.loss, expected)
    assert found.logits is not None


def test_epsilon_ratio_enlarges_the_ball_of_training() -> None:
    model, labels = network("mlp").float(), torch.tensor([0])
    image, generator = torch.full((1, 2, 4, 4), 0.5), KeyedGenerator(0, torch.arange(1))
    losses = [
        float(
            IntervalTraining(epsilon_ratio=ratio)
            .loss(model, image, labels, threat=Threat(epsilon=e), generator=generator)
            .loss.detach()
        )
        for ratio, e in ((2.0, 0.1), (1.0, 0.2), (1.0, 0.1))
    ]
    assert losses[0] == losses[1] > losses[2]


def test_dropout_removes_the_same_units_from_both_ends() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5)).train()
    interval = traced(model, torch.ones(4, 1, 8, 8), 0.25)[-1].interval
    assert {round(float(one), 3) for one in interval.lower.unique()} == {0.0, 1.5}
    torch.testing.assert_close(interval.upper, interval.lower / 0.75 * 1.25)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.GELU(), "GELU at 0"),
        (nn.BatchNorm2d(2), "BatchNorm2d in training mode at 0"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "Conv2d at 0"),
    ],
)
def test_layer_without_rule_is_named(layer: nn.Module, message: str) -> None:
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(32, 2)).train()
    with pytest.raises(NoBoundError, match=message):
        traced(model, torch.rand(3, 2, 4, 4), 0.1)


def test_architecture_keeps_the_contract_and_has_the_papers_size() -> None:
    check_architecture(make_strided_cnn, input_shapes=[(1, 8, 8), (3, 5, 6)])
    model = make_strided_cnn(input_shape=(1, 28, 28), classes=10)
    assert sum(one.numel() for one in model.parameters()) == 272 + 8_224 + 156_900 + 1_010


@pytest.mark.parametrize("options", [{"channels": ()}, {"channels": (0,)}, {"hidden": 0}, {"channels": (1, 1, 1)}])
def test_unfit_network_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="at least"):
        make_strided_cnn(input_shape=(1, 4, 4), classes=2, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"kappa_start": 1.5}, {"kappa_end": -0.1}, {"epsilon_ratio": 0.0}, {"warm_up": 1.0}, {"ramp": 1.0}]
)
@pytest.mark.parametrize("method", BOTH)
def test_option_out_of_range_is_refused(method: type[IntervalTraining], options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be"):
        method(**options)


def test_share_of_linear_bounds_is_a_share() -> None:
    with pytest.raises(OptionError, match=r"beta_end must be in \[0, 1\], got 2"):
        CrownIntervalTraining(beta_end=2.0)


def test_offers_name_their_components() -> None:
    assert [offer.name for offer in benchbench_defenses()] == ["ibp", "crown-ibp", "lipschitz-margin"]
    assert [offer.name for offer in benchbench_architectures()] == ["strided-cnn", "lipschitz-mlp"]
    assert [offer.name for offer in benchbench_suites()] == ["certified-training"]
    assert tomllib.loads(suite_path().read_text(encoding="utf-8"))["name"] == "certified-training"
