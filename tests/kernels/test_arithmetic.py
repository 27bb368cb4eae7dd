"""In which arithmetic a search runs: what was asked for inside of its block, float32 for what is judged, as before outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from benchbench.contract import KeyedGenerator, Threat, ascend, full_precision, searching
from benchbench.kernels.arithmetic import Precision, precision_of_searches

CPU = torch.device("cpu")


def arithmetic() -> tuple[torch.dtype, bool, bool]:
    """What a matrix product comes out as, and whether products may be rounded to TF32: of matrices, of convolutions."""
    product = torch.ones(2, 2) @ torch.ones(2, 2)
    return product.dtype, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(params=[False, True], ids=["tf32 off", "tf32 on"])
def before(request: pytest.FixtureRequest) -> Iterator[tuple[torch.dtype, bool, bool]]:
    """A caller's own settings."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    found = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = request.param
    yield torch.float32, request.param, request.param
    cudnn.allow_tf32, matmul.allow_tf32 = found


@pytest.mark.parametrize(
    ("precision", "within"),
    [
        ("float32", (torch.float32, None)),
        ("bf16", (torch.bfloat16, None)),
        ("tf32", (torch.float32, True)),
    ],
)
def test_searches_run_as_asked_and_what_is_judged_within_them_in_float32(
    precision: Precision, within: tuple[torch.dtype, bool | None], before: tuple[torch.dtype, bool, bool]
) -> None:
    """Only a search in TF32 touches the switches of TF32, which are the caller's."""
    product, allowed = within
    searched = (product, *(before[1:] if allowed is None else (allowed, allowed)))
    judged = (torch.float32, *(before[1:] if allowed is None else (False, False)))
    with precision_of_searches(precision):
        assert arithmetic() == before  # asking alone changes nothing
        with searching(CPU) as told:
            assert (told, arithmetic()) == (precision, searched)
            with full_precision(CPU):
                assert arithmetic() == judged
            assert arithmetic() == searched
        assert arithmetic() == before
    with searching(CPU) as told:
        assert told == "float32"  # unless it is asked for


NEW_WAY = """
import torch
from benchbench.contract import full_precision, searching
torch.backends.cuda.matmul.fp32_precision = "tf32"
with searching(torch.device("cpu")), full_precision(torch.device("cpu")):
    pass
assert torch.backends.cuda.matmul.fp32_precision == "tf32"
"""


def test_a_caller_who_allows_tf32_in_torchs_new_way_is_left_alone() -> None:
    """In a process of its own, for torch refuses to be asked in the old way afterwards."""
    finished = subprocess.run([sys.executable, "-c", NEW_WAY], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_settings_come_back_when_a_search_fails(before: tuple[torch.dtype, bool, bool]) -> None:
    with precision_of_searches("tf32"), pytest.raises(ZeroDivisionError), searching(CPU):
        raise ZeroDivisionError
    assert arithmetic() == before


@pytest.fixture
def network() -> nn.Module:
    """A convolution that sees the candidates themselves, which is what autocast's cache goes for."""
    layers = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(16, 5))
    for number, parameter in enumerate(layers.parameters()):
        parameter.data = KeyedGenerator(number, torch.arange(len(parameter))).normal(*parameter.shape[1:])
    return layers.eval().requires_grad_(False)


@pytest.mark.parametrize("cached", [False, True], ids=["searching", "a caller's autocast with its cache"])
def test_steps_in_bf16_follow_the_gradient_where_they_are_and_not_where_they_began(
    network: nn.Module, cached: bool
) -> None:
    """Autocast keeps what it has rounded under the tensor's name; the buffer of a search keeps its name and changes."""
    threat, images = Threat(epsilon=0.3), KeyedGenerator(9, torch.arange(20)).uniform(1, 6, 6)
    formats = set()

    def objective(candidates: Tensor) -> Tensor:
        logits: Tensor = network(candidates)
        formats.add(logits.dtype)
        return logits.float().softmax(1)[:, 0].sum()

    def afresh(candidates: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return objective(candidates)

    expected = ascend(afresh, images, images, threat=threat, steps=10, step_size=0.05)
    block = torch.autocast("cpu", dtype=torch.bfloat16) if cached else searching(CPU)
    with precision_of_searches("bf16"), block:
        found = ascend(objective, images, images, threat=threat, steps=10, step_size=0.05)
        straight = ascend(objective, images, images, threat=threat, steps=1, step_size=0.5)
    assert formats == {torch.bfloat16}
    assert torch.equal(found, expected)
    assert not torch.equal(found, straight)
