"""Evaluate a user's model under several attacks, and under the worst one of each example."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, overload

import torch
from torch import nn

from benchbench.arguments import checked
from benchbench.cell.model import Component
from benchbench.contract.offers import Kind
from benchbench.contract.threat import Norm, Threat
from benchbench.data import LoadedDataset, crop_to, load_dataset, subset
from benchbench.errors import UsageError
from benchbench.evaluation import evaluate as evaluate_cell
from benchbench.events import Listener, ignore
from benchbench.events.notebooks import default_listener
from benchbench.kernels.determinism import deterministic
from benchbench.own_model.architectures import class_component, find_architecture
from benchbench.own_model.cards import Card
from benchbench.own_model.guests import Classifier, default_float32
from benchbench.own_model.questions import Questions, labels_of
from benchbench.own_model.recording import Destination, find_destination, record_on
from benchbench.own_model.report import ModelReport, make_report
from benchbench.registry import Registry, load_registry
from benchbench.registry.lookup import ComponentEntry, find_component
from benchbench.settings import AnyPath, find_device, find_folders
from benchbench.suite.protocol import choose_threat

Radius = float | str
Several = ComponentEntry | Sequence[ComponentEntry]


@overload
def evaluate(model: Classifier, *, epsilon: Radius | None = ..., **others: Any) -> ModelReport: ...
@overload
def evaluate(
    model: Classifier, *, epsilon: list[Radius] | tuple[Radius, ...], **others: Any
) -> tuple[ModelReport, ...]: ...
@checked  # type: ignore[misc]  # `others` are its further arguments
@default_float32()
def evaluate(
    model: Classifier,
    *,
    dataset: ComponentEntry,
    threat: Threat | Mapping[str, object] | None = None,
    norm: Norm | None = None,
    epsilon: Radius | list[Radius] | tuple[Radius, ...] | None = None,
    attacks: Several = ("pgd-10",),
    metrics: Several = (),
    n_test: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    data: AnyPath | None = None,
    download: bool = False,
    listener: Listener | None = None,
    record: AnyPath | None = None,
    architecture: ComponentEntry | None = None,
    card: Card | None = None,
    runs: AnyPath | None = None,
    leaderboards: AnyPath | None = None,
) -> ModelReport | tuple[ModelReport, ...]:
    """Attack a model on a test set; the harness re-checks every candidate's box, norm, success.

    Args:
        model: a module or function that maps float32 inputs, pixels / 255, to logits (N, classes); it includes any
            normalisation. Its mode and gradient flags are restored.
        dataset: a name, or a mapping of ``name`` and options.
        threat: norm and radius, which may be ``"8/255"``, also as a mapping; the box is the dataset's. None for that of `norm`
            and `epsilon`, or of the paper's protocol, if the dataset is in it.
        norm: ``"linf"``, ``"l2"`` or ``"l1"``; None for that of the protocol, or with a radius L-inf.
        epsilon: radius, which may be ``"8/255"``; None for that of the protocol in this norm. Several radii, a list or another
            sequence, give a report for each.
        attacks: names, or mappings of ``name`` and options; one or several.
        metrics: likewise, to be measured besides; their values are in the reports.
        n_test: size of a fixed subset of the test examples; None for all.
        seed: keys every draw.
        device: None for that of the model.
        data: data root; None for ``BENCHBENCH_DATA``.
        download: whether a missing dataset may be fetched.
        listener: receives the progress. None shows it in notebooks, and nothing elsewhere.
        record: the name or path of a leaderboard, which gets a row for each radius and attack; what it has already is not
            computed again. None for no rows.
        architecture: of the rows: a registered one, or ``FILE.py:callable``, by whose source others can verify them; None for
            the model's class.
        card: of the rows: what the model's authors state, a mapping or a TOML or JSON file; see docs/own-models.md.
        runs: folder of the records and weights of `record`; None for the one below ``BENCHBENCH_HOME``.
        leaderboards: folder of the leaderboards that `record` names; None for ``./leaderboards``.

    Raises:
        UsageError: an unknown name or option, a radius beyond the box, or an attack that does not support this norm or
            dataset.
        MissingDataError: the data are missing.
        ContractError: the model or an attack broke its contract (wrong shape, NaN, outside the ball).
    """
    registry, folders = load_registry(), find_folders(data=data, runs=runs, leaderboards=leaderboards)
    component = find_component(registry, "dataset", dataset)
    several = hasattr(epsilon, "__len__") and not isinstance(epsilon, str) and getattr(epsilon, "ndim", 1) > 0
    radii: Any = epsilon if several else [epsilon]
    if not len(radii):
        raise UsageError("no radius to evaluate under", hint='for instance "8/255"')
    questions = Questions(
        threats=tuple(chosen_threat(registry, component.name, threat, norm, radius) for radius in radii),
        attacks=resolve_attacks(registry, attacks),
        metrics=resolve_all(registry, "metric", metrics),
        n_test=None if n_test is None else operator.index(n_test),
        seed=operator.index(seed),
    )
    if record is None and not (card is None and architecture is None):
        what = "an architecture is named" if card is None else "a model card is kept"
        raise UsageError(f"{what} in rows", hint="record=NAME writes them")
    to = None
    if record is not None:
        own = class_component(model) if architecture is None else find_architecture(registry, architecture).component
        to = find_destination(record, folders, architecture=own, card=card)
    where = find_device(device) if device is not None else device_of(model)
    loaded = load_dataset(registry, component, folders.source(download=download))
    shown = listener or default_listener()
    reports = answer(model, component, loaded, questions, to=to, registry=registry, device=where, listener=shown)
    return reports if several else reports[0]


def chosen_threat(
    registry: Registry,
    dataset: str,
    given: Threat | Mapping[str, object] | None,
    norm: Norm | None,
    epsilon: float | str | None,
) -> Threat:
    """The threat that the caller gives in words, or the protocol's."""
    if given is None:
        return choose_threat(registry, dataset, norm=norm, epsilon=epsilon)
    if norm is not None or epsilon is not None:
        raise UsageError("threat says norm and radius", hint="leave out norm and epsilon, or leave out threat")
    if isinstance(given, Threat):
        return given
    if unknown := [key for key in given if key not in ("norm", "epsilon")]:
        raise UsageError(f"a threat has no {unknown[0]!r}", hint='for instance {"norm": "linf", "epsilon": "8/255"}')
    return choose_threat(registry, dataset, **given)  # type: ignore[arg-type]  # Threat checks the values


