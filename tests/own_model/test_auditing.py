"""Claims about models whose robust accuracy is known; a sample of ``python -m benchmarks.overclaims``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from run_processes import EXHAUSTIVE
from scipy.stats import binom
from torch import Tensor, nn

import benchbench
from benchbench.builtin.attacks.autoattack.apgd import Apgd
from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.contract import DatasetSplits, Examples, KeyedGenerator, Threat
from benchbench.data import LoadedDataset
from benchbench.errors import OptionError, StorageError, UsageError
from benchbench.own_model.escalation import attempts, straight_through
from benchbench.own_model.planting import count_found
from benchbench.own_model.report import LEVEL, LOOKS, AuditReport
from benchbench.records.arrays import read_unchecked_arrays

ROOT = Path(__file__).resolve().parents[2]
DIGITS = {"name": "digits", "scale": 1}


@pytest.fixture
def overclaims(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.overclaims

    return benchmarks.overclaims


def entry(overclaims: Any, name: str) -> Any:
    (found,) = [one for one in overclaims.ENTRIES if one.name == name]
    return found


@pytest.mark.parametrize("name", ["quantised", "dithered"])
def test_overclaim_is_refuted(overclaims: Any, name: str) -> None:
    report = overclaims.judge(entry(overclaims, name), examples=128).report
    assert report.refuted
    assert report.p_value <= LEVEL
    assert report.left  # it stops once the claim is refuted


def test_honest_claim_is_not_refuted_and_every_attack_passes_its_unit_test(overclaims: Any) -> None:
    report = overclaims.judge(entry(overclaims, "three-classes"), examples=40).report
    assert not report.refuted
    assert not report.left
    tested = {one.attack: (one.found, one.planted) for one in report.tried if one.planted}
    assert tested == dict.fromkeys(("apgd-ce", "apgd-t", "straight-through", "square", "restarts"), (10, 10))


def test_witnesses_are_kept_and_break_the_model_again(overclaims: Any, tmp_path: Path) -> None:
    case = entry(overclaims, "quantised").make()
    threat, file = case.threat, tmp_path / "witnesses.parquet"
    report = benchbench.audit(case.model, accuracy=0.97, dataset=DIGITS, threat=threat, images=file, n_test=128)
    stored = read_unchecked_arrays(file)
    assert stored is not None
    index, images = torch.from_numpy(stored["index"]), torch.from_numpy(stored["image"])
    clean = case.test.inputs[index].float() / 255
    assert len(index) == int((~report.robust).sum()) > 10
    assert bool((case.model(images).argmax(dim=1) != case.test.labels[index]).all())
    assert float((images - clean).abs().max()) <= threat.epsilon + 1e-5


class Guessing(nn.Module):
    """The right one of two classes by the brightness of a corner, in 70 of 100 calls, whatever the image is."""

    def forward(self, images: Tensor) -> Tensor:
        right = torch.rand(len(images)) < 0.7
        answer = nn.functional.one_hot((self.labels(images) ^ ~right).long(), 2).float()
        return answer + 0.0 * images.flatten(1).sum(dim=1, keepdim=True)

    def labels(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, 0] > 0.5


class GuessingTogether(Guessing):
    """One draw for a whole batch, as random resizing has it: right on all of its images, or on none."""

    def forward(self, images: Tensor) -> Tensor:
        right = torch.rand(()) < 0.7
        answer = nn.functional.one_hot((self.labels(images) ^ ~right).long(), 2).float()
        return answer + 0.0 * images.flatten(1).sum(dim=1, keepdim=True)


@pytest.fixture
def corners() -> tuple[str, LoadedDataset]:
    labels = torch.arange(120) % 2
    inputs = torch.where(labels == 1, 255, 0).to(torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    examples = Examples(inputs=inputs, labels=labels)
    return "corners", LoadedDataset(splits=DatasetSplits(train=examples, test=examples, classes=("a", "b")), digest="")


@pytest.mark.parametrize("model", [Guessing(), GuessingTogether()], ids=["each", "batch"])
def test_luck_of_draws_does_not_refute_a_claim_about_a_random_model(
    model: nn.Module, corners: tuple[str, LoadedDataset]
) -> None:
    for seed in range(2):  # the mean over draws is 0.7 whatever the candidate is
        report = benchbench.audit(model, accuracy=0.7, dataset=corners, threat=Threat(epsilon=0.1), seed=seed)
        assert "random-model" in report.flags
        assert not report.refuted
        assert report.bound == pytest.approx(0.63, abs=0.12)  # the lowest of seven looks
    assert benchbench.audit(model, accuracy=0.9, dataset=corners, threat=Threat(epsilon=0.1)).refuted


@pytest.mark.parametrize(("flags", "looks"), [((), 1), (("random-model",), LOOKS)])
def test_p_value_is_that_of_the_exact_binomial_test(flags: tuple[str, ...], looks: int) -> None:
    robust = torch.arange(100) < 55
    report = AuditReport(
        first=None,  # type: ignore[arg-type]
        flags=flags,
        claimed=0.7,
        tried=(),
        left=(),
        robust=robust,
        witnesses=torch.zeros(100, 1),
    )
    assert report.p_value == pytest.approx(looks * sum(binom.pmf(k, 100, 0.7) for k in range(56)))
    assert report.refuted == (report.p_value <= LEVEL)


class Rounded(nn.Module):
    """A linear model behind a step, which passes no gradient."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.line = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.line((images.flatten(1) * 20).round() / 20)  # type: ignore[no-any-return]


