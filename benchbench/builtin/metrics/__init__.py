"""Built-in metrics."""

from __future__ import annotations

from benchbench.contract import Capabilities, Offer

_CITATION = 'Y.-Y. Yang and others, "A Closer Look at Accuracy vs. Robustness", 2020'
_ARXIV_CITATION = 'Y.-Y. Yang and others, "Adversarial Robustness Through Local Lipschitzness", 2020, Table 1'

OFFERS: tuple[Offer, ...] = (
    Offer(
        name="accuracy",
        summary="Share of examples classified correctly, on the training and on the test set.",
        factory="benchbench.builtin.metrics.accuracy:Accuracy",
        capabilities=Capabilities(fills=("train_accuracy", "test_accuracy")),
        citation=_CITATION,
    ),
    Offer(
        name="adversarial-accuracy",
        summary="Share of examples classified correctly with and without the attack, on the training and on the test set.",
        factory="benchbench.builtin.metrics.accuracy:AdversarialAccuracy",
        capabilities=Capabilities(fills=("adv_train_accuracy", "adv_test_accuracy")),
        citation=_CITATION,
    ),
    Offer(
        name="gaps",
        summary="Generalisation gaps: training minus test accuracy, without and with the attack.",
        factory="benchbench.builtin.metrics.accuracy:Gaps",
        capabilities=Capabilities(fills=("gap", "adv_gap")),
        citation=_CITATION,
    ),
    Offer(
        name="lipschitz",
        summary="Empirical local Lipschitzness of the logits around the test examples.",
        factory="benchbench.builtin.metrics.lipschitz:LocalLipschitzness",
        capabilities=Capabilities(
            norms=("linf",), needs_gradients=True, fills=("test_lipschitz", "test_lipschitz_best")
        ),
        citation=f"{_CITATION}, equation 3",
    ),
    Offer(
        name="squared-error",
        summary="Regression: mean squared errors, clean and under the attack, and their gaps.",
        factory="benchbench.builtin.regression.metrics:SquaredError",
        capabilities=Capabilities(
            task="regression",
            minimum_classes=0,
            fills=("train_mse", "test_mse", "adv_test_mse", "gap", "adv_gap"),
        ),
        citation=_ARXIV_CITATION,
    ),
    Offer(
        name="target-lipschitz",
        summary="Regression: how far predictions at x - epsilon and x + epsilon stray from the target, over epsilon.",
        factory="benchbench.builtin.regression.metrics:TargetLipschitzness",
        capabilities=Capabilities(task="regression", minimum_classes=0, norms=("linf",), fills=("test_lipschitz",)),
        citation=_ARXIV_CITATION,
    ),
)
