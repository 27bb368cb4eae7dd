"""The evaluation of a model: verdicts, keyed draws, resumption, and plugins that break their contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from evaluation_samples import CLASSES, Planted, Says, Shelf, examples, network, run
from torch import Tensor, nn

from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.metrics.accuracy import Accuracy, AdversarialAccuracy
from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import Attack, Examples, KeyedGenerator, Measurement, Threat
from benchbench.errors import ContractError
from benchbench.events import EvaluationProgress, Event
from benchbench.testing.toys import smooth_toy


def test_robust_means_correct_without_and_under_attack() -> None:
    outcome = run()
    columns, labels = outcome.per_example, outcome.per_example["label"]
    predicted = network()(outcome.witnesses).argmax(dim=1)
    assert torch.equal(columns["adversarial_prediction"], predicted)
    assert torch.equal(columns["correct"], columns["prediction"] == labels)
    assert torch.equal(columns["robust"], columns["correct"] & (predicted == labels))
    assert 0 < int(columns["robust"].sum()) < int(columns["correct"].sum()) < 40
    assert outcome.values["adv_test_accuracy"] == int(columns["robust"].sum()) / 40
    assert outcome.values["gap"] == outcome.values["train_accuracy"] - outcome.values["test_accuracy"]
    assert torch.equal(columns["index"], torch.arange(40) * 3)
    assert outcome.flags == ()


def test_witnesses_of_misclassified_examples_are_the_images_themselves() -> None:
    outcome = run()
    wrong = ~outcome.per_example["correct"]
    assert torch.equal(outcome.witnesses[wrong], (examples(40, 20).inputs.float() / 255)[wrong])
    assert outcome.witnesses.dtype == torch.float32


@pytest.mark.parametrize("attack", [Pgd(), MultiTargeted()])
def test_the_batch_size_changes_nothing(attack: Attack) -> None:
    outcomes = [run(attack=attack, batch_size=size) for size in (1, 7, 64)]
    for outcome in outcomes[1:]:
        assert torch.equal(outcome.per_example["robust"], outcomes[0].per_example["robust"])
        assert outcome.values == outcomes[0].values
        torch.testing.assert_close(outcome.witnesses, outcomes[0].witnesses, rtol=0, atol=1e-5)


def test_examples_are_attacked_alike_whichever_others_are_evaluated() -> None:
    test = examples(40, 20)
    half = Examples(inputs=test.inputs[20:], labels=test.labels[20:])
    few = run(test=half, test_rows=torch.arange(20, 40) * 3)
    torch.testing.assert_close(few.witnesses, run().witnesses[20:], rtol=0, atol=1e-5)


def test_seeds_and_only_seeds_change_the_start() -> None:
    assert torch.equal(run().witnesses, run(attack_name="another name").witnesses)
    assert not torch.equal(run().witnesses, run(seed=1, attack=Pgd(steps=1)).witnesses)


def test_examples_of_one_number_in_both_splits_draw_differently() -> None:
    drawn: list[tuple[float, ...]] = []

    class Noting(Pgd):
        def perturb(self, model: nn.Module, images: Tensor, labels: Tensor, **given: Any) -> Tensor:
            drawn.append(tuple(given["generator"].child("noted").uniform().tolist()))
            return super().perturb(model, images, labels, **given)

    test = examples(40, 20)
    run(train=test, test=test, train_rows=torch.arange(40), test_rows=torch.arange(40), attack=Noting())
    of_test, of_train = drawn
    assert not set(of_test) & set(of_train)


class Starting(Pgd):
    """Notes where it may begin, by example."""

    takes_starts = True

    def __init__(self) -> None:
        super().__init__()
        self.starts: dict[tuple[float, ...], Tensor] = {}

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, starts: Tensor | None = None, **given: Any
    ) -> Tensor:
        assert starts is not None
        self.starts |= {tuple(image.flatten().tolist()): start for image, start in zip(images, starts)}
        return super().perturb(model, images, labels, **given)


def test_attack_may_begin_at_an_image_that_is_predicted_as_another_class(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = Starting(), Starting()
    outcome = run(attack=whole)
    monkeypatch.setattr("benchbench.evaluation.subject.EXAMPLES_PER_SHARD", 16)
    run(attack=parts, batch_size=5)
    assert whole.starts.keys() == parts.starts.keys()
    assert all(torch.equal(start, parts.starts[image]) for image, start in whole.starts.items())
    test = examples(40, 20)
    pixels = test.inputs.float() / 255
    labels = {tuple(image.flatten().tolist()): int(label) for image, label in zip(pixels, test.labels)}
    found = [(labels[image], start) for image, start in whole.starts.items() if image in labels]
    assert len(found) == int(outcome.per_example["correct"].sum()) > 10
    for label, start in found:
        assert int(network()(start[None]).argmax()) != label
        assert (pixels == start).flatten(1).all(1).any()  # an image of the split
    assert len({tuple(start.flatten().tolist()) for _, start in found}) > 5


def test_where_every_image_is_predicted_alike_an_attack_begins_at_the_image() -> None:
    attack, model = Starting(), network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # class 0 everywhere
    run(attack=attack, model=model, metrics={"adversarial-accuracy": AdversarialAccuracy()})
    assert attack.starts
    assert all(tuple(start.flatten().tolist()) == image for image, start in attack.starts.items())


def test_queries_count_examples_and_gradients() -> None:
    outcome = run()
    correct = int(outcome.per_example["correct"].sum())
    assert outcome.queries == {"test_forward": 10 * correct, "test_gradient": 10 * correct}


def test_an_epsilon_of_zero_leaves_accuracy_as_it_is() -> None:
    outcome = run(threat=Threat(epsilon=0.0), metrics={"a": Accuracy(), "b": AdversarialAccuracy()})
    assert outcome.values["adv_test_accuracy"] == outcome.values["test_accuracy"]


def test_the_model_is_given_back_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(), nn.Flatten(), nn.Linear(64, CLASSES)).train()
    model[1].eval()
    weight = model[0].weight.detach().clone()
    strides = model[0].weight.stride()
    run(model=model, metrics={})
    assert [module.training for module in model] == [True, False, True, True]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model[0].weight, weight)
    assert model[0].weight.stride() == strides


def test_progress_is_told_for_each_purpose() -> None:
    events: list[Event] = []
    run(listener=events.append, batch_size=16)
    progress = [event for event in events if isinstance(event, EvaluationProgress)]
    assert {event.purpose for event in progress} >= {"accuracy on train", "accuracy on test", "pgd-10 on test"}
    assert all(0 < event.done <= event.total for event in progress)
    assert EvaluationProgress(purpose="pgd-10 on train", done=30, total=30) in progress


def test_an_interrupted_evaluation_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchbench.evaluation.subject.EXAMPLES_PER_SHARD", 16)
    metrics = {"lipschitz": LocalLipschitzness(), "adversarial-accuracy": AdversarialAccuracy()}
    straight = run(metrics=metrics, batch_size=8)
    shelf = Shelf()

    def interrupt(event: Event) -> None:
        if isinstance(event, EvaluationProgress) and event.purpose == "pgd-10 on train" and event.done > 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(metrics=metrics, batch_size=8, cache=shelf, listener=interrupt)
    assert {"clean/test", "attack/test/00000032", "attack/train/00000000", "metric/lipschitz/00000016"} <= set(
        shelf.parts
    )
    assert "attack/train/00000016" not in shelf.parts
    counted: list[Event] = []
    resumed = run(metrics=metrics, batch_size=8, cache=shelf, listener=counted.append)
    assert resumed.values == straight.values
    assert torch.equal(resumed.witnesses, straight.witnesses)
    assert resumed.queries == straight.queries
    assert all(torch.equal(resumed.per_example[key], straight.per_example[key]) for key in straight.per_example)
    assert not any(isinstance(e, EvaluationProgress) and e.purpose == "lipschitz on test" for e in counted)


def leave_ball(_: nn.Module, images: Tensor, candidates: Tensor) -> Tensor:
    candidates[2] += torch.where(candidates[2] > 0.5, -0.15, 0.15)
    return candidates


def leave_box(_: nn.Module, images: Tensor, candidates: Tensor) -> Tensor:
    return candidates - 0.09


def not_a_number(_: nn.Module, images: Tensor, candidates: Tensor) -> Tensor:
    candidates[1, 0, 0, 0] = torch.nan
    return candidates


def change_images(_: nn.Module, images: Tensor, candidates: Tensor) -> Tensor:
    images.data[3] += 0.01
    return candidates


def flip_mode(model: nn.Module, images: Tensor, candidates: Tensor) -> Tensor:
    model.train()
    return candidates


def unfreeze(model: nn.Module, images: Tensor, candidates: Tensor) -> Tensor:
    model.requires_grad_(True)
    return candidates


def change_weights(model: nn.Module, images: Tensor, candidates: Tensor) -> Tensor:
    for parameter in model.parameters():
        parameter.data.add_(0.01)
    return candidates


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        (leave_ball, r"example 9 leaves the linf ball of radius 0\.1 by 0\.05"),
        (leave_box, r"the candidate of example \d+ leaves the box \[0\.0, 1\.0\] by 0\.0"),
        (not_a_number, r"the candidate of example 6 is not finite"),
        (change_images, r"changed the image or label of example 12 in place"),
        (flip_mode, r"left the model in training mode"),
        (unfreeze, r"left the model's parameters unfrozen"),
        (change_weights, r"changed the model's parameters or buffers"),
        (lambda m, x, c: c.double(), r"expected candidates as torch.float32 .* got torch.float64"),
        (lambda m, x, c: c[:, :, :5], r"expected candidates .* of shape \(\d+, 1, 6, 6\)"),
        (lambda m, x, c: None, r"got NoneType"),
    ],
)
def test_a_planted_attack_is_caught_and_named(deed: Callable[[nn.Module, Tensor, Tensor], Any], message: str) -> None:
    shelf = Shelf()
    with pytest.raises(ContractError, match=rf"attack 'planted' on test: .*{message}"):
        run(attack=Planted(deed), attack_name="planted", cache=shelf)
    assert not any(key.startswith("attack") for key in shelf.parts)


class Broken(nn.Module):
    """Logits of an image whose first pixel is brighter than a half are not finite."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        bright = images[:, 0, 0, :1] > images.new_tensor(0.5)
        return torch.where(bright, torch.nan, self.inner(images))


