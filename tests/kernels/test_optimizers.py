import subprocess
import sys

import pytest
import torch

from benchbench.kernels.optimizers import uncompiled

PROGRAM = """
import sys
from torch import nn
from benchbench.contract.recipe import Recipe
from benchbench.training.loop import make_optimizer
model = nn.Linear(2, 2)
optimizer = make_optimizer(model, Recipe(optimizer=sys.argv[1], learning_rate=0.1, batch_size=1, epochs=1))
model(model.weight).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.sampled(2)
def test_training_does_not_import_the_compiler(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, name], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_steps_and_state_are_those_of_the_class(kind: type[torch.optim.Optimizer]) -> None:
    weights = [torch.randn(5, requires_grad=True)]
    weights.append(weights[0].detach().clone().requires_grad_(True))
    options = {"lr": 0.1, "weight_decay": 0.01, **({"momentum": 0.9} if kind is torch.optim.SGD else {})}
    optimizers = [kind([weights[0]], **options), uncompiled(kind)([weights[1]], **options)]
    for _ in range(3):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            optimizer.zero_grad()
            weight.pow(3).sum().backward()
            optimizer.step()
        assert torch.equal(*weights)
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    torch.testing.assert_close(states[0]["state"], states[1]["state"], rtol=0, atol=0)
    assert isinstance(optimizers[1], kind)
