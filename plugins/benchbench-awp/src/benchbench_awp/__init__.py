"""Adversarial weight perturbation for benchbench: the offers. Heavy imports wait for use."""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.contract import Capabilities, Offer, hookimpl

BENCHBENCH_API = 1

_CITATION = "Wu, Xia, Wang: Adversarial Weight Perturbation Helps Robust Generalization, NeurIPS 2020"


@hookimpl
def benchbench_defenses() -> Iterable[Offer]:
    """Offer AWP on adversarial training and on TRADES."""
    yield Offer(
        name="awp-at",
        summary="Adversarial training with adversarially perturbed weights",
        factory="benchbench_awp.defenses:AwpAdversarialTraining",
        capabilities=Capabilities(norms=("linf", "l2"), needs_gradients=True),
        citation=f"{_CITATION}, equation 7",
    )
    yield Offer(
        name="awp-trades",
        summary="TRADES with adversarially perturbed weights",
        factory="benchbench_awp.defenses:AwpTrades",
        capabilities=Capabilities(norms=("linf", "l2"), needs_gradients=True),
        citation=f"{_CITATION}, equation 11",
    )


@hookimpl
def benchbench_architectures() -> Iterable[Offer]:
    """Offer the network of the paper's experiments."""
    yield Offer(
        name="preact-resnet-18",
        summary="Residual network of 18 layers, normalisation and ReLU before each convolution",
        factory="benchbench_awp.preact_resnet:make_preact_resnet18",
        capabilities=Capabilities(smallest_input=(16, 16)),
        citation="He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, ECCV 2016",
    )
