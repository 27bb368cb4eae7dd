"""Evaluate a user's model under several attacks, and under the worst one of each example."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import nn

from benchbench.cell.model import Component, to_json
from benchbench.contract import DatasetSplits
from benchbench.contract.threat import Norm, Threat, check_radius
from benchbench.data import LoadedDataset, crop_to, load_dataset, subset
from benchbench.errors import DataError, UsageError
from benchbench.evaluation import evaluate as evaluate_cell
from benchbench.events import Listener, Note, ignore
from benchbench.events.notebooks import default_listener
from benchbench.kernels.determinism import deterministic
from benchbench.kernels.inputs import as_model_input
from benchbench.leaderboard.names import component_label
from benchbench.own_model.guests import Classifier, adapt, default_float32
from benchbench.own_model.report import ModelReport, make_report
from benchbench.registry import Registry, load_registry
from benchbench.registry.lookup import ComponentEntry, find_component
from benchbench.registry.suitability import unsuited_norm, unsuited_task
from benchbench.settings import AnyPath, find_device, find_folders
from benchbench.suite.protocol import choose_threat


@default_float32()
def evaluate(
    model: Classifier,
    *,
    dataset: ComponentEntry,
    threat: Threat | Mapping[str, object] | None = None,
    norm: Norm | None = None,
    epsilon: float | str | None = None,
    attacks: ComponentEntry | Sequence[ComponentEntry] = ("pgd-10",),
    n_test: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    data: AnyPath | None = None,
    download: bool = False,
    listener: Listener | None = None,
) -> ModelReport:
    """Attack a model on a test set; the harness re-checks every candidate's box, norm, success.

    Args:
        model: a module or function that maps float32 inputs, pixels / 255, to logits (N, classes); it includes any
            normalisation. Its mode and gradient flags are restored.
        dataset: a name, or a mapping of ``name`` and options.
        threat: norm and radius, which may be ``"8/255"``, also as a mapping; the box is the dataset's. None for that of `norm`
            and `epsilon`, or of the paper's protocol, if the dataset is in it.
        norm: ``"linf"``, ``"l2"`` or ``"l1"``; None for that of the protocol, or with a radius L-inf.
        epsilon: radius, which may be ``"8/255"``; None for that of the protocol in this norm.
        attacks: names, or mappings of ``name`` and options; one or several.
        n_test: size of a fixed subset of the test examples; None for all.
        seed: keys every draw.
        device: None for that of the model.
        data: data root; None for ``BENCHBENCH_DATA``.
        download: whether a missing dataset may be fetched.
        listener: receives the progress. None shows it in notebooks, and nothing elsewhere.

    Raises:
        UsageError: an unknown name or option, a radius beyond the box, or an attack that does not support this norm or
            dataset.
        MissingDataError: the data are missing.
        ContractError: the model or an attack broke its contract (wrong shape, NaN, outside the ball).
    """
    registry = load_registry()
    source = find_folders(data=data).source(download=download)
    component = find_component(registry, "dataset", dataset)
    where = find_device(device) if device is not None else _device_of(model)
    resolved = resolve_attacks(registry, [attacks] if isinstance(attacks, (str, Mapping)) else attacks)
    wanted = _threat(registry, component.name, threat, norm, epsilon)
    loaded = load_dataset(registry, component, source)
    return evaluate_on(
        model,
        component.name,
        loaded,
        registry=registry,
        threat=wanted,
        attacks=resolved,
        n_test=n_test,
        seed=seed,
        device=where,
        listener=listener or default_listener(),
    )


def _threat(
    registry: Registry,
    dataset: str,
    given: Threat | Mapping[str, object] | None,
    norm: Norm | None,
    epsilon: float | str | None,
) -> Threat:
    if given is None:
        return choose_threat(registry, dataset, norm=norm, epsilon=epsilon)
    if norm is not None or epsilon is not None:
        raise UsageError("threat says norm and radius", hint="leave out norm and epsilon, or leave out threat")
    if isinstance(given, Threat):
        return given
    if unknown := given.keys() - {"norm", "epsilon"}:
        raise UsageError(
            f"a threat has no {sorted(unknown)[0]!r}", hint='for instance {"norm": "linf", "epsilon": "8/255"}'
        )
    return choose_threat(registry, dataset, **given)  # type: ignore[arg-type]  # Threat checks the values


def resolve_attacks(registry: Registry, attacks: Sequence[ComponentEntry]) -> tuple[Component, ...]:
    """Resolve the attacks, each once; UsageError without any."""
    found = {repr(one): one for one in (find_component(registry, "attack", entry) for entry in attacks)}
    if not found:
        raise UsageError("no attack to evaluate under", hint="for instance pgd-10")
    return tuple(found.values())


@default_float32()
def evaluate_on(
    model: Classifier,
    dataset: str,
    loaded: LoadedDataset,
    *,
    registry: Registry,
    threat: Threat,
    attacks: Sequence[Component],
    n_test: int | None,
    seed: int,
    device: torch.device,
    listener: Listener = ignore,
) -> ModelReport:
    """`evaluate` on loaded data (arguments and errors as there)."""
    splits = loaded.splits
    threat = dataclasses.replace(threat, lower=splits.lower, upper=splits.upper)
    _check(splits, dataset, threat, attacks, registry, n_test)
    for message in splits.notes:
        listener(Note(message=message))
    test = subset(splits.test, min(n_test or len(splits.test), len(splits.test)), "test")
    if isinstance(model, nn.Module):
        model.to(device)
    guest = adapt(model, as_model_input(test.examples.inputs[:2].to(device)), classes=len(splits.classes))
    train = subset(crop_to(splits.train, splits.input_shape), 1, "train")  # required, but no metric here uses it
    outcomes = {}
    with deterministic(device):
        for label, attack in zip(_labels(attacks), attacks):
            outcomes[label] = evaluate_cell(
                guest,
                train=train.examples,
                test=test.examples,
                train_rows=train.indices,
                test_rows=test.indices,
                classes=len(splits.classes),
                threat=threat,
                attack=registry.make("attack", attack),
                attack_name=attack.name,
                metrics={},
                seed=seed,
                device=device,
                listener=listener,
            )
    return make_report(dataset, loaded.digest, threat, outcomes, dict(zip(outcomes, attacks)))


def _labels(attacks: Sequence[Component]) -> list[str]:
    """The shortest unique label of each: name, name and options as in tables, or exact options."""
    labels = [attack.name for attack in attacks]
    as_shown = [component_label(attack.name, attack.options) for attack in attacks]
    exact = [f"{attack.name} {to_json(attack.options, identifying=True)}" for attack in attacks]
    for longer in (as_shown, exact):
        shared = Counter(labels)
        labels = [label if shared[label] == 1 else other for label, other in zip(labels, longer)]
    return labels


def _check(
    splits: DatasetSplits,
    dataset: str,
    threat: Threat,
    attacks: Sequence[Component],
    registry: Registry,
    n_test: int | None,
) -> None:
    if splits.task != "classification":
        raise DataError(f"dataset {dataset!r} is for regression", hint="attacks here are on classifiers")
    if n_test is not None and n_test < 1:
        raise UsageError(f"n_test must be at least 1, got {n_test}")
    check_radius(threat, splits.input_shape)
    for attack in attacks:
        capabilities = registry.capabilities(attack)
        in_norm = unsuited_norm(capabilities, threat.norm)
        if unsuited := in_norm or unsuited_task(capabilities, splits.task, len(splits.classes)):
            raise UsageError(f"attack {attack.name!r} {unsuited.reason}", hint=unsuited.hint)


def _device_of(model: Classifier) -> torch.device:
    tensors = chain(model.parameters(), model.buffers()) if isinstance(model, nn.Module) else ()
    tensor = next(iter(tensors), None)
    return torch.device("cpu") if tensor is None else tensor.device
