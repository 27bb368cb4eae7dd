"""Models that are trained as one stacked program learn what each learns by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pretend_device import needs_pretend_device, on_pretend_device

from benchbench.contract import Examples

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.stacked

    return benchmarks.stacked


@pytest.mark.parametrize(("architecture", "defense"), [("mlp", "natural"), ("mlp", "at"), ("cnn2", "at")])
def test_each_stacked_model_has_the_weights_of_its_own_run(stacked: Any, architecture: str, defense: str) -> None:
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (96, 1, 16, 16), dtype=torch.uint8, generator=draws)
    examples = Examples(inputs=inputs, labels=torch.randint(0, 10, (96,), generator=draws))
    jobs = stacked.jobs_of(architecture, stacked.DEFENSES[defense](), examples, models=3, device="cpu")
    stack, models = stacked.train_stacked(jobs), stacked.train_apart(jobs)
    assert stacked.apart(stack, models) < 1e-6
    assert stacked.apart(stack, models[::-1]) > 1e-2  # each has its own weights, order and draws
    for model, job in zip(models, jobs):
        steps = [
            float((new - old).detach().abs().max()) for new, old in zip(model.parameters(), job.model.parameters())
        ]
        assert max(steps) > 1e-3  # it has learnt


@pytest.mark.exhaustive
@needs_pretend_device
def test_a_stack_launches_a_fraction_of_the_kernels() -> None:
    line = on_pretend_device(
        *("-m", "benchmarks.stacked", "--architecture", "mlp", "--models", "6", "--examples", "64", "--device", "cuda")
    )
    assert float(line.rsplit(" ", 1)[1]) < 0.4
