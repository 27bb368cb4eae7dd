"""Everything that a plugin author imports.

A plugin is a module that implements one or more hooks and is named in the entry-point group ``benchbench``. Each hook returns
offers. An offer names a factory, and the factory's typed keyword parameters are the options that a suite may set; a parameter
typed with a Protocol takes another component. The module that implements the hooks should import quickly: give factories
as ``"module:attribute"``, and they are imported when a suite first uses them. What a factory must return, per kind:

- dataset: a `Dataset`;
- architecture: an ``nn.Module``; the factory also takes ``input_shape`` and ``classes``;
- defense: a `Defense`, `SteppingDefense` or `FittingDefense`; it may also be a `StatefulDefense`, `ScheduledDefense`,
  `PacedDefense`, `PreparedDefense`, `RecipeDefense` or `RegressionDefense`;
- attack: an `Attack`;
- metric: a `Metric`;
- suite: the path of a TOML file;
- executor: an `Executor`.

Beside them stand the tools that the built-in components use themselves: docs/plugins.md lists them under *Tools*.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from benchbench.contract.ascent import (
    CrossEntropy,
    Weighted,
    adversarial_images,
    ascend,
    diverging_images,
    normal_start,
    steepest,
    uniform_start,
)
from benchbench.contract.certificates import Bounds, CertifiedModel, LipschitzSides, bound_lipschitz, bound_margins
from benchbench.contract.data import (
    Dataset,
    DatasetExtent,
    DatasetSplits,
    DataSource,
    DescribedDataset,
    Examples,
    SplitName,
    data_digest,
)
from benchbench.contract.evaluation import Attack, Evidence, ExamplewiseMetric, Measurement, Metric, RegressionEvidence
from benchbench.contract.execution import DONE, NOT_SHARED, REFUSED, STOPPED, Executor, Host, Work, WorkUnit
from benchbench.contract.offers import API_VERSION, Capabilities, Offer, hookimpl, require
from benchbench.contract.preparation import ExtraBatch, ExtraExamples, PreparedDefense, RecipeDefense, TrainingHost
from benchbench.contract.recipe import Augmentation, Recipe
from benchbench.contract.recording import replayed
from benchbench.contract.seeds import KeyedGenerator, derive_seed
from benchbench.contract.threat import NORMS, Norm, Threat
from benchbench.contract.training import (
    BatchLoss,
    Defense,
    FittingDefense,
    PacedDefense,
    Progress,
    RegressionDefense,
    ScheduledDefense,
    StatefulDefense,
    SteppingDefense,
)
from benchbench.errors import (
    CorruptDataError,
    DataError,
    MissingDataError,
    NoBoundError,
    OptionError,
    TrainingError,
    UsageError,
)
from benchbench.kernels.arithmetic import full_precision, is_rounded, searching
from benchbench.kernels.inputs import as_model_input
from benchbench.kernels.modes import frozen, in_mode

__all__ = [
    "API_VERSION",
    "DONE",
    "NORMS",
    "NOT_SHARED",
    "REFUSED",
    "STOPPED",
    "Attack",
    "Augmentation",
    "BatchLoss",
    "Bounds",
    "Capabilities",
    "CertifiedModel",
    "CorruptDataError",
    "CrossEntropy",
    "DataError",
    "DataSource",
    "Dataset",
    "DatasetExtent",
    "DatasetSplits",
    "Defense",
    "DescribedDataset",
    "Evidence",
    "Examples",
    "ExamplewiseMetric",
    "Executor",
    "ExtraBatch",
    "ExtraExamples",
    "FittingDefense",
    "Host",
    "KeyedGenerator",
    "LipschitzSides",
    "Measurement",
    "Metric",
    "MissingDataError",
    "NoBoundError",
    "Norm",
    "Offer",
    "OptionError",
    "PacedDefense",
    "PreparedDefense",
    "Progress",
    "Recipe",
    "RecipeDefense",
    "RegressionDefense",
    "RegressionEvidence",
    "ScheduledDefense",
    "SplitName",
    "StatefulDefense",
    "SteppingDefense",
    "Threat",
    "TrainingError",
    "TrainingHost",
    "UsageError",
    "Weighted",
    "Work",
    "WorkUnit",
    "adversarial_images",
    "as_model_input",
    "ascend",
    "bound_lipschitz",
    "bound_margins",
    "data_digest",
    "derive_seed",
    "diverging_images",
    "frozen",
    "full_precision",
    "hookimpl",
    "in_mode",
    "is_rounded",
    "normal_start",
    "replayed",
    "require",
    "searching",
    "steepest",
    "uniform_start",
]

MOVED = {
    **dict.fromkeys(("ENTRY_POINT_GROUP", "KINDS", "Hooks", "Kind", "hookspec"), "benchbench.contract.offers"),
    "StorageError": "benchbench.errors",
    "repeat": "benchbench.kernels.graphs",
    "sign_step": "benchbench.contract.ascent",
}
"""Names that left the contract, because no plugin needs them, and where they stand now."""


if not TYPE_CHECKING:  # a type checker should go on reporting names that do not exist

    def __getattr__(name: str) -> object:
        if name not in MOVED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        instead = {"repeat": "use replayed", "sign_step": "use ascend", "StorageError": "raise DataError"}
        message = f"benchbench.contract.{name} is for benchbench itself, and API version 2 removes it"
        warnings.warn(f"{message}: {instead.get(name, 'no plugin needs it')}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(MOVED[name]), name)
