"""What plugins are lent comes back as it was, or they are named; only declared, true values fill a leaderboard's columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from evaluation_samples import Planted, Says, Shelf, run
from torch import Tensor, nn

import benchbench.evaluation.lending
from benchbench.builtin.metrics.accuracy import Accuracy
from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import Evidence, Measurement
from benchbench.contract.columns import FILLABLE
from benchbench.errors import ContractError
from benchbench.evaluation.lending import Loan
from benchbench.evaluation.measuring import Columns
from benchbench.kernels.fingerprints import fingerprint, version_of, weighted_sum
from benchbench.records import Row

Deed = Callable[[Evidence], object]
LOST = "it changed the model's parameters or buffers"


@dataclasses.dataclass
class Does:
    """A metric with a side effect."""

    deed: Deed

    def measure(self, evidence: Evidence) -> Measurement:
        self.deed(evidence)
        return Measurement(values={"nothing": 0.0})


def images_of(evidence: Evidence) -> Tensor:
    return evidence.examples("test").inputs


def weight_of(evidence: Evidence) -> Tensor:
    return next(evidence.model.parameters())


def crash(evidence: Evidence) -> None:
    images_of(evidence).data.zero_()
    raise RuntimeError("out of luck")


DEEDS: dict[str, tuple[Deed, str]] = {
    "zeroes images": (lambda e: images_of(e).zero_(), "it changed the test images in place"),
    "zeroes one image": (lambda e: images_of(e)[3].zero_(), "it changed the test images in place"),
    "zeroes images through .data": (lambda e: images_of(e).data.zero_(), "it changed the test images in place"),
    "zeroes images through NumPy": (lambda e: images_of(e).numpy().fill(0), "it changed the test images in place"),
    "swaps images through NumPy": (
        lambda e: images_of(e).numpy().__setitem__(slice(0, 2), images_of(e).numpy()[[1, 0]]),
        "it changed the test images in place",
    ),
    "alters training images": (lambda e: e.examples("train").inputs.add_(1), "it changed the train images in place"),
    "alters labels": (lambda e: e.examples("test").labels.zero_(), "it changed the test labels in place"),
    "alters training labels": (lambda e: e.examples("train").labels.numpy().fill(0), "it changed the train labels"),
    "changes weights": (lambda e: torch.no_grad()(lambda: weight_of(e).mul_(2))(), LOST),
    "changes weights through .data": (lambda e: weight_of(e).data.mul_(2), LOST),
    "changes weights through NumPy": (lambda e: weight_of(e).numpy().fill(0), LOST),
    "puts other weights": (lambda e: setattr(weight_of(e), "data", weight_of(e) * 2), LOST),
    "replaces a parameter": (lambda e: setattr(e.model[-1], "bias", nn.Parameter(torch.ones(4))), LOST),  # type: ignore[index]
    "trains": (lambda e: e.model.train(), "it left the model in training mode"),
    "unfreezes": (lambda e: e.model.requires_grad_(True), "it left the model's parameters unfrozen"),
    "leaves a hook": (lambda e: e.model.register_forward_hook(lambda *_: None), "it left hooks on the model"),
    "sets the dtype": (lambda e: torch.set_default_dtype(torch.float64), "it left torch's default dtype"),
    "forbids gradients": (lambda e: torch.set_grad_enabled(False), "it left torch's default dtype, gradient mode"),
    "changes predictions": (lambda e: e.prediction("test").zero_(), "it changed the predictions on test"),  # type: ignore[attr-defined]
    "changes candidates": (lambda e: e.attacked("test").candidates.zero_(), "it changed the candidates"),  # type: ignore[attr-defined]
    "crashes after it": (crash, "it changed the test images in place"),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_metric_that_changes_what_it_was_lent_is_named_and_nothing_of_it_is_kept(deed: str) -> None:
    does, message = DEEDS[deed]
    shelf = Shelf()
    with pytest.raises(ContractError, match=f"metric 'vandal': {message}"):
        run(metrics={"vandal": Does(does), "accuracy": Accuracy()}, cache=shelf)
    assert not any(key.startswith("metric") for key in shelf.parts)
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)


ATTACKS: dict[str, tuple[Callable[[nn.Module, Tensor, Tensor], Any], str]] = {
    "weights in place": (lambda m, x, c: (torch.no_grad()(lambda: next(m.parameters()).add_(1))(), c)[1], LOST),
    "weights through NumPy": (lambda m, x, c: (next(m.parameters()).numpy().fill(0), c)[1], LOST),
    "a hook": (lambda m, x, c: (m.register_forward_pre_hook(lambda *_: None), c)[1], "it left hooks on the model"),
}


@pytest.mark.parametrize("deed", ATTACKS)
def test_attack_that_changes_the_model_is_named_and_nothing_of_it_is_kept(deed: str) -> None:
    does, message = ATTACKS[deed]
    shelf = Shelf()
    with pytest.raises(ContractError, match=f"attack 'planted' on test: {message}"):
        run(attack=Planted(does), attack_name="planted", cache=shelf)
    assert not any(key.startswith("attack") for key in shelf.parts)


def test_attack_that_alters_its_labels_is_named() -> None:
    class Relabels:
        def perturb(self, model: nn.Module, images: Tensor, labels: Tensor, **_: object) -> Tensor:
            labels.fill_(0)
            return images

    with pytest.raises(ContractError, match=r"attack 'relabels' on test: it changed the image or label of example \d+"):
        run(attack=Relabels(), attack_name="relabels")


def test_metrics_that_only_look_are_not_blamed() -> None:
    def look(evidence: Evidence) -> None:
        evidence.robust("train").fill_(False)  # an answer of its own
        for images, labels, _ in evidence.batches("test", "look"):
            evidence.model(images.mul_(0.5))
            labels.zero_()

    honest = run()
    outcome = run(metrics={"looks": Does(look), "accuracy": Accuracy()})
    assert outcome.values["test_accuracy"] == honest.values["test_accuracy"]


def test_digests_of_a_device_are_compared_at_the_end_and_name_the_first_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_a_device(tensors: Any) -> Tensor:
        return sum((weighted_sum(t.detach().reshape(-1).view(torch.uint8)) for t in tensors), torch.tensor(0))

    monkeypatch.setattr(benchbench.evaluation.lending, "fingerprint", on_a_device)
    model, images = nn.Linear(2, 2).requires_grad_(False), torch.rand(5, 2)
    loan = Loan(model, {"test images": images})
    loan.inspect("metric 'honest'")
    loan.settle()
    loan.inspect("metric 'honest'")
    images.data[2] = images.data[3]
    loan.inspect("metric 'vandal'")
    loan.inspect("metric 'late'")
    with pytest.raises(ContractError, match="metric 'vandal': it changed the test images in place"):
        loan.settle()


@pytest.mark.parametrize("digest", [lambda t: fingerprint([t]), lambda t: int(weighted_sum(t.view(torch.uint8)))])
def test_digest_tells_any_byte_and_any_order(digest: Callable[[Tensor], int]) -> None:
    values = torch.arange(100, dtype=torch.uint8)
    digests = {digest(values), digest(values.flip(0)), digest(values.roll(1))}
    for place in range(100):
        changed = values.clone()
        changed[place] ^= 128
        digests.add(digest(changed))
    assert len(digests) == 103
    assert digest(values) == digest(values.clone())


def test_digest_is_of_the_content_in_any_layout_type_and_size() -> None:
    images = torch.rand(3, 4, 5, 6)
    assert fingerprint([images]) == fingerprint([images.to(memory_format=torch.channels_last)])
    many = torch.arange(2**23, dtype=torch.int32).reshape(2**12, 2, -1)[:, 0]  # a view, in several pieces
    before = fingerprint([many])
    many.data[-1, -1] = 0
    assert fingerprint([many]) != before
    odd = [torch.tensor(1.5), torch.zeros(0, 3), torch.ones(3, dtype=torch.bool), torch.ones(2, dtype=torch.bfloat16)]
    assert len({fingerprint([tensor]) for tensor in odd}) == 4


def test_version_changes_with_a_write_to_a_view_and_stays_with_a_look() -> None:
    values = torch.arange(4.0)
    before = version_of(values)
    assert (values * 2).sum() == 12.0
    assert version_of(values) == before
    values[1:].zero_()
    assert version_of(values) != before
    with torch.inference_mode():
        assert version_of(torch.zeros(2))[0] == 0


def filling(metric: Any, *fills: str) -> Any:
    columns = Columns(fills={"odd": fills}, reserved={field.name for field in dataclasses.fields(Row)})
    return run(metrics={"odd": metric}, columns=columns)


ONES = {"lipschitz": [1.0] * 40}
UNDECLARED = "of the leaderboard, which its offer does not declare"


@pytest.mark.parametrize(
    ("answer", "fills", "message"),
    [
        (
            Measurement(values={"test_lipschitz": 1.0}, per_example=ONES),
            (),
            f"the column 'test_lipschitz' {UNDECLARED}",
        ),
        (Measurement(values={"test_accuracy": 1.0}), ("test_lipschitz",), f"the column 'test_accuracy' {UNDECLARED}"),
        (
            Measurement(values={"x": 1.0}, per_example=ONES),
            (),
            "'lipschitz' of 'test_lipschitz', which its offer does not",
        ),
        (
            Measurement(values={"test_accuracy_low": 0.1}),
            (),
            "'test_accuracy_low' of the leaderboard, which no metric fills",
        ),
        (Measurement(values={"train_seconds": 0.1}), (), "'train_seconds' of the leaderboard, which no metric fills"),
        (Measurement(values={"seed": 1.0}), ("seed",), "'seed' of the leaderboard, which no metric fills"),
        (
            Measurement(values={"x": 1.0}, per_example={"robust": [1.0] * 40}),
            (),
            "column 'robust', which is the host's",
        ),
        (
            Measurement(values={"test_accuracy": 0.123}),
            ("test_accuracy",),
            "test_accuracy is 0.123, but the examples give",
        ),
        (Measurement(values={"adv_train_accuracy": 7.0}), ("adv_train_accuracy",), "is 7, but the examples give"),
        (Measurement(values={"gap": 0.9}), ("gap",), "gap is 0.9, but the examples give"),
        (
            Measurement(values={"test_lipschitz": 2.0}, per_example=ONES),
            ("test_lipschitz",),
            "is 2, but the examples give 1",
        ),
        (
            Measurement(values={"test_lipschitz": 2.0}),
            ("test_lipschitz",),
            "without the per-example column 'lipschitz'",
        ),
        (
            Measurement(values={"test_lipschitz": -1.0}, per_example={"lipschitz": [-1.0] * 40}),
            ("test_lipschitz",),
            "test_lipschitz is -1, expected at least 0",
        ),
    ],
)
def test_column_that_is_not_declared_or_not_true_is_refused(
    answer: Measurement, fills: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ContractError, match=f"metric 'odd': .*{message}"):
        filling(Says(answer), *fills)


def test_column_that_is_declared_and_true_is_filled() -> None:
    assert filling(Accuracy(), "train_accuracy", "test_accuracy").values == run(metrics={"a": Accuracy()}).values
    outcome = filling(LocalLipschitzness(), "test_lipschitz", "test_lipschitz_best")
    assert outcome.values["test_lipschitz_best"] >= outcome.values["test_lipschitz"] > 0.0
    assert filling(Says(Measurement(values={"own_value": 3.0}))).values == {"own_value": 3.0}


def test_every_measure_of_the_leaderboard_is_filled_by_metrics_or_computed_by_the_host() -> None:
    measures = {field.name for field in dataclasses.fields(Row) if field.type == "float | None"}
    computed = {f"{name}_{end}" for name in FILLABLE for end in ("low", "high")} | {"train_seconds", "evaluate_seconds"}
    computed |= {"train_epsilon", "dropout"}  # identity
    assert measures - computed == {*FILLABLE}
