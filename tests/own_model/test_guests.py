"""Models as people write them: each is measured as its plain twin is, or refused in one line with a remedy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import benchbench
from benchbench.contract import DataSource, Threat
from benchbench.errors import BenchbenchError, ContractError, UsageError
from benchbench.own_model.guests import Guest, adapt
from benchbench.own_model.report import ModelReport
from benchbench.registry import load_registry

DIGITS = {"name": "digits", "scale": 1}
IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def means(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """The mean image of each class, float32 (10, 64): the nearest one classifies most digits correctly."""
    registry = load_registry()
    digits = registry.make("dataset", registry.resolve("dataset", "digits", {"scale": 1}))
    empty = tmp_path_factory.mktemp("data")
    train = digits.load(DataSource(root=empty, cache=empty)).train
    return torch.stack([(train.inputs[train.labels == c].float() / 255).mean(dim=0).flatten() for c in range(10)])


class Plain(nn.Module):
    """A convolution that passes pixels on, then ten times the negative squared distance to each mean."""

    def __init__(self, means: Tensor) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.linear = nn.Linear(128, 10)
        with torch.no_grad():
            self.convolution.weight.zero_()[:, 0, 1, 1] = 1.0
            self.linear.weight.copy_(torch.cat([10 * means, 10 * means], dim=1))
            self.linear.bias.copy_(-10 * means.square().sum(dim=1))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.linear(self.convolution(images).flatten(1))
        return features


class Viewing(Plain):
    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.linear(self.convolution(images).view(images.size(0), -1))
        return features


class InPlace(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.sub_(0.5).mul_(2.0) / 2 + 0.5)


class InPlaceUnseen(Plain):
    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            doubled = images.mul_(2.0)
        return super().forward(doubled / 2)


class Doubled(Plain):
    def __init__(self, means: Tensor) -> None:
        super().__init__(means)
        self.double()


class Quantised(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward((images > 0.5).float())


class NoGradient(Plain):
    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return super().forward((images > 0.5).float())


class Inference(Plain):
    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        return super().forward((images > 0.5).float())


class ThroughNumpy(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(torch.from_numpy((images.numpy() > 0.5).astype("float32")))


class RootAtZero(Plain):
    """Its gradient is NaN for a black corner, as digits have."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 0.0 * images[:, :, 0, 0].sqrt().sum(dim=1, keepdim=True)


def evaluate(model: Any, **options: Any) -> ModelReport:
    options = {"threat": Threat(epsilon=0.1), "n_test": 24, "attacks": ["pgd-10"], **options}
    return benchbench.evaluate(model, dataset=DIGITS, **options)


def scripted(model: nn.Module) -> nn.Module:
    made: nn.Module = torch.jit.script(model)
    return made


