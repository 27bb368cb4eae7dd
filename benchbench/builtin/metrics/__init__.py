"""Built-in metrics."""

from __future__ import annotations

from benchbench.contract import Capabilities, Offer

_CITATION = 'Y.-Y. Yang and others, "A Closer Look at Accuracy vs. Robustness", 2020'

OFFERS: tuple[Offer, ...] = (
    Offer(
        name="accuracy",
        summary="Share of examples classified correctly, on the training and on the test set.",
        factory="benchbench.builtin.metrics.accuracy:Accuracy",
        citation=_CITATION,
    ),
    Offer(
        name="adversarial-accuracy",
        summary="Share of examples classified correctly with and without the attack, on the training and on the test set.",
        factory="benchbench.builtin.metrics.accuracy:AdversarialAccuracy",
        citation=_CITATION,
    ),
    Offer(
        name="gaps",
        summary="Generalisation gaps: training minus test accuracy, without and with the attack.",
        factory="benchbench.builtin.metrics.accuracy:Gaps",
        citation=_CITATION,
    ),
    Offer(
        name="lipschitz",
        summary="Empirical local Lipschitzness of the logits around the test examples.",
        factory="benchbench.builtin.metrics.lipschitz:LocalLipschitzness",
        capabilities=Capabilities(norms=("linf",), needs_gradients=True),
        citation=f"{_CITATION}, equation 3",
    ),
)
