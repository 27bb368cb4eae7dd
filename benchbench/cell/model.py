"""A cell: one trained model under one protocol, named by a digest of its configuration."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from benchbench.contract.offers import Kind
from benchbench.contract.recipe import NO_TRAINING, OMITTED, Recipe, Selection
from benchbench.contract.threat import Threat
from benchbench.kernels.arithmetic import Precision

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Columns = dict[str, Any]  # of a row of a leaderboard, by name: the row checks them
ID_LENGTH = 16  # hexadecimal digits: 64 bits
DIAGNOSTICS = 2  # revision of `benchbench.evaluation.diagnostics`, raised when equal models may get other flags
# Digests replace a threat that a method does not use by that of the first recorded rows, whose ids must last.
WITHOUT_THREAT = ("natural", "gr")  # the methods of those rows that do not use the threat
UNUSED = Threat(epsilon=0.1)
UNUSED_IN_FITS = Threat(epsilon=1 / 3, lower=-math.inf, upper=math.inf)
OWN_PROFILE, OWN_PROTOCOL = "own", "own-model-1"  # of rows of models that were trained elsewhere
# Of such a model: the fields of `TrainingSpec` that are known, and the identity columns that are not.
KNOWN_OF_GIVEN = ("dataset", "dataset_digest", "architecture", "weights")
UNKNOWN_OF_GIVEN = (
    *("augmentation", "defense", "defense_options", "train_norm", "train_epsilon", "seed", "checkpoint_selection"),
    *("trained_on", "n_train", "n_validation", "n_extra", "epochs", "train_precision", "weight_averaging"),
)


@dataclass(frozen=True, kw_only=True)
class Component:
    """A plugin component with every option resolved, components among its options likewise."""

    kind: Kind  # what it is
    name: str  # registered name, for instance ``trades`` or ``timm:resnet50``
    options: Mapping[str, object] = field(default_factory=dict)  # all of them, with defaults and presets
    distribution: str  # the distribution that provides it; always ``"benchbench"`` for built-in components
    version: str  # of the distribution; ``"0.1.0"`` for built-in components, so that a release changes no id
    revision: int = field(default=1, metadata=OMITTED)  # the offer's, raised when the component's numbers change
    sources: str = field(default="", metadata=OMITTED)  # digest of third-party sources; see `canonical`

    @cached_property
    def canonical_forms(self) -> dict[bool, object]:
        """What `canonical` made of it, identifying or not; a plan needs it thousands of times."""
        return {}

    @property
    def with_nested(self) -> tuple[Component, ...]:
        """This component, and those among its options, at any depth."""
        return (self, *(inner for value in self.options.values() for inner in _components_in(value)))

    @property
    def extra_datasets(self) -> dict[str, Component]:
        """The datasets among its options, by the option's name."""
        options = ((name, value) for name, value in self.options.items() if isinstance(value, Component))
        return {name: value for name, value in options if value.kind == "dataset"}

    @property
    def code(self) -> str:
        """Revision and sources, for people: ``revision 1, sources 0123456789abcdef``."""
        return f"revision {self.revision}" + (f", sources {self.sources}" if self.sources else "")


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """Everything that determines a trained model; of one trained elsewhere see `given_model`."""

    dataset: Component
    dataset_digest: str  # SHA-256 of the loaded data
    n_train: int  # training examples used, a fixed subset of the split, without those held out
    architecture: Component
    defense: Component
    threat: Threat | None  # what the method trains against; None if it uses none: one model serves all radii
    recipe: Recipe
    seed: int = 0
    trained_on: Literal["train", "train+test"] = "train"  # the proof of concept sees the test set, too
    n_validation: int = field(default=0, metadata=OMITTED)  # training examples held out to select the checkpoint
    n_extra: int = field(default=0, metadata=OMITTED)  # training examples of the datasets among the defense's options
    extra_digest: str = field(default="", metadata=OMITTED)  # SHA-256 of these datasets' digests
    weights: str = field(default="", metadata=OMITTED)  # SHA-256 of the weights of a model that was trained elsewhere

    @cached_property
    def model_id(self) -> str:
        """Digest of this configuration; cells with equal training share a model."""
        return digest(dataclasses.replace(self, threat=self.threat_in_digests))

    @property
    def threat_in_digests(self) -> Threat:
        """The training threat or, for a method that does not use it, a fixed one."""
        return self.threat or (UNUSED_IN_FITS if self.recipe.optimizer == "none" else UNUSED)


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """Everything that determines the measures of a trained model."""

    attack: Component  # the attack of the protocol
    metrics: tuple[Component, ...]  # what is measured
    threat: Threat  # ball and box of attack and metrics
    n_test: int  # test examples evaluated
    n_train_evaluated: int  # training examples evaluated, for training accuracies and gaps
    checkpoint_selection: Selection | None = "last"  # that of the recipe; None for a model that was trained elsewhere
    precision: Precision = field(default="float32", metadata=OMITTED)  # of the searches; float32 judges
    seed: int | None = field(default=None, metadata=OMITTED)  # keys the draws; None for the seed of the training


