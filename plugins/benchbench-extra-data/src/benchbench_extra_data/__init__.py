"""Adversarial training with extra data for benchbench: the offer."""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.contract import Capabilities, Offer, hookimpl


@hookimpl
def benchbench_defenses() -> Iterable[Offer]:
    """Offer adversarial training with extra data."""
    yield Offer(
        name="at-extra",
        summary="Adversarial training with a fixed share of another dataset in each batch",
        factory="benchbench_extra_data.defense:ExtraDataTraining",
        label="AT with extra data",
        shown=("extra", "share"),
        capabilities=Capabilities(needs_gradients=True),
        citation="Carmon et al.: Unlabeled Data Improves Adversarial Robustness, NeurIPS 2019; Rebuffi et al.: Data "
        "Augmentation Can Improve Robustness, NeurIPS 2021",
    )
