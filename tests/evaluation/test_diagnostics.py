"""Diagnostics on planted cases, each of which must be flagged, and on sound models, which must not be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Attack, Examples, KeyedGenerator, Threat
from benchbench.evaluation import FLAGS, Attacked, Outcome, diagnose, evaluate
from benchbench.evaluation.diagnostics import _shortfalls, examine
from benchbench.evaluation.probes import search_at_random, train_substitute
from benchbench.evaluation.signs import answers_depend_on_batch
from benchbench.evaluation.specimens import Specimens, answers_kept, from_evidence
from benchbench.evaluation.subject import borrowed, place
from benchbench.evaluation.supervision import QueryCount
from benchbench.testing.toys import LinearToy, smooth_toy

SHAPE, CLASSES, COUNT = (1, 6, 6), 4, 60
THREAT = Threat(epsilon=0.1)
BLACK_BOX = {"random-search-succeeds", "transfer-succeeds"}


def network() -> nn.Module:
    """A smooth network that answers with every class."""
    model = smooth_toy(SHAPE, CLASSES)
    with torch.no_grad():
        last = model[-1]  # type: ignore[index]
        last.weight.mul_(8.0)
        last.bias.sub_(model(KeyedGenerator(0, torch.arange(200)).uniform(*SHAPE)).mean(dim=0))
    return model


def problem() -> Examples:
    """Images whose labels are what the network says."""
    inputs = (KeyedGenerator(7, torch.arange(COUNT)).uniform(*SHAPE) * 255).to(torch.uint8)
    with torch.no_grad(), torch.random.fork_rng():
        return Examples(inputs=inputs, labels=network()(inputs.float() / 255).argmax(dim=1))


def outcome(
    model: nn.Module, attack: Attack | None = None, threat: Threat = THREAT, batch: int | None = None
) -> Outcome:
    examples, rows = problem(), torch.arange(COUNT) + 1000
    return evaluate(
        model,
        train=examples,
        test=examples,
        train_rows=rows,
        test_rows=rows,
        classes=CLASSES,
        threat=threat,
        attack=attack or Pgd(),
        attack_name="planted",
        metrics={},
        seed=5,
        device=torch.device("cpu"),
        batch_size=batch,
    )


def flags(model: nn.Module, attack: Attack | None = None, threat: Threat = THREAT) -> tuple[str, ...]:
    return outcome(model, attack, threat).flags


class Wrapped(nn.Module):
    """A defense that hides an inner model instead of making it robust."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()


class Quantised(Wrapped):
    """Gradient masking: pixels are rounded, so that the gradient is zero, and changes little else."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner((images * 50).round() / 50)  # type: ignore[no-any-return]


class Saturated(Wrapped):
    """A softmax so sure of itself that the loss and its gradient are exactly zero in float32."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images) * 1e5  # type: ignore[no-any-return]


class Stochastic(Wrapped):
    """Noise at test time, from torch's global generator as such defenses take it."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images + 0.2 * torch.randn_like(images))  # type: ignore[no-any-return]


class Misleading(Wrapped):
    """Answers like the inner model, with a gradient that points the other way."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(2 * images.detach() - images)  # type: ignore[no-any-return]


class NotANumber(Wrapped):
    """A finite answer whose gradient is not: the root of zero."""

    def forward(self, images: Tensor) -> Tensor:
        nothing = (images - images).flatten(1).sum(dim=1, keepdim=True).sqrt()
        return self.inner(images) + nothing  # type: ignore[no-any-return]


class ByBatch(Wrapped):
    """Batch norm without running statistics: the neighbours decide, too (the images' mean, as the simplest of them)."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images - images.mean(dim=0, keepdim=True) + 0.5)  # type: ignore[no-any-return]


class ByOrder(Wrapped):
    """The logits of the image before are added."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return logits + 0.5 * logits.roll(1, dims=0)


