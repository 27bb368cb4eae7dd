"""What is measured on a model: radii, attacks, metrics, examples; checked first."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from benchbench.cell.model import Component, to_json
from benchbench.contract import DatasetSplits
from benchbench.contract.threat import Threat, check_radius
from benchbench.data import LoadedDataset, Subset, crop_to, subset
from benchbench.errors import DataError, UsageError
from benchbench.events import Listener, Note
from benchbench.kernels.inputs import as_model_input
from benchbench.leaderboard.names import component_label
from benchbench.own_model.guests import Classifier, adapt
from benchbench.own_model.report import ModelReport
from benchbench.own_model.setup import find_mistakes
from benchbench.registry import Registry
from benchbench.registry.suitability import unsuited_norm, unsuited_task

_SAMPLE = 256  # training examples that give the mean and deviation of the pixels


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model that attacks can use, on its device, and the test examples."""

    model: nn.Module
    test: Subset
    questions: Questions  # with threats in the data's box

    def with_mistakes(self, report: ModelReport, loaded: LoadedDataset, device: torch.device) -> ModelReport:
        """The report with the likely mistakes of the set-up."""
        sample = subset(crop_to(loaded.splits.train, loaded.splits.input_shape), _SAMPLE, "train").examples
        given = (self.model, self.test.examples, sample, report.prediction, report.threat, device)
        return dataclasses.replace(report, setup=find_mistakes(*given))


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is measured on a model."""

    threats: tuple[Threat, ...]  # one ball or several, each with all attacks
    attacks: tuple[Component, ...]
    metrics: tuple[Component, ...] = ()
    n_test: int | None = None  # size of a fixed subset of the test examples; None for all
    seed: int = 0  # keys every draw

    def prepare(
        self,
        model: Classifier,
        dataset: str,
        loaded: LoadedDataset,
        registry: Registry,
        device: torch.device,
        listener: Listener,
    ) -> Prepared:
        """Check everything and adapt the model; the errors are those of `evaluate`."""
        splits = loaded.splits
        questions = self.checked(dataset, splits, registry)
        for message in splits.notes:
            listener(Note(message=message))
        test = subset(splits.test, self.n_test or len(splits.test), "test")
        if isinstance(model, nn.Module):
            model.to(device)
        guest = adapt(model, as_model_input(test.examples.inputs[:2].to(device)), classes=len(splits.classes))
        return Prepared(model=guest, test=test, questions=questions)

    def checked(self, dataset: str, splits: DatasetSplits, registry: Registry) -> Questions:
        """These with threats in the data's box, each once; an error if it cannot be measured."""
        if splits.task != "classification":
            raise DataError(f"dataset {dataset!r} is for regression", hint="attacks here are on classifiers")
        if self.n_test is not None and self.n_test < 1:
            raise UsageError(f"n_test must be at least 1, got {self.n_test}")
        boxed = [dataclasses.replace(one, lower=splits.lower, upper=splits.upper) for one in self.threats]
        for threat in boxed:
            check_radius(threat, splits.input_shape)
        for component in (*self.attacks, *self.metrics):
            capabilities = registry.capabilities(component)
            norms = [] if component.kind == "metric" else [unsuited_norm(capabilities, one.norm) for one in boxed]
            for unsuited in (*norms, unsuited_task(capabilities, splits.task, len(splits.classes))):
                if unsuited:
                    raise UsageError(f"{component.kind} {component.name!r} {unsuited.reason}", hint=unsuited.hint)
        return dataclasses.replace(self, threats=tuple(dict.fromkeys(boxed)))


def labels_of(components: Sequence[Component]) -> list[str]:
    """The shortest unique label of each: name, name and options as in tables, or exact options."""
    labels = [component.name for component in components]
    as_shown = [component_label(component.name, component.options) for component in components]
    exact = [f"{component.name} {to_json(component.options, identifying=True)}" for component in components]
    for longer in (as_shown, exact):
        shared = Counter(labels)
        labels = [label if shared[label] == 1 else other for label, other in zip(labels, longer)]
    return labels
