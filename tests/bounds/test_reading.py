"""Networks read layer by layer: the same logits, and a name for what has no rule."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from benchbench.bounds.enclosures import point_enclosure
from benchbench.bounds.reading import read_network
from benchbench.contract import Threat, bound_margins
from benchbench.errors import NoBoundError
from tests.bounds.networks import SHAPES, network_of
from tests.bounds.test_margins import images_for


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_steps_give_the_logits_of_the_module(name: str) -> None:
    model, images = network_of(name), images_for(name)
    reading = read_network(model, images)
    assert reading.rounded
    torch.testing.assert_close(reading.network(images).float(), model(images), rtol=1e-4, atol=1e-4)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Linear(9, 9), nn.GELU()

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.act(self.first(inputs))


class Written(nn.Module):
    """A network whose forward method is a function of the test's."""

    def __init__(self, forward: object) -> None:
        super().__init__()
        self.last, self.written = nn.Linear(9, 3), forward

    def forward(self, images: Tensor) -> Tensor:
        return self.written(self, images.flatten(1))  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.ModuleDict({"a": nn.Identity()})["a"], Block(), nn.Linear(9, 3)),
            "GELU at 2.act",
        ),
        (Written(lambda net, x: net.last(x / x.abs().amax(dim=1, keepdim=True))), "abs at abs_1"),
        (Written(lambda net, x: net.last(x) + x.max().item()), "max at max_1"),
        (Written(lambda net, x: net.last(x) if x.sum() > 3 else -net.last(x)), "cannot be traced"),
        (Written(lambda net, x: sys.exit("no")), "cannot be traced"),
        (Written(lambda net, x: net.last(x) + torch.rand(3)), "other logits"),
        (Written(lambda net, x: net.last(x) + 1e-5 * torch.rand(3)), "other logits the second time"),
        (Written(lambda net, x: net.last(torch.cat([x[:, :4], x[:, 4:]], dim=1))), "getitem at getitem"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 2, padding_mode="circular", padding=1), nn.Flatten(), nn.Linear(32, 3)),
            "Conv2d at 0",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(3, padding=1), nn.Flatten(), nn.Linear(1, 3)),
            "MaxPool2d at 1",
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 3), nn.LeakyReLU(-0.5)), "LeakyReLU at 2"),
        (Written(lambda net, x: torch.nn.functional.linear(x, weight=net.last.weight)), "linear at linear"),
        (Written(lambda net, x: (hidden := 1 + net.last(x)) + hidden.relu_()), "add_1 takes add after it was changed"),
    ],
)
def test_what_has_no_rule_is_named(model: nn.Module, named: str) -> None:
    with pytest.raises(NoBoundError, match=named):
        read_network(model.eval(), torch.rand(3, 1, 3, 3))


@pytest.mark.parametrize(
    "written",
    [
        lambda net, x: x * 0.8734294027918162,
        lambda net, x: x + 0.5881308010772742,
        lambda net, x: x / 0.6503742417395917,
        lambda net, x: torch.nn.functional.leaky_relu(x, 0.8251871208697958),
    ],
)
def test_rounding_covers_that_of_constants_to_float32(written: object) -> None:
    model, images = (
        Written(written).eval(),
        2 * torch.rand(4000, 1, 3, 3, generator=torch.Generator().manual_seed(0)) - 1,
    )
    reading = read_network(model, images[:1])
    assert reading.rounded
    inside, logits = point_enclosure(reading.network, images), model(images).double()
    assert ((inside.lower[-1] <= logits) & (logits <= inside.upper[-1])).all()


def test_images_that_the_module_changes_in_place_stay_as_they_were() -> None:
    images = torch.rand(3, 1, 3, 3)
    before = images.clone()
    reading = read_network(Written(lambda net, x: x.__isub__(0.5)).eval(), images)
    assert torch.equal(images, before)
    torch.testing.assert_close(reading.network(images).float(), images.flatten(1) - 0.5)


def test_rectifiers_that_do_not_reach_the_logits_are_bounded_over() -> None:
    images, unused = torch.rand(2, 1, 3, 3), Written(lambda net, x: (net.last(x).relu(), net.last(x))[1]).eval()
    labels = unused(images).argmin(dim=1)
    assert (bound_margins(unused, images, labels, threat=Threat(epsilon=0.1)).values < 0).all()


def test_the_module_stays_as_it_was() -> None:
    model = network_of("wrn")
    before = {name: (id(tensor), tensor._version) for name, tensor in model.state_dict(keep_vars=True).items()}
    read_network(model, images_for("wrn"))
    assert before == {name: (id(tensor), tensor._version) for name, tensor in model.state_dict(keep_vars=True).items()}
    assert not any(module._forward_hooks or module.training for module in model.modules())


def test_a_reading_of_rounded_weights_holds_in_real_arithmetic_only() -> None:
    model, images = network_of("mlp"), images_for("mlp")

    class Rough(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images)

    rough = Rough()
    assert read_network(rough, images).rounded
    rough.register_forward_hook(lambda module, given, made: made * (1 + 3e-4))  # as TF32 would differ
    assert not read_network(rough, images).rounded
