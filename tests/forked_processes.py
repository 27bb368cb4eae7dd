"""The server that tests fork processes from: one for the whole pytest process, with everything loaded that a run imports."""

from __future__ import annotations

import multiprocessing

_OF_RUNS = ("run_processes", "pytest", "benchbench.harness.scheduling", "benchbench.pricing.cells", "sklearn.datasets")
_OF_TORCH = ("torch._dynamo", "torch.fx.experimental.symbolic_shapes")  # for optimisers and gradients; two seconds
_BUILTINS = (
    "architectures.mlp",
    "attacks.pgd",
    "attacks.multi_targeted",
    "defenses.adversarial",
    "defenses.trades",
    "metrics.accuracy",
)

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*_OF_RUNS, *_OF_TORCH, *(f"benchbench.builtin.{name}" for name in _BUILTINS)])
