"""Helper-based adversarial training for benchbench: the offer."""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.contract import Capabilities, Offer, hookimpl


@hookimpl
def benchbench_defenses() -> Iterable[Offer]:
    """Offer HAT."""
    yield Offer(
        name="hat",
        summary="TRADES plus examples beyond the adversarial ones, labelled by a standard-trained helper network",
        factory="benchbench_hat.hat:Hat",
        label="HAT",
        shown=("beta", "gamma"),
        capabilities=Capabilities(needs_gradients=True),
        citation="Rade, Moosavi-Dezfooli: Reducing Excessive Margin to Achieve a Better Accuracy vs. Robustness Trade-off, "
        "ICLR 2022",
    )
