"""Fast and free adversarial training for benchbench: the offers. Heavy imports wait for use."""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.contract import Capabilities, Offer, hookimpl

BENCHBENCH_API = 1

_FAST = "Wong, Rice, Kolter: Fast is better than free: Revisiting adversarial training, ICLR 2020"
_FREE = "Shafahi et al.: Adversarial Training for Free!, NeurIPS 2019, algorithm 1"
_LINF = Capabilities(norms=("linf",), needs_gradients=True)


@hookimpl
def benchbench_defenses() -> Iterable[Offer]:
    """Offer fast and free adversarial training."""
    yield Offer(
        name="fast-at",
        summary="Adversarial training with one step from a random start",
        factory="benchbench_fast_at.fast:FastAdversarialTraining",
        capabilities=_LINF,
        citation=f"{_FAST}, algorithm 3",
    )
    yield Offer(
        name="free-at",
        summary="Adversarial training whose batches are replayed: weights and perturbation share each gradient",
        factory="benchbench_fast_at.free:FreeAdversarialTraining",
        capabilities=_LINF,
        citation=_FREE,
    )


@hookimpl
def benchbench_attacks() -> Iterable[Offer]:
    """Offer the one-step attack that fast adversarial training trains on."""
    yield Offer(
        name="fgsm-rs",
        summary="One sign step of 1.25 epsilon from a uniform start",
        factory="benchbench_fast_at.fast:RandomStartFgsm",
        capabilities=_LINF,
        citation=_FAST,
    )
