"""Forward passes of a model over test examples and their witnesses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from benchbench.checking.evidence import Replay, as_recorded
from benchbench.contract import Examples, Threat
from benchbench.contract.threat import tolerance
from benchbench.data import Subset
from benchbench.errors import ContractError, DataError
from benchbench.evaluation.subject import borrowed, default_batch_size
from benchbench.kernels.determinism import deterministic
from benchbench.kernels.inputs import as_model_input
from benchbench.records.arrays import Array


def replay_witnesses(
    model: nn.Module | None,
    test: Subset,
    threat: Threat,
    witnesses: Array | None,
    device: torch.device,
    *,
    doubled: bool,
) -> Replay:
    """Predict examples and witnesses; measure how far these leave box and ball.

    Without a model nothing is predicted, without witnesses nothing of theirs is there.
    """
    clean = model_inputs(test.examples.inputs, doubled=doubled)
    replay = Replay(
        index=test.indices.numpy(),
        label=test.examples.labels.numpy(),
        clean=None if model is None else answers(model, clean, device),
    )
    if witnesses is None:
        return replay
    adversarial = torch.from_numpy(witnesses)
    if adversarial.shape != clean.shape:
        raise ContractError(f"witnesses of shape {tuple(adversarial.shape)} for inputs {tuple(clean.shape)}")
    flat = adversarial.flatten(1).double()
    outside = torch.maximum(threat.lower - flat.amin(dim=1), flat.amax(dim=1) - threat.upper).clamp(min=0)
    distance = threat.distance(adversarial.double(), clean.double())
    return replace(
        replay,
        attacked=None if model is None else answers(model, adversarial.to(clean.dtype), device),
        outside=outside.numpy(),
        beyond=(distance - threat.epsilon - tolerance(threat, flat.shape[1])).numpy(),
    )


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Whether each image breaks its example, bool (n,); rejected indices by reason."""

    breaks: Array
    rejected: dict[str, tuple[int, ...]]


def judge_images(
    model: nn.Module,
    test: Subset,
    threat: Threat,
    index: Array,
    images: Array,
    outcomes: Mapping[str, Array],
    device: torch.device,
) -> Judgement:
    """Judge images (n, ...) of the test examples with these int64 (n,) dataset indices.

    An image breaks its example if it lies in box and ball, and the model predicts another class by more than rounding. A model
    that predicts other classes than recorded for the clean examples is a DataError.
    """
    places = np.searchsorted(test.indices.numpy(), index).clip(max=len(test.indices) - 1)
    there = test.indices.numpy()[places] == index
    at = torch.from_numpy(places[there])
    chosen = Examples(inputs=test.examples.inputs[at], labels=test.examples.labels[at])
    part = Subset(examples=chosen, indices=test.indices[at])
    replay = replay_witnesses(model, part, threat, images[there], device, doubled=False)
    recorded = outcomes["prediction"][places[there]]
    if replay.clean is None or replay.attacked is None or np.any(as_recorded(replay.clean, recorded) != recorded):
        raise DataError("the weights here predict other classes than the row records for the clean examples")
    fooled = as_recorded(replay.attacked, replay.label) != replay.label
    reasons = {
        "is not finite": ~np.isfinite(replay.beyond),
        "leaves the box": replay.outside > 0,
        "leaves the ball": replay.beyond > 0,
        "does not change the answer": ~fooled,
    }
    rejected = {"is of no test example of this row": index[~there]}
    rejected |= {why: replay.index[wrong] for why, wrong in reasons.items()}
    breaks = there.copy()
    breaks[there] = ~np.any(list(reasons.values()), axis=0)
    return Judgement(breaks=breaks, rejected={why: tuple(at.tolist()) for why, at in rejected.items() if len(at)})


def model_inputs(inputs: Tensor, *, doubled: bool) -> Tensor:
    """Inputs as a model takes them; `doubled` to float64 for regressions."""
    return inputs.double() if doubled else as_model_input(inputs)


def answers(model: nn.Module, inputs: Tensor, device: torch.device) -> Array:
    """What a model returns for inputs, float64 (N, ...)."""
    with deterministic(device), borrowed(model.to(device)), torch.no_grad():
        batches = [model(batch.to(device)).cpu() for batch in torch.split(inputs, default_batch_size(device))]
    return torch.cat(batches).double().numpy()
