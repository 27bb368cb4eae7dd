"""Fused kernels: the sources that CUDA compiles against plain operations, by a C++ compiler; and the sequences made of them."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.builtin.architectures.cnn import make_cnn1, make_cnn2
from benchbench.contract import KeyedGenerator
from benchbench.kernels import fused, fused_sequences
from benchbench.kernels.layers import overlaps, pool

TENSORS = {"add_relu": 2, "pool_relu": 5, "unpool": 3, "pass_scaled": 2, "sign_step": 4, "keyed_bits": 3}
LENGTH = 0.25


def compiled(folder: Path, name: str) -> ctypes.CDLL:
    """A loop over the source of a kernel: pointers to inputs, numbers, pointers to outputs."""
    kind = "int64_t" if name == "keyed_bits" else "float"
    inputs, outputs = TENSORS[name], 2 if name == "pool_relu" else 1
    given = [f"in{place}[i]" for place in range(inputs)] + ["length"] * (name in fused._OPTIONS)
    wanted = [f"out{place}[i]" for place in range(outputs)]
    call = f"{name}<{kind}>({', '.join(given + (wanted if outputs > 1 else []))})"
    body = f"{call};" if outputs > 1 else f"out0[i] = {call};"
    arguments = [f"const {kind}* in{place}" for place in range(inputs)] + [f"{kind}* out{p}" for p in range(outputs)]
    loop = f'extern "C" void run(int n, float length, {", ".join(arguments)}) {{ for (int i = 0; i < n; ++i) {body} }}'
    (folder / "kernel.cpp").write_text(f"#include <cstdint>\n{fused.SOURCES[name]}\n{loop}\n")
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", "kernel.cpp", "-o", "kernel.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "kernel.so"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("name", fused.SOURCES)
def test_source_computes_what_the_plain_operations_do(name: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    if name == "keyed_bits":
        given = [torch.randint(-(2**62), 2**62, (1000,), generator=generator) for _ in range(TENSORS[name])]
    else:  # rounded, so that equal values and zeros occur
        given = [torch.randn(1000, generator=generator).mul(2).round().div(2) for _ in range(TENSORS[name])]
    options = dict.fromkeys(fused._OPTIONS.get(name, ()), LENGTH)
    expected = fused.PLAIN[name](*given, **options)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = [torch.empty_like(one) for one in expected]
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (*given, *found)]
    compiled(tmp_path, name).run(1000, ctypes.c_float(LENGTH), *pointers)
    for one, other in zip(found, expected):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", fused.SOURCES)
def test_kernel_is_used_only_where_it_compiles_and_gives_the_plain_numbers(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain, options = fused.PLAIN[name], fused._OPTIONS.get(name, ())
    choose = fused._kernel.__wrapped__
    kind = torch.int64 if name == "keyed_bits" else torch.float32

    def right(*tensors: Tensor, **given: float) -> object:
        assert set(given) == set(options)
        return plain(*tensors, **given)

    def wrong(*tensors: Tensor, **_: float) -> Tensor:
        return torch.full_like(tensors[0], 77)

    def absent(_: str) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(fused, "_compiled", lambda _: right)
    assert choose(name, kind, torch.device("cpu")) is right
    monkeypatch.setattr(fused, "_compiled", lambda _: wrong)
    assert choose(name, kind, torch.device("cpu")) is plain
    monkeypatch.setattr(fused, "_compiled", absent)
    assert choose(name, kind, torch.device("cpu")) is plain
    assert "other numbers" in caplog.text
    assert "no compiler" in caplog.text


def passed(model: nn.Module, images: Tensor, forward: object) -> list[Tensor]:
    """Logits, the gradient in the images, those of the weights, and that of the gradient's square in the weights."""
    torch.manual_seed(1)  # of dropout
    inputs = images.clone().requires_grad_(True)
    logits = forward(model, inputs)  # type: ignore[operator]
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    (first,) = torch.autograd.grad(logits.square().sum(), inputs, create_graph=bool(weights))
    if not weights:
        return [logits, first]
    second = torch.autograd.grad(first.square().sum(), weights, retain_graph=True)
    return [logits, first, *torch.autograd.grad(logits.square().sum(), weights), *second]