class NeverAlone(Wrapped):
    """A single example has no batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(CLASSES, track_running_stats=False, affine=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.inner(images))  # type: ignore[no-any-return]


class After(nn.Module):
    """Logits, multiplied and shifted."""

    def __init__(self, inner: nn.Module, factor: float, shift: float) -> None:
        super().__init__()
        self.inner, self.factor, self.shift = inner, factor, shift

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images) * self.factor + self.shift  # type: ignore[no-any-return]


class Idle:
    """An attack that does nothing."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        return images.clone()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Quantised(), {"zero-gradients", "loss-not-rising", "withstands-any-perturbation", *BLACK_BOX}),
        (Saturated(), {"zero-gradients", "loss-not-rising", "withstands-any-perturbation", *BLACK_BOX}),
        (Stochastic(), {"random-model"}),
        (ByBatch(), {"batch-dependent"}),
        (ByOrder(), {"batch-dependent"}),
        (NeverAlone(), {"batch-dependent"}),
        (Misleading(), {"loss-not-rising", *BLACK_BOX}),
        (NotANumber(), {"zero-gradients"}),
    ],
    ids=[
        "gradient-masked",
        "saturated-softmax",
        "stochastic",
        "batch-statistics",
        "order",
        "never-alone",
        "misleading-gradient",
        "nan-gradient",
    ],
)
def test_planted_case_is_flagged(model: nn.Module, expected: set[str]) -> None:
    assert expected <= set(flags(model))


@pytest.mark.parametrize("threat", [THREAT, Threat(norm="l2", epsilon=0.5)])
def test_sound_model_is_not_flagged(threat: Threat) -> None:
    assert flags(network(), threat=threat) == ()


def test_attack_that_moves_one_pixel_a_step_is_too_weak_for_a_wide_l1_ball() -> None:
    found = outcome(network(), threat=Threat(norm="l1", epsilon=2.0))
    assert {"margin-ascent-succeeds", "transfer-succeeds"} <= set(found.flags)
    assert found.per_example["robust"].float().mean() > 0.3  # where an ascent of the margin leaves less than a tenth


def test_linear_model_and_model_with_idle_dropout_are_not_flagged() -> None:
    weight = KeyedGenerator(3, torch.arange(CLASSES)).normal(36)
    assert flags(LinearToy(weight)) == ()
    assert flags(nn.Sequential(network(), nn.Dropout(0.5))) == ()


def test_random_model_does_not_count_as_batch_dependent() -> None:
    assert "batch-dependent" not in flags(Stochastic())


class LastOnes(Wrapped):
    """The last examples of a large batch get other logits, whoever they are."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return torch.cat([logits[:20], 2.0 * logits[20:]])


def test_answers_by_the_place_in_a_batch_are_found_though_the_first_half_is_sound() -> None:
    images = KeyedGenerator(1, torch.arange(32)).uniform(*SHAPE)
    for model, expected in ((LastOnes(), True), (network(), False)):
        specimens: Any = SimpleNamespace(model=model, images=images, candidates=images.flip(1))
        assert answers_depend_on_batch(specimens) is expected


@pytest.mark.parametrize(("broken", "expected"), [(1, set()), (2, {"x"}), (5, {"x"}), (6, {"x", "quarter-broken"})])
def test_what_probes_break_is_a_share_of_all_specimens(
    broken: int, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of twenty specimens, of which the attack broke half."""
    rows = torch.arange(20)
    images = torch.zeros(20, *SHAPE)
    specimens = Specimens(
        model=network(),
        threat=THREAT,
        images=images,
        labels=rows,
        withstood=rows < 10,
        candidates=images,
        generator=KeyedGenerator(1, rows),
        uses_gradients=True,
        known=images,
        answers=rows,
    )
    found = {"x": torch.arange(10) < broken}
    monkeypatch.setattr(
        "benchbench.evaluation.diagnostics._probe", lambda standing, **_: found if len(standing) == 10 else {}
    )
    flags, rows = _shortfalls(specimens, at_random=True)
    assert (flags, rows.tolist()) == (expected, list(range(broken)))


def test_running_statistics_and_large_logits_are_not_batch_dependent() -> None:
    norm = nn.BatchNorm2d(1)
    norm.running_mean, norm.running_var = torch.tensor([0.4]), torch.tensor([0.05])
    assert flags(nn.Sequential(norm, After(network(), 5.0, 1e4))) == flags(
        nn.Sequential(norm, After(network(), 5.0, 0.0))
    )
    assert "batch-dependent" not in flags(nn.Sequential(norm, network()))


