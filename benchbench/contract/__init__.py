"""Everything that a plugin author imports.

A plugin is a module that implements one or more of the `Hooks` and is named in the entry-point group ``benchbench``.
Each hook returns offers; an offer names a factory, and the factory's typed keyword parameters are the options that a suite
may set. A parameter typed with a Protocol takes another component. The module that implements the hooks should import
quickly: write factories as ``"module:attribute"``, which is imported when a suite first uses it. What a factory must
return, per kind:

- dataset: a `Dataset`;
- architecture: an ``nn.Module``; the factory also takes ``input_shape`` and ``classes``;
- defense: a `Defense`, `SteppingDefense` or `FittingDefense`; it may also be a `StatefulDefense`, `ScheduledDefense` or
  `RegressionDefense`;
- attack: an `Attack`;
- metric: a `Metric`;
- suite: the path of a TOML file;
- executor: an `Executor`.
"""

from __future__ import annotations

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
from benchbench.contract.offers import (
    API_VERSION,
    ENTRY_POINT_GROUP,
    KINDS,
    Capabilities,
    Hooks,
    Kind,
    Offer,
    hookimpl,
    hookspec,
)
from benchbench.contract.recording import replayed
from benchbench.contract.seeds import KeyedGenerator, derive_seed
from benchbench.contract.threat import NORMS, Norm, Threat
from benchbench.contract.training import (
    BatchLoss,
    Defense,
    FittingDefense,
    RegressionDefense,
    ScheduledDefense,
    StatefulDefense,
    SteppingDefense,
)
from benchbench.errors import (
    CorruptDataError,
    DataError,
    MissingDataError,
    OptionError,
    StorageError,
    TrainingError,
    UsageError,
)
from benchbench.kernels.arithmetic import full_precision, is_rounded, searching
from benchbench.kernels.graphs import repeat
from benchbench.kernels.modes import frozen, in_mode
from benchbench.kernels.steps import sign_step

__all__ = [
    "API_VERSION",
    "DONE",
    "ENTRY_POINT_GROUP",
    "KINDS",
    "NORMS",
    "NOT_SHARED",
    "REFUSED",
    "STOPPED",
    "Attack",
    "BatchLoss",
    "Capabilities",
    "CorruptDataError",
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
    "FittingDefense",
    "Hooks",
    "Host",
    "KeyedGenerator",
    "Kind",
    "Measurement",
    "Metric",
    "MissingDataError",
    "Norm",
    "Offer",
    "OptionError",
    "RegressionDefense",
    "RegressionEvidence",
    "ScheduledDefense",
    "SplitName",
    "StatefulDefense",
    "SteppingDefense",
    "StorageError",
    "Threat",
    "TrainingError",
    "UsageError",
    "Work",
    "WorkUnit",
    "data_digest",
    "derive_seed",
    "frozen",
    "full_precision",
    "hookimpl",
    "hookspec",
    "in_mode",
    "is_rounded",
    "repeat",
    "replayed",
    "searching",
    "sign_step",
]