@pytest.mark.parametrize("learns", [False, True], ids=["frozen", "learning"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("make", [make_cnn1, make_cnn2])
def test_fused_sequences_pass_what_the_layers_do(make, training: bool, learns: bool) -> None:
    model = make(input_shape=(2, 20, 20), classes=4).train(training).requires_grad_(learns).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    model.to(memory_format=torch.channels_last)
    images = torch.rand(3, 2, 20, 20, dtype=torch.float64).to(memory_format=torch.channels_last)
    expected = passed(model, images, nn.Sequential.forward)
    forward = fused_sequences._Forward()
    for _ in range(2):  # the second time with what the first has prepared
        for one, other in zip(passed(model, images, forward), expected):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("learns", [False, True], ids=["frozen", "learning"])
def test_fused_sequences_round_as_finely_as_autocast_does(learns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_cnn2(input_shape=(2, 20, 20), classes=4).eval().requires_grad_(learns)
    for number, parameter in enumerate(model.parameters()):
        parameter.data = KeyedGenerator(number, torch.arange(len(parameter))).normal(*parameter.shape[1:]) / 8
    model.to(memory_format=torch.channels_last)
    images = torch.rand(8, 2, 20, 20).to(memory_format=torch.channels_last)

    def by_autocast(model: nn.Sequential, inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            return nn.Sequential.forward(model, inputs)

    def fused_way(model: nn.Sequential, inputs: Tensor) -> Tensor:
        monkeypatch.setattr(fused_sequences, "_rounded_type", lambda: torch.bfloat16)
        return fused_sequences._Forward()(model, inputs)

    ways = (fused_way, by_autocast, nn.Sequential.forward)
    for found, expected, exact in zip(*(passed(model, images, way) for way in ways)):
        assert found.dtype == expected.dtype
        assert not torch.equal(found.float(), exact)
        assert alike(found, exact) > alike(expected, exact) - 0.01


def alike(one: Tensor, other: Tensor) -> float:
    return F.cosine_similarity(one.detach().flatten().float(), other.detach().flatten().float(), dim=0).item()


def test_prepared_weights_follow_a_change_in_place() -> None:
    model = make_cnn2(input_shape=(2, 20, 20), classes=4).eval().requires_grad_(False)
    model.to(memory_format=torch.channels_last)
    nn.init.normal_(model.dense3.weight)
    images = torch.rand(3, 2, 20, 20).to(memory_format=torch.channels_last)
    forward = fused_sequences._Forward()
    before = forward(model, images)
    model.dense1.weight.mul_(-1.0)
    torch.testing.assert_close(forward(model, images), nn.Sequential.forward(model, images))
    assert not torch.equal(forward(model, images), before)


@pytest.mark.parametrize(
    "layer", [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((2, 3), 1), nn.MaxPool2d(2, 3, dilation=4)], ids=str
)
def test_overlapping_pooling_gives_the_same_values_and_gradients(layer: nn.MaxPool2d) -> None:
    images = torch.randn(2, 3, 11, 12).round_().to(memory_format=torch.channels_last)
    assert overlaps(layer)
    for one, other in zip(*(passed(layer, images, forward) for forward in (pool, torchs_own))):
        torch.testing.assert_close(one, other)


def torchs_own(layer: nn.MaxPool2d, images: Tensor) -> Tensor:
    return F.max_pool2d(images, layer.kernel_size, layer.stride, layer.padding, layer.dilation)


def test_windows_that_share_no_pixel_are_left_to_torch() -> None:
    assert not overlaps(nn.MaxPool2d(2))
    assert not overlaps(nn.MaxPool2d(2, 4, dilation=3))
    assert not overlaps(nn.MaxPool2d(3, 2, return_indices=True))
