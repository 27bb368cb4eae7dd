"""TRADES with EMA and early stopping for benchbench: the offer."""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.contract import Capabilities, Offer, hookimpl


@hookimpl
def benchbench_defenses() -> Iterable[Offer]:
    """Offer TRADES-EMA."""
    yield Offer(
        name="trades-ema",
        summary="TRADES, whose model has averaged weights of the epoch that is most robust on held-out examples",
        factory="benchbench_trades_ema.trades:TradesEma",
        label="TRADES-EMA",
        shown=("decay",),
        capabilities=Capabilities(needs_gradients=True),
        citation="Zhang et al.: Theoretically Principled Trade-off between Robustness and Accuracy, ICML 2019; Rice, Wong, "
        "Kolter: Overfitting in Adversarially Robust Deep Learning, ICML 2020; Gowal et al.: Uncovering the Limits of "
        "Adversarial Training, 2020",
    )
