"""Layers that compute the same by a quicker way: sequences to the bit, input gradients of narrow convolutions nearly."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.architectures.cnn import make_cnn1, make_cnn2
from benchbench.contract import KeyedGenerator, frozen
from benchbench.kernels.layers import quick_narrow_convolutions, quick_sequences


class Twice(nn.Module):
    """What goes into the sequence is used beside it, too, and so is what comes out."""

    def __init__(self, sequence: nn.Sequential) -> None:
        super().__init__()
        self.sequence = sequence

    def forward(self, images: Tensor) -> Tensor:
        found = self.sequence(images)
        return torch.cat([found.flatten(1), found.square().flatten(1), images.flatten(1)], dim=1)


SEQUENCES = {
    "conv, relu, pool": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "overlapping windows": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(3, stride=1, padding=1)),
    "relu first": lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU()),
    "relu in place": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2, ceil_mode=True)),
    "sigmoid before": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.ReLU(), nn.MaxPool2d(2)),
    "relu twice": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU()),
    "conv after conv": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten()
    ),
    "flat after pool": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.ReLU(), nn.Linear(48, 5)
    ),
    "flat in part": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(2), nn.ReLU()),
    "input seen twice": lambda: Twice(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.ReLU(), nn.MaxPool2d(2)),
    "normalised": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
    "average": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2)),
    "dropped": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.ReLU()),
}


def draws(*shape: int, key: int = 0) -> Tensor:
    return KeyedGenerator(key, torch.arange(shape[0])).normal(*shape[1:])


def filled(model: nn.Module) -> nn.Module:
    for number, parameter in enumerate(model.parameters()):
        parameter.data = draws(*parameter.shape, key=number + 1) / 4
    return model.eval().requires_grad_(False)


def run(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and the gradient of a weighted sum of it for the images."""
    inputs = images.detach().requires_grad_(True)
    output = model(inputs + 0.0)  # not a leaf, as inside a larger model
    (gradient,) = torch.autograd.grad((output * draws(*output.shape, key=9)).sum(), inputs)
    return output.detach(), gradient


@pytest.mark.parametrize("make", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_outputs_gradients_and_inputs_are_the_same_bits(make, layout) -> None:
    model = filled(make()).to(memory_format=layout)
    images = draws(5, 3, 11, 9).to(memory_format=layout)
    lent = images.clone()
    expected = run(model, images)
    with quick_sequences(model):
        found = run(model, images)
        with torch.no_grad():
            judged = model(images)
    assert all(torch.equal(*pair) for pair in zip(found, expected))
    assert torch.equal(judged, expected[0])
    assert torch.equal(images, lent)
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("make", [make_cnn1, make_cnn2])
def test_the_built_in_networks_keep_their_bits(make) -> None:
    model, images = filled(make(input_shape=(1, 20, 20), classes=4)), draws(3, 1, 20, 20)
    expected = run(model, images)
    with quick_sequences(model):
        assert all(torch.equal(*pair) for pair in zip(run(model, images), expected))


def test_where_many_values_tie_gradients_go_where_they_went() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.MaxPool2d(2))
    nn.init.ones_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    images = draws(4, 1, 8, 8).round()  # mostly -1, 0 and 1
    expected = run(model, images)
    with quick_sequences(model):
        assert all(torch.equal(*pair) for pair in zip(run(model, images), expected))


def test_weights_that_are_trained_get_the_same_gradient() -> None:
    model, images = filled(SEQUENCES["conv, relu, pool"]()).requires_grad_(True), draws(5, 3, 11, 9)
    twin = copy.deepcopy(model)
    twin(images).square().sum().backward()
    with quick_sequences(model):
        model(images).square().sum().backward()
    for found, expected in zip(model.parameters(), twin.parameters()):
        assert torch.equal(found.grad, expected.grad)


def test_layers_that_somebody_watches_are_seen_as_they_are() -> None:
    model = filled(nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), relu=nn.ReLU(), pool=nn.MaxPool2d(2))))
    seen = {}
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: output}))
    images = draws(2, 3, 8, 8)
    model(images)
    expected = dict(seen)
    with quick_sequences(model):
        model(images)
    assert seen.keys() == expected.keys()
    assert all(torch.equal(seen[name], expected[name]) for name in expected)


def test_a_relu_before_a_pooling_sees_what_is_left_of_it() -> None:
    model, images = filled(SEQUENCES["conv, relu, pool"]()), draws(2, 3, 10, 10)
    with frozen(model), torch.profiler.profile(record_shapes=True) as seen:
        model(images)
    shapes = [event.input_shapes[0] for event in seen.events() if event.name in ("aten::clamp_min", "aten::clamp_min_")]
    assert shapes
    assert all(shape == [2, 4, 4, 4] for shape in shapes)


def test_a_deep_copy_calls_its_own_layers() -> None:
    model, images = filled(SEQUENCES["conv, relu, pool"]()), draws(2, 3, 8, 8)
    with quick_sequences(model):
        twin = copy.deepcopy(model)
        for parameter in twin.parameters():
            parameter.zero_()
        assert torch.equal(twin(images), torch.zeros(2, 4, 3, 3))


def test_second_derivatives_pass_through() -> None:
    model, images = filled(SEQUENCES["conv after conv"]()).double(), draws(2, 3, 6, 6).double().requires_grad_(True)
    with quick_sequences(model):
        assert torch.autograd.gradgradcheck(lambda x: model(x).square(), (images,))


