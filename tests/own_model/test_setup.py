"""A sample of ``python -m benchmarks.setups``: wrong set-ups are named, correct ones are not, and no number changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from run_processes import EXHAUSTIVE
from torch import Tensor, nn

import benchbench
from benchbench.contract import Threat
from benchbench.errors import ContractError
from benchbench.own_model import questions
from benchbench.own_model.setup import CONTRAST, LABELS, PLACES, is_better

ROOT = Path(__file__).resolve().parents[2]
DIGITS = {"name": "digits", "scale": 1}
SUBJECTS = {"the model expects BGR": "colours mlp imagenet", "training mode": "digits dropout"}
SUBJECT = "digits bn half"  # of the other mistakes


@pytest.fixture
def setups(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.setups

    return benchmarks.setups


MAKERS = {
    "missing": "normalisation is missing",
    "twice": "normalisation is applied twice",
    "divided": "the model expects pixels from 0 to 255",
    "swapped": "the model expects BGR",
    "turned": "images are transposed",
    "channels_last": "images are transposed",
    "probabilities": "a softmax at the end",
    "training": "training mode",
    "functional": "training mode",
    "shifted": "labels are shifted",
    "permuted": "labels are permuted",
    "headed": "wrong head",
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.sampled(2)
def test_mistake_is_named_and_no_other_one(setups: Any, maker: str) -> None:
    dataset, kind, *norm = SUBJECTS.get(MAKERS[maker], SUBJECT).split()
    make = lambda: getattr(setups, maker)(dataset, kind, norm[0] if norm else "", 1)  # noqa: E731
    found = setups.examine(setups.SetUp(name="", kind="", dataset=dataset, make=make, half="tuning"))
    assert found.kinds == (MAKERS[maker],)


@pytest.mark.parametrize(
    ("kind", "norm", "epochs", "defense"),
    [("bn", "half", 8, "natural"), ("linear", "", 0, "natural"), ("mlp", "", 1, "natural"), ("mlp", "", 4, "at")],
)
@pytest.mark.sampled(2)
def test_correct_setup_is_not_suspected_however_weak_the_model(
    setups: Any, kind: str, norm: str, epochs: int, defense: str
) -> None:
    make = lambda: setups.trained("digits", kind, norm, 1, epochs, defense, 0.2 if defense == "at" else 0.0)[0]  # noqa: E731
    found = setups.examine(setups.SetUp(name="", kind="", dataset="digits", make=make, half="tuning"))
    assert found.kinds == ()


def test_model_with_noise_is_not_suspected_because_contrast_drowns_it(setups: Any) -> None:
    model = setups.trained("digits", "mlp", "", 1)[0]
    make = lambda: setups.Before(model, lambda images: images + 0.3 * torch.randn_like(images))  # noqa: E731
    assert setups.examine(setups.SetUp(name="", kind="", dataset="digits", make=make, half="tuning")).kinds == ()


@pytest.mark.parametrize(
    ("norm", "epsilon", "expected"),
    [
        ("linf", 1.0, "did you mean 1/255?"),
        ("l2", 8.0, "did you mean 8/255?"),
        ("linf", 8 / 255**2, "did you mean 0.0314"),
    ],
)
def test_radius_in_other_units_is_named(norm: Any, epsilon: float, expected: str) -> None:
    threat = Threat(norm=norm, epsilon=epsilon)
    report = benchbench.evaluate(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), dataset=DIGITS, threat=threat, n_test=64
    )
    assert [one for one in report.warnings if "radius" in one and expected in one]


class Noisy(nn.Module):
    """Random answers, from torch's global generator."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, 20:30] + 0.1 * torch.randn(len(images), 10)


def test_the_search_for_mistakes_changes_no_number_and_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        attacks = benchbench.evaluate(Noisy(), dataset=DIGITS, attacks=["pgd-10", "mt-20"], n_test=40).attacks
        return *(one.witnesses for one in attacks.values()), torch.get_rng_state()

    found = outcome()
    monkeypatch.setattr(questions, "find_mistakes", lambda *_: ())
    assert all(torch.equal(one, other) for one, other in zip(found, outcome(), strict=True))


@pytest.mark.parametrize(("bar", "expected"), [(CONTRAST, False), (PLACES, True), (LABELS, True)])
def test_contrast_must_get_a_model_further_than_other_readings(bar: tuple[float, float], expected: bool) -> None:
    as_is, read = torch.arange(768) < 78, torch.arange(768) < 391  # a network that adversarial training made useless
    assert is_better(as_is, read, bar, 10) == expected
    assert is_better(as_is, torch.arange(768) < 700, bar, 10)
    assert not is_better(read, torch.arange(768) < 420, bar, 10)


class Strict(nn.Module):
    """Refuses pixels outside [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        if float(images.amax()) > 1:
            raise ValueError("pixels above 1")
        return self.line(images.flatten(1))  # type: ignore[no-any-return]


def test_model_may_refuse_other_readings() -> None:
    assert benchbench.evaluate(Strict(), dataset=DIGITS, n_test=40).setup == ()


@pytest.mark.parametrize(("width", "expected"), [(11, "model(images)[:, 1:]"), (100, "for 100 classes instead of 10")])
def test_wrong_head_is_named_with_its_mend(width: int, expected: str) -> None:
    with pytest.raises(ContractError) as caught:
        benchbench.evaluate(nn.Sequential(nn.Flatten(), nn.Linear(64, width)), dataset=DIGITS, n_test=5)
    assert "a wrong head" in caught.value.hint
    assert expected in caught.value.hint


@pytest.mark.slow
@pytest.mark.skipif(not EXHAUSTIVE, reason="training the models takes minutes")
@pytest.mark.timeout(3600)
def test_all_planted_mistakes_are_found_and_no_correct_setup_is_suspected(setups: Any) -> None:
    assert [one.name for one in setups.mistakes() if one.kind not in setups.examine(one).kinds] == []
    assert [one.name for one in setups.correct() if setups.examine(one).kinds] == []
