"""The fast mode: attacks search in bfloat16, the harness judges in float32, and cells know which."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from sample_rows import make_cell
from torch import Tensor, nn

from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.cell.model import canonical
from benchbench.contract import Attack, Examples, KeyedGenerator, Threat
from benchbench.evaluation import Outcome, evaluate
from benchbench.kernels.arithmetic import Precision
from benchbench.testing.toys import smooth_toy


class Recording(nn.Module):
    """A model that notes whether it ran in bfloat16, and with a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = smooth_toy((1, 6, 6), 6)
        with torch.no_grad():
            self.centre = self.inner(images_of(70)).mean(0)
        self.seen: list[tuple[torch.dtype, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        self.seen.append((logits.dtype, logits.requires_grad))
        return logits - self.centre  # so that not all images are of one class


def images_of(count: int) -> Tensor:
    return KeyedGenerator(3, torch.arange(count)).uniform(1, 6, 6)


def outcome(attack: Attack, model: nn.Module, precision: str) -> Outcome:
    images = images_of(70)
    examples = Examples(inputs=images, labels=model.eval()(images).argmax(1))
    return evaluate(
        model,
        train=examples,
        test=examples,
        train_rows=torch.arange(70),
        test_rows=torch.arange(70),
        classes=6,
        threat=Threat(epsilon=0.04),
        attack=attack,
        attack_name="attack",
        metrics={},
        seed=0,
        device=torch.device("cpu"),
        precision=precision,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("attack", [Pgd(), MultiTargeted()])
def test_bf16_searches_with_rounded_gradients_and_judges_in_float32(attack: Attack) -> None:
    model = Recording()
    found = outcome(attack, model, "bf16")
    assert (torch.bfloat16, True) in model.seen
    assert (torch.bfloat16, False) not in model.seen  # whatever decides without a gradient is float32
    assert torch.equal(found.per_example["adversarial_prediction"], model(found.witnesses).argmax(1))
    robust = found.per_example["robust"]
    agreed = robust == outcome(attack, model, "float32").per_example["robust"]
    assert 5 < int(robust.sum()) < 65
    assert float(agreed.float().mean()) > 0.95


def test_float32_runs_nothing_in_bfloat16() -> None:
    model = Recording()
    outcome(Pgd(), model, "float32")
    assert {dtype for dtype, _ in model.seen} == {torch.float32}


@pytest.mark.parametrize("attack", [Pgd(steps=3), MultiTargeted(steps=3)])
def test_tf32_is_allowed_while_a_search_looks_and_not_while_it_is_judged(attack: Attack) -> None:
    """On this processor both are float32; the switches are what a CUDA device goes by."""
    allowed: dict[bool, set[tuple[bool, bool]]] = {True: set(), False: set()}

    class Watching(Recording):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            switches = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            allowed[logits.requires_grad].add(switches)
            return logits

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    model = Watching()
    found = outcome(attack, model, "tf32").per_example["adversarial_prediction"]
    assert (True, True) in allowed[True]
    assert allowed[True] <= {(True, True), (False, False), before}  # MT's second look, the diagnostics' gradients
    assert allowed[False] <= {(False, False), before}
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    assert {dtype for dtype, _ in model.seen} == {torch.float32}
    assert torch.equal(found, outcome(attack, Recording(), "float32").per_example["adversarial_prediction"])


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_precision_is_part_of_a_cells_identity_and_old_ids_hold(precision: Precision) -> None:
    cell = make_cell()
    fast = dataclasses.replace(cell, evaluation=dataclasses.replace(cell.evaluation, precision=precision))
    assert fast.cell_id != cell.cell_id
    assert fast.training.model_id == cell.training.model_id  # one model for both
    assert "precision" not in canonical(cell)["evaluation"]
    assert canonical(fast)["evaluation"]["precision"] == precision