def test_logits_that_are_not_finite_name_the_example() -> None:
    bright = (examples(40, 20).inputs[:, 0, 0, 0].float() / 255 > 0.5).nonzero()[0, 0]
    message = rf"the model on clean test examples: the logits of example {int(bright) * 3} are not finite"
    with pytest.raises(ContractError, match=message):
        run(model=Broken(network()))


def test_a_model_with_the_wrong_number_of_classes_is_named() -> None:
    with pytest.raises(ContractError, match=r"expected logits of shape \(40, 3\), got \(40, 4\)"):
        run(classes=3)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"x": 1.0}, "metric 'odd': expected a Measurement, got dict"),
        (Measurement(values={"x": float("nan")}), "metric 'odd': x is nan"),
        (Measurement(values={}, per_example={"x": [1.0]}), "metric 'odd': x has 1 values for 40 test examples"),
        (Measurement(values={"test_accuracy": 2.0}), "another metric gives a different value for 'test_accuracy'"),
    ],
)
def test_a_planted_metric_is_caught_and_named(answer: object, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        run(metrics={"accuracy": Accuracy(), "odd": Says(answer)})


class Masked(nn.Module):
    """Gradient masking: pixels are rounded to black or white before the network sees them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner((images > 0.5).float() + 0.0 * images)  # type: ignore[no-any-return]


class Detached(nn.Module):
    """Gradient masking without any path to the input."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.detach())  # type: ignore[no-any-return]


@dataclass
class Idle:
    """An attack that returns the images."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        return images.clone()


@pytest.mark.parametrize("mask", [Masked, Detached])
def test_a_gradient_masked_model_is_flagged(mask: Callable[[nn.Module], nn.Module]) -> None:
    assert "zero-gradients" in run(model=mask(network()), attack=Idle(), metrics={}).flags


def test_two_and_a_thousand_classes_are_evaluated() -> None:
    for classes in (2, 1000):
        model = smooth_toy((1, 6, 6), classes)
        inputs = examples(5, 30).inputs
        labels = model(inputs.float() / 255).argmax(dim=1)
        data = Examples(inputs=inputs, labels=labels)
        rows = torch.arange(5)
        outcome = run(
            model=model, classes=classes, train=data, test=data, train_rows=rows, test_rows=rows, attack=Pgd(steps=2)
        )
        assert outcome.values["test_accuracy"] == 1.0


def test_float_features_are_evaluated_as_they_are() -> None:
    model = nn.Linear(2, 2)
    model.load_state_dict({"weight": torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), "bias": torch.zeros(2)})
    inputs = KeyedGenerator(1, torch.arange(9)).uniform(2, low=-3.0, high=3.0)
    data = Examples(inputs=inputs, labels=model(inputs).argmax(dim=1))
    rows = torch.arange(9)
    threat = Threat(epsilon=1.0, lower=-9.0, upper=9.0)
    outcome = run(model=model, classes=2, train=data, test=data, train_rows=rows, test_rows=rows, threat=threat)
    assert outcome.values["test_accuracy"] == 1.0
    assert outcome.values["adv_test_accuracy"] < 1.0