def function(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda images: model.eval()(images)


@pytest.fixture(scope="module")
def plain(means: Tensor) -> ModelReport:
    report = evaluate(Plain(means))
    assert 0.2 < report.worst_case_accuracy < report.test_accuracy - 0.2
    return report


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit")  # of torch.jit itself
@pytest.mark.parametrize(
    "make",
    [
        Viewing,
        InPlace,
        InPlaceUnseen,
        Doubled,
        lambda means: scripted(Plain(means)),
        lambda means: function(Plain(means)),
        lambda means: function(Viewing(means)),
    ],
    ids=["view", "in place", "in place, unseen", "float64", "scripted", "function", "function with view"],
)
@pytest.mark.sampled(2)
def test_verdicts_are_those_of_the_plain_model(
    make: Callable[[Tensor], Any], means: Tensor, plain: ModelReport
) -> None:
    report = evaluate(make(means))
    assert torch.equal(report.prediction, plain.prediction)
    assert torch.equal(report.worst_case, plain.worst_case)
    assert report.attacks["pgd-10"].flags == plain.attacks["pgd-10"].flags


@pytest.mark.parametrize("make", [Quantised, NoGradient, Inference, ThroughNumpy])
def test_model_without_a_gradient_is_attacked_and_flagged(make: Callable[[Tensor], nn.Module], means: Tensor) -> None:
    report = evaluate(make(means))
    assert report.test_accuracy > 0.5
    assert "zero-gradients" in report.attacks["pgd-10"].flags


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_gradients_that_are_no_numbers_are_steps_of_zero_and_flagged(norm: Any, means: Tensor) -> None:
    report = evaluate(RootAtZero(means), threat=Threat(norm=norm, epsilon=0.05))
    assert "zero-gradients" in report.attacks["pgd-10"].flags


@pytest.fixture
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_float64")
def test_default_dtype_of_the_user_changes_nothing(means: Tensor, plain: ModelReport) -> None:
    report = evaluate(Plain(means))
    assert torch.equal(report.worst_case, plain.worst_case)
    assert torch.get_default_dtype() == torch.float64


@pytest.mark.parametrize(
    ("model", "error", "told"),
    [
        (
            lambda images: (images.flatten(1)[:, :10],),
            ContractError,
            r"returned tuple.*\n.*lambda images: model\(images\)\[0\]",
        ),
        (lambda images: {"logits": images}, ContractError, "returned dict"),
        (lambda images: images, ContractError, r"returned \(1, 1, 8, 8\).*expected: logits of shape \(1, 10\)"),
        (
            lambda images: images.flatten(1)[:1, :10],
            ContractError,
            r"returned \(1, 10\) for inputs of shape \(2, 1, 8, 8\)",
        ),
        (lambda images: images.nonsense(), ContractError, r"cannot take float32 inputs of shape \(1, 1, 8, 8\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(63, 10)), ContractError, "shapes cannot be multiplied.*\n.*torch.rand"),
        (nn.Sequential(nn.LazyConv2d(3, 9), nn.Flatten()), ContractError, "cannot take float32 inputs"),
        ("cnn2", UsageError, "the model is a str\n.*function of images"),
        (None, UsageError, "the model is a NoneType"),
    ],
)
def test_what_is_no_classifier_is_told_in_one_line(model: Any, error: type[BenchbenchError], told: str) -> None:
    with pytest.raises(error, match=told) as raised:
        evaluate(model)
    assert "\n" not in raised.value.message
    assert raised.value.hint


def test_model_that_needs_nothing_is_attacked_as_it_is(means: Tensor) -> None:
    model = Plain(means)
    assert adapt(model, IMAGES, classes=10) is model


def test_lazy_layers_get_their_shapes_before_anything_is_probed() -> None:
    model = nn.Sequential(nn.LazyConv2d(2, 3), nn.Flatten(), nn.LazyLinear(10))
    assert adapt(model, IMAGES, classes=10) is model
    assert not any(hook for module in model for hook in module._forward_pre_hooks.values())


def test_probing_changes_neither_images_nor_model_nor_torchs_randomness(means: Tensor) -> None:
    model, images = InPlace(means).train(), IMAGES.clone()
    before = torch.random.get_rng_state()
    guest = adapt(nn.Sequential(nn.Dropout(), model), images, classes=10)
    assert isinstance(guest, Guest)
    assert torch.equal(images, IMAGES)
    assert model.training
    assert model.linear.weight.requires_grad
    assert torch.equal(before, torch.random.get_rng_state())
    guest(images)
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize(
    ("ending", "fault", "hint"),
    [
        (torch.squeeze, "the model returned (10,)", "it answers several images, but not one alone"),
        (lambda logits: logits.detach().numpy(), "the model returned ndarray", "it must map torch.rand(2, 1, 8, 8) to"),
        (lambda logits: logits.to(torch.complex64), "complex numbers, expected: logits", "it must map"),
    ],
    ids=["squeezed", "numpy", "complex"],
)
@pytest.mark.filterwarnings("error")
def test_hint_does_not_blame_a_head_of_the_right_width(ending: Any, fault: str, hint: str) -> None:
    line = nn.Linear(64, 10)
    with pytest.raises(ContractError) as caught:
        adapt(lambda images: ending(line(images.flatten(1))), IMAGES, classes=10)
    assert fault in caught.value.message
    assert hint in caught.value.hint


def test_a_model_that_calls_sys_exit_is_refused_and_ends_nothing() -> None:
    with pytest.raises(ContractError, match="cannot take float32 inputs"):
        adapt(lambda images: sys.exit("no"), torch.rand(2, 1, 4, 4), classes=3)