def test_attack_that_cannot_find_a_planted_answer_is_reported() -> None:
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    threat, draws, model = Threat(epsilon=0.1), KeyedGenerator(0, torch.arange(6)), Rounded().requires_grad_(False)
    assert count_found(Apgd(steps=10), model, images, threat, draws)[0] <= 2  # those near its random start
    assert count_found(Square(queries=500), model, images, threat, draws) == (6, 6)
    through = attempts("linf", (), lambda: model)["straight-through"]
    assert count_found(through, model, images, threat, draws) == (6, 6)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: (x * 5).round() / 5,
        lambda x: x.floor() + torch.sign(x - 0.5),
        lambda x: (x > 0.5).float(),
        lambda x: (x <= 0.5).to(torch.float32),
        lambda x: x.detach() * 2,
    ],
)
def test_straight_through_keeps_values_and_gives_a_gradient(change: Any) -> None:
    images = torch.linspace(0.05, 0.9, 12).view(3, 4).requires_grad_(True)
    through = straight_through(type("Step", (nn.Module,), {"forward": lambda self, images: change(images)})(), images)
    assert torch.allclose(through, change(images.detach()))
    (gradient,) = torch.autograd.grad(through.sum(), images)
    assert bool((gradient != 0).any(dim=1).all())


def test_audit_in_l1_and_one_without_time_say_what_they_tried() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    report = benchbench.audit(model, accuracy=0.001, dataset=DIGITS, norm="l1", epsilon=1.0, n_test=20, budget="1m")
    assert [one.attack for one in report.tried[1:]] + list(report.left) == [*attempts("l1", report.flags, nn.Identity)]
    report = benchbench.audit(model, accuracy=0.001, dataset=DIGITS, n_test=20, budget=1e-9)
    assert (len(report.tried), report.refuted) == (1, False)
    assert f"not tried: {', '.join(report.left)}" in repr(report)


@pytest.mark.parametrize("images", ["", ".", "file/images.parquet"])
def test_images_that_cannot_be_written_are_told_before_the_attacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()

    def never(_: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    with pytest.raises(StorageError, match="a folder"):
        benchbench.audit(never, accuracy=0.5, dataset=DIGITS, images=images)


def test_nothing_is_judged_if_the_claim_or_the_setup_is_impossible() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for accuracy in (0.0, 62.0):
        with pytest.raises(UsageError, match="above 0 and at most 1"):
            benchbench.audit(model, accuracy=accuracy, dataset=DIGITS)
    with pytest.raises(UsageError, match="did you mean 1/255"):
        benchbench.audit(model, accuracy=0.5, dataset=DIGITS, epsilon=1.0, n_test=50)
    with pytest.raises(OptionError):
        benchbench.audit(model, accuracy=0.5, dataset=DIGITS, epsilon=8.0, n_test=50)


@pytest.mark.slow
@pytest.mark.skipif(not EXHAUSTIVE, reason="the whole collection takes minutes")
@pytest.mark.timeout(3600)
def test_hardly_any_overclaim_survives_and_no_honest_claim_is_refuted(overclaims: Any) -> None:
    refuted = {one: overclaims.judge(one, budget="30m").report.refuted for one in overclaims.ENTRIES}
    assert [one.name for one in refuted if not one.planted and refuted[one]] == []
    assert len([one.name for one in refuted if one.planted and not refuted[one]]) <= 2
