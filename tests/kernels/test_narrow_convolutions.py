"""Input gradients of narrow convolutions against autograd's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.architectures.cnn import make_cnn2
from benchbench.contract import KeyedGenerator, frozen
from benchbench.kernels.layers import quick_narrow_convolutions

GEOMETRIES = [
    {"in_channels": 1, "out_channels": 16, "kernel_size": 3},
    {"in_channels": 1, "out_channels": 32, "kernel_size": 5, "padding": 2, "stride": 2},
    {"in_channels": 3, "out_channels": 64, "kernel_size": (3, 5), "padding": (1, 2), "bias": False},
    {"in_channels": 2, "out_channels": 32, "kernel_size": 3, "dilation": 2, "padding": 1, "stride": (1, 2)},
]


def draws(*shape: int, key: int = 0) -> Tensor:
    return KeyedGenerator(key, torch.arange(shape[0])).normal(*shape[1:])


def layer(**geometry: object) -> nn.Conv2d:
    made = nn.Conv2d(**geometry)  # type: ignore[arg-type]
    for number, parameter in enumerate(made.parameters()):
        parameter.data = draws(*parameter.shape, key=number + 1)
    return made


def gradient(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
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
    expected_output, expected = gradient(model, images)
    with quick_narrow_convolutions(model):
        assert "forward" in vars(model)
        output, found = gradient(model, images)
    assert torch.equal(output, expected_output)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_freezing_cnn2_makes_its_first_convolution_quick_and_ends_with_the_block() -> None:
    model = make_cnn2(input_shape=(1, 28, 28), classes=10)
    nn.init.constant_(model.dense3.weight, 0.1)
    images = draws(2, 1, 28, 28)
    _, expected = gradient(model.eval(), images)
    with frozen(model):
        patched = [name for name, module in model.named_modules() if "forward" in vars(module)]
        with frozen(model):  # as an attack within the evaluation may do
            _, found = gradient(model, images)
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
        output, found = gradient(twin, images)
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
    _, expected = gradient(model, images)
    with quick_narrow_convolutions(model), torch.autocast("cpu", dtype=torch.bfloat16):
        _, found = gradient(model, images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.1)
