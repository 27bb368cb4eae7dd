"""Adversarial pruning for benchbench: the offer. Heavy imports wait until a suite uses it."""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.contract import Offer, hookimpl

BENCHBENCH_API = 1


@hookimpl
def benchbench_datasets() -> Iterable[Offer]:
    """Offer any installed dataset with its training examples pruned to separation."""
    yield Offer(
        name="pruned",
        summary="another dataset, without the fewest training examples that keep its classes from being separated",
        factory="benchbench_pruning.dataset:PrunedDataset",
        citation="Yang, Rashtchian, Wang, Chaudhuri: Robustness for Non-Parametric Classification: A Generic Attack and "
        "Defense, AISTATS 2020, section 4",
    )
