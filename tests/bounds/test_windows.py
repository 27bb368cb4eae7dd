"""A neuron's coefficients in a window are those of the whole pass, through each kind of layer; planted bugs are caught."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchbench.bounds.backward import backward
from benchbench.bounds.enclosures import enclose
from benchbench.bounds.problems import Problem, pose
from benchbench.bounds.reading import read_network
from benchbench.bounds.regions import ball
from benchbench.bounds.windows import Window, Windowed, neurons_by_place


class Residual(nn.Module):
    """A sum of two paths with windows of different sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.wide(x) + self.narrow(x) + x)


def normalised() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    norm.running_mean, norm.running_var = torch.randn(3), 1 + torch.rand(3)
    return norm


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(3, 3, 3),
    "padded": lambda: nn.Conv2d(3, 3, 3, padding=2),
    "strided": lambda: nn.Conv2d(3, 3, (3, 2), stride=(2, 3), padding=(0, 1)),
    "dilated, in groups": lambda: nn.Conv2d(3, 3, 2, dilation=2, groups=3),
    "normalised": normalised,
    "residual": Residual,
    "max pool": lambda: nn.MaxPool2d(2),
    "max pool, overlapping": lambda: nn.MaxPool2d((3, 2), stride=(2, 1)),
    "max pool, padded": lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)),
    "max pool, dilated": lambda: nn.MaxPool2d(2, stride=1, dilation=2),
    "average, which has no windows": lambda: nn.AvgPool2d(2),
}


def problem(layer: str, order: float) -> Problem:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), LAYERS[layer](), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.ReLU()
    )
    module = nn.Sequential(module, nn.Flatten(), nn.LazyLinear(5)).eval()
    images = torch.rand(2, 2, 9, 8)
    module(images)
    reading = read_network(module.requires_grad_(False), images)
    return pose(reading.network, ball(images, 0.05, order, lower=0.0, upper=1.0), rounded=True)


@pytest.mark.parametrize("order", [float("inf"), 2.0])
@pytest.mark.parametrize("layer", LAYERS)
def test_bounds_by_windows_are_those_of_the_whole_pass(layer: str, order: float) -> None:
    made = problem(layer, order)
    network, inside = made.network, enclose(made, tighten=False)
    compared = 0
    for rectifier in network.rectifiers:
        place = network.steps[rectifier].sources[0]
        shape = network.steps[place].shape
        every = torch.ones(shape, dtype=torch.bool)
        found, expected = inside.lower[place].flatten(1) * 0, inside.lower[place].flatten(1) * 0
        for neurons, units, window in neurons_by_place(every):
            rows = units.expand(2, *[-1] * units.dim())
            found[:, neurons] = backward(made, inside, rows, place, window=window)
            whole = Windowed(inside=rows, window=window).whole(shape)
            assert torch.equal(whole.flatten(2).argmax(dim=2), neurons.expand(2, -1))
            expected[:, neurons] = backward(made, inside, whole, place)
            compared += len(neurons)
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-13)
    assert compared > 200


@pytest.mark.parametrize("layer", LAYERS)
def test_tightened_intervals_hold_and_are_narrower(layer: str) -> None:
    made = problem(layer, float("inf"))
    loose, tight = enclose(made, tighten=False), enclose(made, tighten=True)
    points = made.region.lower + (made.region.upper - made.region.lower) * torch.rand(64, *made.region.lower.shape)
    values = [torch.stack(step).reshape(64, 2, *step[0].shape[1:]) for step in zip(*map(made.network.values, points))]
    last = made.network.steps[made.network.rectifiers[-1]].sources[0]
    for at, value in enumerate(values):
        assert bool((value >= tight.lower[at] - 1e-12).all())
        assert bool((value <= tight.upper[at] + 1e-12).all())
    assert float((tight.upper[last] - tight.lower[last]).sum()) < float((loose.upper[last] - loose.lower[last]).sum())


def test_windows_are_cut_at_the_edges_and_joined() -> None:
    ones = torch.ones(1, 2, 2)
    first = Windowed(inside=ones, window=Window(top=0, left=1, height=2, width=2))
    second = Windowed(inside=2 * ones, window=Window(top=1, left=3, height=2, width=2))
    both = first.plus(second, (1, 4, 5))
    assert both.window == Window(top=0, left=1, height=3, width=4)
    assert both.whole((1, 4, 5))[0].tolist() == [
        [0, 1, 1, 0, 0],
        [0, 1, 1, 2, 2],
        [0, 0, 0, 2, 2],
        [0, 0, 0, 0, 0],
    ]
    assert torch.equal(first.plus(Windowed(inside=torch.zeros(1, 4, 5)), (1, 4, 5)).inside, first.whole((1, 4, 5)))
    moved = second.moved(torch.ones(1, 5, 5), (2, 2), (1, 1), torch.Size((1, 4, 9)))
    assert moved.window == Window(top=1, left=5, height=3, width=4)
    assert moved.inside.shape == (1, 3, 4)
