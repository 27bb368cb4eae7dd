"""AutoAttack and MT in the fast mode: what only rounding takes for fooled is not; what it all but fools is searched again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.apgd import Apgd
from benchbench.builtin.attacks.autoattack.fab import Fab
from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.builtin.attacks.autoattack.standard import AutoAttack
from benchbench.builtin.attacks.margins import all_but_fooled, margin, surely_fooled
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.contract import Attack, KeyedGenerator, Threat, frozen, searching
from benchbench.kernels.arithmetic import Precision, precision_of_searches
from benchbench.testing import smooth_toy

IMAGES, STEPS, QUERIES = 5, 20, 120
ATTACKS: dict[str, Attack] = {
    "apgd-ce": Apgd(steps=STEPS),
    "apgd-t": Apgd(loss="dlr-targeted", steps=STEPS),
    "fab-t": Fab(steps=STEPS),
    "square": Square(queries=QUERIES),
}


class Deluded(nn.Module):
    """Fooled by whatever it sees where products come out rounded, by nothing where they do not; counts the former."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(KeyedGenerator(0, torch.arange(5)).normal(16))
        self.searched = 0

    def forward(self, images: Tensor) -> Tensor:
        logits = images.flatten(1) @ self.weight.t()
        rounded = logits.dtype != torch.float32
        self.searched += len(images) if rounded else 0
        lead = torch.tensor([0.0 if rounded else 100.0, 100.0 if rounded else 0.0, 0.0, 0.0, 0.0])
        return logits.float() + lead


class Confident(Deluded):
    """Never fooled, rounded or not."""

    def forward(self, images: Tensor) -> Tensor:
        logits = images.flatten(1) @ self.weight.t()
        self.searched += len(images) if logits.dtype != torch.float32 else 0
        return logits.float() + torch.tensor([100.0, 0.0, 0.0, 0.0, 0.0])


def candidates(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor, precision: Precision) -> Tensor:
    generator, threat = KeyedGenerator(2, torch.arange(len(images))), Threat(epsilon=0.1)
    with precision_of_searches(precision), frozen(model.eval()), searching(torch.device("cpu")):
        return attack.perturb(model, images, labels, threat=threat, generator=generator)


class Unasked(nn.Module):
    """Wants images, and says on which side of a plane each is."""

    def forward(self, images: Tensor) -> Tensor:
        assert len(images) > 0
        distance = images.flatten(1).sum(1, keepdim=True) - 1.0
        return torch.cat([distance, -distance, torch.full_like(distance, -9.0)], dim=1)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("value", [0.24, 0.26], ids=["on the wrong side", "reached at once"])
def test_mt_never_asks_about_no_images(precision: Precision, value: float) -> None:
    images, labels = torch.full((3, 1, 2, 2), value), torch.zeros(3, dtype=torch.int64)
    found = candidates(MultiTargeted(), Unasked(), images, labels, precision)
    assert bool((margin(Unasked()(found), labels) > 0).all())


@pytest.mark.parametrize("name", ATTACKS)
def test_a_search_goes_on_after_what_only_rounding_took_for_fooled(name: str) -> None:
    images, labels = KeyedGenerator(1, torch.arange(IMAGES)).uniform(1, 4, 4), torch.zeros(IMAGES, dtype=torch.int64)
    deluded, confident = Deluded(), Confident()
    candidates(ATTACKS[name], deluded, images, labels, "bf16")
    candidates(ATTACKS[name], confident, images, labels, "bf16")
    assert deluded.searched >= confident.searched  # which has no reason to leave off
    assert confident.searched >= IMAGES * (STEPS if name != "square" else QUERIES)


class Blind(Deluded):
    """Has a gradient only where products do not come out rounded; its logits are large, and close to each other."""

    def forward(self, images: Tensor) -> Tensor:
        logits = images.flatten(1) @ self.weight.t()
        seen = logits if logits.dtype == torch.float32 else logits.detach() + 0.0 * logits
        return seen.float() + 300.0


@pytest.mark.parametrize("attack", [MultiTargeted(steps=10), AutoAttack(steps=10, queries=1)], ids=["mt", "autoattack"])
def test_what_a_rounded_search_all_but_fools_is_searched_again_in_float32(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = Blind(), KeyedGenerator(1, torch.arange(40)).uniform(1, 4, 4)
    with torch.no_grad():
        labels = model(images).argmax(1)

    def fooled(precision: Precision) -> Tensor:
        found = candidates(attack, model, images, labels, precision)
        with torch.no_grad():
            return margin(model(found), labels) > 0

    expected = fooled("float32")
    assert 5 < int(expected.sum()) < 40
    assert torch.equal(fooled("bf16"), expected)
    monkeypatch.setattr("benchbench.builtin.attacks.margins.CLOSE", -1.0)  # nothing counts as close
    assert int(fooled("bf16").sum()) < int(expected.sum())


def passes_in_float32(attack: Attack) -> list[int]:
    """How many images each pass of a search in float32 has; it fools the model by some images and nearly by others."""
    model = smooth_toy((1, 6, 6), 6)
    images = KeyedGenerator(3, torch.arange(40)).uniform(1, 6, 6)
    with torch.no_grad():
        labels = model(images).argmax(1)
    passed: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    found = candidates(attack, model, images, labels, "float32")
    handle.remove()
    with torch.no_grad():
        margins = margin(model(found), labels)
        nearly = all_but_fooled(model(images), margins)  # what a rounded search would try again
    assert bool((margins > 0).any())
    assert bool(nearly[margins < 0].any())
    return passed


def test_float32_is_not_asked_to_confirm_itself() -> None:
    once = 1 + 6 + 1  # the clean images, a run's start and steps, the last look
    assert passes_in_float32(Apgd(steps=5)) == [40] * once
    targets = 5 * (5 + 1)  # for each target its steps and what they found
    assert len(passes_in_float32(MultiTargeted(steps=5))) == 1 + targets


def test_what_is_close_or_sure_is_relative_to_the_largest_logit_of_an_example() -> None:
    logits = torch.tensor([[-1000.0, 1.0], [1.0, -1.0]])
    assert surely_fooled(logits, torch.tensor([0.011, 1.1e-5])).tolist() == [True, True]
    assert surely_fooled(logits, torch.tensor([0.009, 0.9e-5])).tolist() == [False, False]
    assert all_but_fooled(logits, torch.tensor([-19.0, -0.019])).tolist() == [True, True]
    assert all_but_fooled(logits, torch.tensor([-21.0, -0.021])).tolist() == [False, False]


def test_autoattack_in_bf16_comes_to_float32s_verdicts() -> None:
    model = smooth_toy((1, 6, 6), 6)
    images = KeyedGenerator(3, torch.arange(120)).uniform(1, 6, 6)
    with torch.no_grad():
        labels = model(images).argmax(1)
    attack = AutoAttack(steps=10, queries=60)
    verdicts = []
    for precision in ("float32", "bf16"):
        found = candidates(attack, model, images, labels, precision)  # type: ignore[arg-type]
        with torch.no_grad():
            verdicts.append(margin(model(found), labels) > 0)
    fooled = float(verdicts[0].float().mean())
    assert 0.05 < fooled < 0.95
    assert float((verdicts[0] == verdicts[1]).float().mean()) >= 0.99
