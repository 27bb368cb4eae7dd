"""Recognise a wrong set-up: a model that is right under another reading of inputs or labels.

A few images are classified as they are and, for instance, normalised or with swapped channels. A mistake is reported if a
reading removes more errors than for a correct set-up, however weak the model is. It changes no number of the evaluation.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from benchbench.contract import Examples, Threat, as_model_input
from benchbench.errors import PLUGIN_FAULTS
from benchbench.evaluation.subject import borrowed, default_batch_size, in_best_layout
from benchbench.kernels.determinism import own_draws

FEW, MOST = 128, 768  # images for all readings; for those that help on them
SECONDS = 6.0  # after which no further reading is tried
# Share of the errors that must not be left; share of the way from guessing to no error that must be made. Contrast may help a
# weak model: one that adversarial training made useless rose from 10% to 51%. Exchanged places and labels do not.
CONTRAST, PLACES, LABELS = (0.7, 0.5), (0.9, 0.25), (0.7, 0.25)
DEVIATIONS = 4.0  # of an error count, beyond which it is no chance
MISSING, TWICE = "normalisation is missing", "normalisation is applied twice"
SOFTMAX, TRAINING = "a softmax at the end", "training mode"  # which a defense may mean
_NEAR = 64  # images whose distances are compared with the radius
_SMALLEST = 1 / (8 * 255)  # an L-inf radius of an eighth of a grey level
_STATISTICS = {"(0.5, 0.5)": ((0.5,) * 3, (0.5,) * 3), "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}
_TRAINED = {getattr(functional, name) for name in ("dropout", "dropout1d", "dropout2d", "alpha_dropout", "batch_norm")}


@dataclass(frozen=True, kw_only=True)
class SetupMistake:
    """A likely mistake in how a model is used: its kind, the evidence, and the mend."""

    kind: str
    evidence: str
    mend: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.evidence}; {self.mend}"


@dataclass(frozen=True)
class _Reading:
    """Another reading of the images, and the mistake that it would show."""

    kind: str
    mend: str
    read: Callable[[Tensor], Tensor]
    bar: tuple[float, float] = CONTRAST


def find_mistakes(
    model: nn.Module, test: Examples, train: Examples, prediction: Tensor, threat: Threat, device: torch.device
) -> tuple[SetupMistake, ...]:
    """Find mistakes in the set-up of a model that maps images to logits.

    Args:
        test: the evaluated examples; `train` some training examples, for their mean and deviation.
        prediction: int64 (N,) on the CPU, the classes predicted for the test examples.
    """
    few = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:MOST]  # not in the order of classes
    images, labels = as_model_input(test.inputs[few].to(device)), test.labels[few].to(device)
    with own_draws(device), borrowed(model), torch.no_grad(), _Watch() as watch:
        logits, again = (_ask(model, images[:FEW]) for _ in range(2))
        found = [*_of_answers(logits, watch.training)]
        repeated = torch.allclose(
            logits, again, atol=1e-3 * float(logits.abs().max())
        )  # contrast drowns a model's noise
        if images.dim() == 4 and repeated:
            readings = _readings(as_model_input(train.inputs.to(device)).double(), images.shape[1:])
            found += _of_inputs(partial(_right, model, images, labels), readings, logits.shape[1])
    found += _of_labels(prediction, test.labels, logits.shape[1])
    found += _of_radius(images[:_NEAR], labels[:_NEAR], threat, pixels=test.inputs.dtype == torch.uint8)
    return tuple(found)


def _ask(model: nn.Module, images: Tensor) -> Tensor:
    parts = torch.split(images, default_batch_size(images.device))
    return torch.cat([model(in_best_layout(part)).float() for part in parts])


def _readings(train: Tensor, shape: torch.Size) -> Iterator[_Reading]:
    """Readings of images of a shape (C, H, W); `train` gives their mean and deviation."""
    own = train.mean(dim=(0, 2, 3)).tolist(), train.std(dim=(0, 2, 3)).clamp(min=0.01).tolist()
    for whose, statistics in {"the dataset's": own, **_STATISTICS}.items():
        if len(statistics[0]) >= shape[0]:
            m, s = (train.new_tensor(one[: shape[0]]).float()[:, None, None] for one in statistics)
            formula = f"(images - mean) / deviation, {whose}: {_numbers(m)} and {_numbers(s)}"
            yield _Reading(MISSING, f"normalise inside the model: {formula}", partial(_normalised, m=m, s=s))
            yield _Reading(TWICE, f"normalise once, not twice: {formula}", partial(_normalised, m=-m / s, s=1 / s))
    mend = "pass lambda images: model(255 * images), or remove the division by 255 inside the model"
    yield _Reading("the model expects pixels from 0 to 255", mend, lambda images: 255 * images)
    if shape[0] == 3:
        mend = "pass lambda images: model(images.flip(1))"
        yield _Reading("the model expects BGR", mend, lambda images: images.flip(1), PLACES)
    if shape[1] == shape[2]:
        mend = "pass lambda images: model(images.transpose(2, 3))"
        yield _Reading("images are transposed", mend, lambda images: images.transpose(2, 3), PLACES)


def _normalised(images: Tensor, m: Tensor, s: Tensor) -> Tensor:
    return (images - m) / s


def _numbers(values: Tensor) -> str:
    return ", ".join(dict.fromkeys(f"{float(value):.4g}" for value in values.flatten()))


def _right(model: nn.Module, images: Tensor, labels: Tensor, read: Callable[[Tensor], Tensor], part: slice) -> Tensor:
    """Which of some images are right under a reading; none if the model refuses it."""
    right = torch.zeros_like(labels[part], dtype=torch.bool)
    with suppress(*PLUGIN_FAULTS):
        right |= _ask(model, read(images[part])).argmax(dim=1) == labels[part]
    return right


def _of_inputs(
    right: Callable[[Callable[[Tensor], Tensor], slice], Tensor], readings: Iterable[_Reading], classes: int
) -> Iterator[SetupMistake]:
    """Yield the reading that helps most, if one helps."""
    began, best, few, rest = time.monotonic(), 0, slice(FEW), slice(FEW, None)
    unread, found = right(lambda images: images, few), list[SetupMistake]()
    for reading in readings:
        read = right(reading.read, few)
        if int(read.sum()) > int(unread.sum()):
            as_is = torch.cat([unread, right(lambda images: images, rest)])
            read = torch.cat([read, right(reading.read, rest)])
            if int(read.sum()) > best and is_better(as_is, read, reading.bar, classes):
                best, evidence = int(read.sum()), _compared(as_is, read, "under another reading")
                found = [SetupMistake(kind=reading.kind, evidence=evidence, mend=reading.mend)]
        if time.monotonic() - began > SECONDS:
            break
    yield from found


def is_better(as_is: Tensor, read: Tensor, bar: tuple[float, float], classes: int) -> bool:
    """Whether a reading leaves less than a share of the errors, beyond chance, and is no guess.

    The sum of left * (error as is) - (error under the reading) over the images is compared with its standard deviation.
    """
    left, solved = bar
    excess = left * (~as_is).double() - (~read).double()
    guessed = 1 / classes + solved * (1 - 1 / classes)
    return float(read.double().mean()) > guessed and float(excess.sum()) > DEVIATIONS * float(
        excess.square().sum().sqrt()
    )


def _compared(as_is: Tensor, read: Tensor, how: str) -> str:
    shares = f"{float(as_is.double().mean()):.1%} of {len(as_is):,} images are right, {float(read.double().mean()):.1%}"
    return f"{shares} {how}"


class _Watch(TorchFunctionMode):
    """Notes which layers are called as in training."""

    def __init__(self) -> None:
        super().__init__()
        self.training: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See `torch.overrides`."""
        if func in _TRAINED:
            call = inspect.signature(func).bind(*args, **(kwargs or {}))
            call.apply_defaults()
            if call.arguments["training"] and call.arguments.get("running_mean", args) is not None:
                self.training.add(func.__name__)
        return func(*args, **(kwargs or {}))