def test_attack_that_does_nothing_is_found_out_by_attacks_without_gradients() -> None:
    assert set(flags(network(), Idle())) >= BLACK_BOX | {"quarter-broken"}


@pytest.mark.parametrize("model", [Quantised(), network(), Misleading()], ids=["quantised", "sound", "misleading"])
def test_diagnosing_again_from_what_was_stored_gives_the_same_flags(model: nn.Module) -> None:
    first = outcome(model)
    with borrowed(model):
        assert diagnose(kept(model, first)) == first.flags


def kept(model: nn.Module, found: Outcome, *, uses_gradients: bool = True) -> Attacked:
    """What an evaluation leaves behind."""
    return Attacked(
        model=model,
        threat=THREAT,
        test=place("test", problem(), found.per_example["index"], torch.device("cpu")),
        seed=5,
        prediction=found.per_example["prediction"],
        robust=found.per_example["robust"],
        candidates=found.witnesses,
        uses_gradients=uses_gradients,
    )


@pytest.mark.parametrize(
    ("model", "uses_gradients", "searched"),
    [(network(), True, False), (network(), False, True), (Quantised(), True, True), (Misleading(), True, True)],
)
@pytest.mark.sampled(2)
def test_hurried_diagnosis_searches_at_random_only_where_gradients_may_mislead(
    model: nn.Module, uses_gradients: bool, searched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked = kept(model, outcome(model, Idle()), uses_gradients=uses_gradients)  # which leaves all to the probes
    search = MagicMock(side_effect=search_at_random)
    monkeypatch.setattr("benchbench.evaluation.diagnostics.search_at_random", search)
    with borrowed(model):
        hurried = examine(attacked, hurried=True)[0]
        assert bool(search.call_count) == searched
        whole = examine(attacked)[0]
    assert hurried == (whole if searched else tuple(flag for flag in whole if flag != "random-search-succeeds"))


def test_size_of_batches_changes_no_flag() -> None:
    assert outcome(Quantised(), batch=7).flags == outcome(Quantised()).flags


def test_every_flag_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    for flag, meaning in FLAGS.items():
        assert f"| `{flag}` | {meaning} |" in page


def test_transfer_tells_masked_gradients_where_random_search_does_not_look() -> None:
    found = flags(Quantised(), threat=Threat(norm="l1", epsilon=2.0))
    assert "transfer-succeeds" in found
    assert "random-search-succeeds" not in found


def test_substitute_learns_from_answers_alone_and_the_same_each_time() -> None:
    images = KeyedGenerator(1, torch.arange(300)).uniform(*SHAPE)
    with torch.no_grad():
        answers = network()(images).argmax(dim=1)
    before = torch.random.get_rng_state()
    first, again = (train_substitute(images, answers, torch.Generator().manual_seed(3)) for _ in range(2))
    assert (first(images).argmax(dim=1) == answers).float().mean() > 0.75
    assert torch.equal(first(images), again(images))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_substitute_of_large_inputs_learns_from_fewer_answers() -> None:
    assert answers_kept(28 * 28) == 1024
    assert answers_kept(3 * 224 * 224) * 3 * 224 * 224 * 4 <= 2**28


def test_attack_without_gradients_does_not_care_about_missing_ones() -> None:
    assert flags(Quantised(), Square(queries=300)) == ()


@pytest.mark.parametrize(("gradient", "expected"), [(100, True), (50, True), (49, False), (0, False)])
def test_attack_lives_off_gradients_where_half_of_its_queries_ask_for_one(gradient: int, expected: bool) -> None:
    evidence: Any = MagicMock()
    queries = QueryCount(forward=100, gradient=gradient)
    evidence.attacked.return_value = SimpleNamespace(queries=queries, candidates=torch.zeros(1))
    assert from_evidence(evidence).uses_gradients is expected


def test_radius_of_zero_is_no_reason_for_flags() -> None:
    assert flags(network(), threat=Threat(epsilon=0.0)) == ()


def test_features_without_a_box_are_inspected_too() -> None:
    assert flags(network(), threat=Threat(epsilon=0.1, lower=float("-inf"), upper=float("inf"))) == ()
