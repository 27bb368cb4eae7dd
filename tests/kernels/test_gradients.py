"""The gradient of a weighted sum: torch's to the bit, without the import of torch's compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from benchbench.kernels.gradients import weighted_gradient

PROGRAM = """
import sys
import benchbench
import torch
from torch import nn
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
benchbench.evaluate(model, dataset={"name": "digits", "scale": 1}, epsilon=0.1, attacks=["pgd-10"])
print(*sorted({"sympy", "torch._dynamo", "torch.fx.experimental.symbolic_shapes"} & sys.modules.keys()))
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradient_is_that_of_torch_with_these_weights(dtype: torch.dtype) -> None:
    point = torch.randn(5, 3, dtype=dtype, requires_grad=True)
    values = (point.exp() @ torch.randn(3, 4, dtype=dtype)).log_softmax(dim=1)
    weights = torch.randn(5, 4, dtype=dtype)
    (expected,) = torch.autograd.grad(values, point, weights, retain_graph=True)
    found = weighted_gradient(values, weights, point)
    assert found.dtype == dtype
    assert torch.equal(found, expected)


def test_evaluating_does_not_import_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