def _of_answers(logits: Tensor, training: set[str]) -> Iterator[SetupMistake]:
    between = bool((logits >= 0).all() and ((logits > 0) & (logits < 1)).any())  # votes are 0 or 1
    if between and float((logits.sum(dim=1) - 1).abs().max()) < 1e-3:
        mend = "remove the softmax: attacks need logits, since the gradient vanishes where a probability is 1"
        yield SetupMistake(kind=SOFTMAX, evidence="the outputs are probabilities", mend=mend)
    if training:
        mend = "call eval() on the module that your function uses, or pass training=self.training"
        evidence = f"{' and '.join(sorted(training))} run as in training"
        yield SetupMistake(kind=TRAINING, evidence=evidence, mend=mend)


def _of_labels(prediction: Tensor, labels: Tensor, classes: int) -> Iterator[SetupMistake]:
    """Yield an order of the classes, fitted on half of the predictions, if it suits the rest."""
    from scipy.optimize import linear_sum_assignment

    (seen, kept), (known, truth) = (prediction[::2], prediction[1::2]), (labels[::2], labels[1::2])
    own = torch.arange(classes)
    orders = [("shifted", own.roll(-1)), ("shifted", own.roll(1))]
    if len(labels) >= 4 * classes:
        counts = torch.zeros(classes, classes).index_put_((known, seen), torch.ones(len(seen)), accumulate=True)
        orders.append(("permuted", torch.from_numpy(linear_sum_assignment(-counts.numpy())[1])))
    for how, order in orders:  # what the model calls each class
        read = order[truth] == kept
        if is_better(truth == kept, read, LABELS, classes):
            evidence = _compared(truth == kept, read, "in another order of the classes")
            mend = f"pass lambda images: model(images)[:, order] with order = {order.tolist()}"
            yield SetupMistake(kind=f"labels are {how}", evidence=evidence, mend=mend)
            return


def _of_radius(images: Tensor, labels: Tensor, threat: Threat, *, pixels: bool) -> Iterator[SetupMistake]:
    flat, epsilon = images.flatten(1), threat.epsilon
    distances = torch.cdist(flat, flat, p=threat.order).masked_fill(labels[:, None] == labels, math.inf)
    met = int((distances.amin(dim=1) <= 2 * epsilon).sum())
    if 2 * met > len(labels):
        evidence = f"{met} of {len(labels)} images are within twice {epsilon:g} of one of another class"
        mend = "no model can be right on both; " + (
            f"did you mean {epsilon:g}/255?" if pixels else "choose a smaller one"
        )
        yield SetupMistake(kind="the radius is too large", evidence=evidence, mend=mend)
    if pixels and threat.norm == "linf" and epsilon < _SMALLEST:
        evidence = f"{epsilon:g} is {255 * epsilon:.2g} of a grey level"
        yield SetupMistake(kind="the radius is too small", evidence=evidence, mend=f"did you mean {255 * epsilon:.3g}?")