def resolve_attacks(registry: Registry, attacks: Several) -> tuple[Component, ...]:
    """Resolve the attacks, each once; UsageError without any."""
    found = resolve_all(registry, "attack", attacks)
    if not found:
        raise UsageError("no attack to evaluate under", hint="for instance pgd-10")
    return found


def resolve_all(registry: Registry, kind: Kind, entries: Several) -> tuple[Component, ...]:
    """Resolve one component or several of a kind, each once."""
    listed = [entries] if isinstance(entries, (str, Mapping)) else entries
    return tuple({repr(one): one for one in (find_component(registry, kind, entry) for entry in listed)}.values())


def answer(
    model: Classifier,
    dataset: Component,
    loaded: LoadedDataset,
    questions: Questions,
    *,
    to: Destination | None,
    registry: Registry,
    device: torch.device,
    listener: Listener = ignore,
) -> tuple[ModelReport, ...]:
    """A report for each radius; with rows if they have a destination."""
    if to is not None:
        return record_on(model, dataset, loaded, questions, to=to, registry=registry, device=device, listener=listener)
    boxed = questions.checked(dataset.name, loaded.splits, registry)
    each = (replace(boxed, threats=(one,)) for one in boxed.threats)
    return tuple(
        evaluate_on(model, dataset.name, loaded, one, registry=registry, device=device, listener=listener)
        for one in each
    )


@default_float32()
def evaluate_on(
    model: Classifier,
    dataset: str,
    loaded: LoadedDataset,
    questions: Questions,
    *,
    registry: Registry,
    device: torch.device,
    listener: Listener = ignore,
) -> ModelReport:
    """`evaluate` under one threat on loaded data, without rows (errors as there)."""
    splits, attacks, metrics = loaded.splits, questions.attacks, questions.metrics
    ready = questions.prepare(model, dataset, loaded, registry, device, listener)
    test, (threat,) = ready.test, ready.questions.threats
    train = subset(crop_to(splits.train, splits.input_shape), len(test.indices) if metrics else 1, "train")
    outcomes = {}
    with deterministic(device):
        for label, attack in zip(labels_of(attacks), attacks):
            outcomes[label] = evaluate_cell(
                ready.model,
                train=train.examples,
                test=test.examples,
                train_rows=train.indices,
                test_rows=test.indices,
                classes=len(splits.classes),
                threat=threat,
                attack=registry.make("attack", attack),
                attack_name=attack.name,
                metrics=dict(zip(labels_of(metrics), (registry.make("metric", metric) for metric in metrics))),
                seed=questions.seed,
                device=device,
                listener=listener,
            )
    report = make_report(dataset, loaded.digest, threat, outcomes, dict(zip(outcomes, attacks)))
    return ready.with_mistakes(report, loaded, device)


def device_of(model: Classifier) -> torch.device:
    """Where a model's parameters are; the CPU for one without any."""
    tensors = chain(model.parameters(), model.buffers()) if isinstance(model, nn.Module) else ()
    tensor = next(iter(tensors), None)
    return torch.device("cpu") if tensor is None else tensor.device
