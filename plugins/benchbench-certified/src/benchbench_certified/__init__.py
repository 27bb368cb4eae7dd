"""The offers of certified training and 1-Lipschitz networks; they import no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchbench.contract import Capabilities, Offer, hookimpl

BENCHBENCH_API = 1

_GOWAL = "Gowal et al.: Scalable Verified Training for Provably Robust Image Classification, ICCV 2019"
_TSUZUKU = "Tsuzuku, Sato, Sugiyama: Lipschitz-Margin Training, NeurIPS 2018"
_ZHANG = "Zhang et al.: Towards Stable and Efficient Training of Verifiably Robust Neural Networks, ICLR 2020"


@hookimpl
def benchbench_defenses() -> Iterable[Offer]:
    """Offer training by interval bounds, by linear bounds, and Lipschitz-margin training."""
    yield Offer(
        name="ibp",
        summary="Certified training by interval bound propagation",
        factory="benchbench_certified.training:IntervalTraining",
        capabilities=Capabilities(norms=("linf",), needs_gradients=True),
        citation=f"{_GOWAL}, equations 6, 10 and 11",
    )
    yield Offer(
        name="crown-ibp",
        summary="Certified training by a linear bound that goes back to the image, on top of intervals",
        factory="benchbench_certified.training:CrownIntervalTraining",
        capabilities=Capabilities(norms=("linf",), needs_gradients=True),
        citation=f"{_ZHANG}, equation 13",
    )
    yield Offer(
        name="lipschitz-margin",
        summary="Cross-entropy with a margin that certifies the ball of a network of known Lipschitz constant",
        factory="benchbench_certified.margin:LipschitzMargin",
        capabilities=Capabilities(architectures=("lipschitz-mlp",)),
        citation=_TSUZUKU,
    )


@hookimpl
def benchbench_architectures() -> Iterable[Offer]:
    """Offer a small convolutional network, and one that is 1-Lipschitz."""
    yield Offer(
        name="strided-cnn",
        summary="Convolutions 4x4 of stride 2 and two dense layers, small enough for certified training",
        factory="benchbench_certified.strided:make_strided_cnn",
        citation="Wong, Kolter: Provable Defenses against Adversarial Examples via the Convex Outer Adversarial Polytope, 2018",
    )
    yield Offer(
        name="lipschitz-mlp",
        summary="Dense network that is 1-Lipschitz in L2 by construction, and certifies itself",
        factory="benchbench_certified.lipschitz:make_lipschitz_mlp",
        citation="Anil, Lucas, Grosse: Sorting out Lipschitz Function Approximation, ICML 2019",
    )


@hookimpl
def benchbench_suites() -> Iterable[Offer]:
    """Offer a suite that shows both sides: certified and attacked accuracy."""
    yield Offer(
        name="certified-training",
        summary="What does certified training prove, beside adversarial training?",
        factory="benchbench_certified:suite_path",
        citation=f"{_GOWAL}; {_ZHANG}",
    )


def suite_path() -> Path:
    """The suite's file, installed beside this module."""
    return Path(__file__).with_name("certified-training.toml")
