"""RobustBench's models for benchbench: the offers. Heavy imports wait for use."""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.contract import Capabilities, Offer, hookimpl

BENCHBENCH_API = 1


@hookimpl
def benchbench_architectures() -> Iterable[Offer]:
    """Offer every model of RobustBench's package as a member of a family."""
    yield Offer(
        name="robustbench",
        summary="Any model of RobustBench by its place there, for instance robustbench:cifar10/Linf/Rice2020Overfitting",
        factory="benchbench_robustbench.zoo:make_model",
        members="benchbench_robustbench.zoo:list_models",
        capabilities=Capabilities(
            channels=(3,), requires={"robustbench": "pip install 'benchbench-robustbench[models]'"}
        ),
        citation="Croce, Andriushchenko, Sehwag, Debenedetti et al.: RobustBench, NeurIPS 2021 Datasets and Benchmarks",
    )
