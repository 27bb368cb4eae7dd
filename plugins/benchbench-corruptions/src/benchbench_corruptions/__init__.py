"""Common corruptions for benchbench: the offer. Heavy imports wait until a suite uses it."""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.contract import Capabilities, Offer, hookimpl

BENCHBENCH_API = 1


@hookimpl
def benchbench_metrics() -> Iterable[Offer]:
    """Offer accuracy under common corruptions."""
    yield Offer(
        name="corruption-accuracy",
        summary="Accuracy under the fifteen common corruptions (noise, blur, weather, digital), generated at five severities",
        factory="benchbench_corruptions.accuracy:CorruptionAccuracy",
        capabilities=Capabilities(channels=(1, 3), smallest_input=(4, 4)),
        citation="Hendrycks, Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, "
        "ICLR 2019",
    )
