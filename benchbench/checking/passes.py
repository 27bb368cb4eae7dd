"""Forward passes of a model over test examples and their witnesses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchbench.checking.evidence import Replay
from benchbench.contract import Threat
from benchbench.contract.threat import tolerance
from benchbench.data import Subset
from benchbench.errors import ContractError
from benchbench.evaluation.subject import borrowed, default_batch_size
from benchbench.kernels.determinism import deterministic
from benchbench.kernels.inputs import as_model_input
from benchbench.records.arrays import Array


def replay_witnesses(
    model: nn.Module | None, test: Subset, threat: Threat, witnesses: Array, device: torch.device, *, doubled: bool
) -> Replay:
    """Predict examples and witnesses, if there is a model; measure how far these leave the ball."""
    clean, adversarial = model_inputs(test.examples.inputs, doubled=doubled), torch.from_numpy(witnesses)
    if adversarial.shape != clean.shape:
        raise ContractError(f"witnesses of shape {tuple(adversarial.shape)} for inputs {tuple(clean.shape)}")
    flat = adversarial.flatten(1).double()
    outside = torch.maximum(threat.lower - flat.amin(dim=1), flat.amax(dim=1) - threat.upper).clamp(min=0)
    distance = threat.distance(adversarial.double(), clean.double())
    both = (clean, adversarial.to(clean.dtype))
    return Replay(
        index=test.indices.numpy(),
        label=test.examples.labels.numpy(),
        clean=None if model is None else answers(model, both[0], device),
        attacked=None if model is None else answers(model, both[1], device),
        outside=outside.numpy(),
        beyond=(distance - threat.epsilon - tolerance(threat, flat.shape[1])).numpy(),
    )


def model_inputs(inputs: Tensor, *, doubled: bool) -> Tensor:
    """Inputs as a model takes them; `doubled` to float64 for regressions."""
    return inputs.double() if doubled else as_model_input(inputs)


def answers(model: nn.Module, inputs: Tensor, device: torch.device) -> Array:
    """What a model returns for inputs, float64 (N, ...)."""
    with deterministic(device), borrowed(model.to(device)), torch.no_grad():
        batches = [model(batch.to(device)).cpu() for batch in torch.split(inputs, default_batch_size(device))]
    return torch.cat(batches).double().numpy()