def test_a_graph_may_be_walked_twice() -> None:
    model, images = filled(SEQUENCES["conv after conv"]()), draws(2, 3, 8, 8).requires_grad_(True)
    with quick_sequences(model):
        total = model(images).square().sum()
        first, second = (torch.autograd.grad(total, images, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_batched_gradients_pass_through() -> None:
    model, images = filled(SEQUENCES["conv after conv"]()).double(), draws(3, 3, 8, 8).double()

    def energy(inputs: Tensor) -> Tensor:
        return model(inputs[None]).square().sum()

    expected = torch.func.vmap(torch.func.grad(energy))(images)
    with quick_sequences(model):
        torch.testing.assert_close(torch.func.vmap(torch.func.grad(energy))(images), expected)


GEOMETRIES = [
    {"in_channels": 1, "out_channels": 16, "kernel_size": 3},
    {"in_channels": 1, "out_channels": 32, "kernel_size": 5, "padding": 2, "stride": 2},
    {"in_channels": 3, "out_channels": 64, "kernel_size": (3, 5), "padding": (1, 2), "bias": False},
    {"in_channels": 2, "out_channels": 32, "kernel_size": 3, "dilation": 2, "padding": 1, "stride": (1, 2)},
]


def layer(**geometry: object) -> nn.Conv2d:
    made = nn.Conv2d(**geometry)  # type: ignore[arg-type]
    for number, parameter in enumerate(made.parameters()):
        parameter.data = draws(*parameter.shape, key=number + 1)
    return made


def output_and_gradient(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The output, and the gradient of a weighted sum of it for the images."""
    inputs = images.detach().requires_grad_(True)
    output = model(inputs)
    (found,) = torch.autograd.grad((output * draws(*output.shape, key=9)).sum(), inputs)
    return output.detach(), found


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_equal_autograds_and_outputs_are_the_same_bits(geometry, layout) -> None:
    model, images = layer(**geometry).to(memory_format=layout), draws(3, geometry["in_channels"], 11, 12)
    images = images.to(memory_format=layout)
    model.requires_grad_(False)
    expected_output, expected = output_and_gradient(model, images)
    with quick_narrow_convolutions(model):
        assert "forward" in vars(model)
        output, found = output_and_gradient(model, images)
    assert torch.equal(output, expected_output)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_freezing_cnn2_makes_its_first_convolution_quick_and_ends_with_the_block() -> None:
    model = make_cnn2(input_shape=(1, 28, 28), classes=10)
    nn.init.constant_(model.dense3.weight, 0.1)
    images = draws(2, 1, 28, 28)
    _, expected = output_and_gradient(model.eval(), images)
    with frozen(model):
        patched = [name for name, module in model.named_modules() if "forward" in vars(module)]
        with frozen(model):  # as an attack within the evaluation may do
            _, found = output_and_gradient(model, images)
        assert "forward" in vars(model.conv1)
    assert patched == ["", "conv1"]  # the sequence itself, too: benchbench.kernels.layers
    assert not any("forward" in vars(module) for module in model.modules())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


def test_weights_that_are_trained_get_their_gradient() -> None:
    model, images = layer(**GEOMETRIES[0]), draws(2, 1, 6, 6)
    with quick_narrow_convolutions(model):
        model(images.requires_grad_(True)).sum().backward()
    assert model.weight.grad is not None
    assert images.grad is not None


def test_a_deep_copy_calls_its_own_weights() -> None:
    model, images = layer(**GEOMETRIES[0]).requires_grad_(False), draws(2, 1, 6, 6)
    with quick_narrow_convolutions(model):
        twin = copy.deepcopy(model)
        twin.weight.zero_()
        output, found = output_and_gradient(twin, images)
    assert torch.equal(found, torch.zeros_like(found))
    assert torch.equal(output, twin.bias[:, None, None].expand_as(output))


def test_second_derivatives_and_batched_gradients_pass_through() -> None:
    model, images = layer(**GEOMETRIES[0]).requires_grad_(False).double(), draws(2, 1, 6, 6).double()

    def energy(inputs: Tensor) -> Tensor:
        return model(inputs[None]).square().sum()

    expected = torch.func.vmap(torch.func.grad(energy))(images)
    with quick_narrow_convolutions(model):
        found = torch.func.vmap(torch.func.grad(energy))(images)
        assert torch.autograd.gradgradcheck(lambda x: model(x).square(), (images.requires_grad_(True),))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "model",
    [
        nn.Conv2d(3, 16, 3),  # folding 27 columns is more work than it saves
        nn.Conv2d(1, 32, 3, padding_mode="reflect"),
        nn.Conv2d(1, 32, 3, padding="same"),
        nn.Conv2d(2, 64, 3, groups=2),
    ],
)
def test_other_convolutions_are_left_alone(model: nn.Module) -> None:
    with quick_narrow_convolutions(model):
        assert "forward" not in vars(model)


def test_bfloat16_autocast_gives_a_float32_gradient_near_the_exact_one() -> None:
    model, images = layer(**GEOMETRIES[0]).requires_grad_(False), draws(2, 1, 6, 6)
    _, expected = output_and_gradient(model, images)
    with quick_narrow_convolutions(model), torch.autocast("cpu", dtype=torch.bfloat16):
        _, found = output_and_gradient(model, images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.1)