def given_model(*, dataset: Component, dataset_digest: str, architecture: Component, weights: str) -> TrainingSpec:
    """A model that was trained elsewhere; nothing outside this object states its placeholders."""
    return TrainingSpec(
        dataset=dataset,
        dataset_digest=dataset_digest,
        architecture=architecture,
        weights=weights,
        n_train=0,
        defense=Component(kind="defense", name="unknown", distribution="", version=""),
        threat=None,
        recipe=NO_TRAINING,
    )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One future row of a leaderboard."""

    suite: str  # name of the suite
    profile: str  # ``"paper"``, ``"quick"`` or another profile of the suite
    protocol: str  # name and version of the protocol
    experiment: str  # the suite's experiment that the cell belongs to
    training: TrainingSpec
    evaluation: EvaluationSpec

    @cached_property
    def cell_id(self) -> str:
        """Digest of the configuration without the experiment's name, which is a label."""
        return digest({"suite": self.suite, "profile": self.profile, "protocol": self.protocol, **self._work})

    @cached_property
    def work_id(self) -> str:
        """Digest of training and evaluation: equal for equal work, in any suite and profile."""
        return digest(self._work)

    @property
    def _work(self) -> dict[str, object]:
        """Training and evaluation as digested: an evaluation threat equal to training's is omitted."""
        trained = self.training.threat_in_digests
        evaluation = stated_fields(self.evaluation)
        if self.evaluation.threat == trained:
            del evaluation["threat"]
        return {"training": dataclasses.replace(self.training, threat=trained), "evaluation": evaluation}

    @property
    def seed(self) -> int:
        """Keys the draws of the evaluation."""
        return self.training.seed if self.evaluation.seed is None else self.evaluation.seed

    @property
    def components(self) -> tuple[Component, ...]:
        """Every component of the cell, also nested: data, network, defense, attack, metrics."""
        training, evaluation = self.training, self.evaluation
        defense = () if training.weights else (training.defense,)
        outer = (training.dataset, training.architecture, *defense, evaluation.attack, *evaluation.metrics)
        return tuple(component for one in outer for component in one.with_nested)

    def identity(self) -> Columns:
        """The identity columns of the leaderboard, with their values; None for what is unknown."""
        training, evaluation = self.training, self.evaluation
        dropout, unstated = training.architecture.options.get("dropout"), None if training.weights else 0.0
        stated = {
            "suite": self.suite,
            "profile": self.profile,
            "protocol": self.protocol,
            "experiment": self.experiment,
            "cell_id": self.cell_id,
            "model_id": training.model_id,
            "source": "measured",
            "dataset": training.dataset.name,
            "dataset_digest": training.dataset_digest,
            "architecture": training.architecture.name,
            "architecture_options": to_json(training.architecture.options, identifying=True),
            "augmentation": training.recipe.augmentation.label,
            "dropout": float(dropout) if isinstance(dropout, (int, float)) else unstated,
            "defense": training.defense.name,
            "defense_options": to_json(training.defense.options, identifying=True),
            "norm": evaluation.threat.norm,
            "epsilon": evaluation.threat.epsilon,
            "train_norm": training.threat.norm if training.threat else "",
            "train_epsilon": training.threat.epsilon if training.threat else None,
            "attack": evaluation.attack.name,
            "attack_options": to_json(evaluation.attack.options, identifying=True),
            "seed": training.seed,
            "checkpoint_selection": evaluation.checkpoint_selection,
            "weight_averaging": training.recipe.averaging_label,
            "trained_on": training.trained_on,
            "n_train": training.n_train,
            "n_validation": training.n_validation,
            "n_extra": training.n_extra,
            "n_train_evaluated": evaluation.n_train_evaluated,
            "n_test": evaluation.n_test,
            "epochs": training.recipe.epochs,
            "train_precision": training.recipe.precision,
        }
        return stated | dict.fromkeys(UNKNOWN_OF_GIVEN) if training.weights else stated


def canonical(value: object, *, identifying: bool = False) -> object:
    """Convert a configuration to JSON values: dataclasses to dictionaries, tuples to lists.

    If `identifying`, as for a digest, a component with third-party sources is stated without distribution and version.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        known = value.canonical_forms if isinstance(value, Component) else {}
        if identifying not in known:
            stated = stated_fields(value)
            if identifying and isinstance(value, Component) and value.sources:
                del stated["distribution"], stated["version"]
            known[identifying] = {name: canonical(item, identifying=identifying) for name, item in stated.items()}
        return known[identifying]
    if isinstance(value, Mapping):
        return {str(key): canonical(value[key], identifying=identifying) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [canonical(item, identifying=identifying) for item in value]
    return value


def _components_in(value: object) -> tuple[Component, ...]:
    if isinstance(value, tuple):
        return tuple(inner for entry in value for inner in _components_in(entry))
    return value.with_nested if isinstance(value, Component) else ()


def stated_fields(value: DataclassInstance) -> dict[str, object]:
    """The known fields of a dataclass by name, without `OMITTED` ones that have their default."""
    if isinstance(value, TrainingSpec) and value.weights:
        return {name: getattr(value, name) for name in KNOWN_OF_GIVEN}
    pairs = ((entry, getattr(value, entry.name)) for entry in dataclasses.fields(value))
    return {entry.name: item for entry, item in pairs if "omitted" not in entry.metadata or item != entry.default}


def to_json(value: object, *, identifying: bool = False) -> str:
    """Canonical JSON: sorted keys, no spaces; see `canonical`."""
    return json.dumps(canonical(value, identifying=identifying), sort_keys=True, separators=(",", ":"), allow_nan=True)


def digest(value: object) -> str:
    """Hexadecimal digest of a configuration's canonical, identifying JSON."""
    return hashlib.sha256(to_json(value, identifying=True).encode()).hexdigest()[:ID_LENGTH]
