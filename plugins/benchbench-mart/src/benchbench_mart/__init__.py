"""MART for benchbench: the offer. The defense is imported when a suite uses it."""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.contract import Capabilities, Offer, hookimpl


@hookimpl
def benchbench_defenses() -> Iterable[Offer]:
    """Offer MART."""
    yield Offer(
        name="mart",
        summary="Misclassification-aware adversarial training: boosted cross-entropy and weighted KL divergence",
        factory="benchbench_mart.mart:Mart",
        label="MART",
        shown=("lam",),
        capabilities=Capabilities(norms=("linf",), needs_gradients=True),
        citation="Wang, Zou, Yi, Bailey, Ma, Gu: Improving Adversarial Robustness Requires Revisiting Misclassified "
        "Examples, ICLR 2020",
    )
