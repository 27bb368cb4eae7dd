"""Randomised smoothing for benchbench: the offers. Heavy imports wait for a suite's use."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchbench.contract import Capabilities, Offer, hookimpl

BENCHBENCH_API = 1

_CITATION = "Cohen, Rosenfeld, Kolter: Certified Adversarial Robustness via Randomized Smoothing, ICML 2019"


@hookimpl
def benchbench_defenses() -> Iterable[Offer]:
    """Offer training with Gaussian noise."""
    yield Offer(
        name="gaussian-noise",
        summary="Training on images with Gaussian noise, the base classifier of randomised smoothing",
        factory="benchbench_smoothing.training:GaussianNoise",
        capabilities=Capabilities(uses_threat=False),
        citation=f"{_CITATION}, section 3.3; Lecuyer et al. 2019",
    )


@hookimpl
def benchbench_metrics() -> Iterable[Offer]:
    """Offer certified L2 accuracy."""
    yield Offer(
        name="certified-l2",
        summary="Accuracy of the smoothed classifier that is certified at given L2 radii, with abstentions",
        factory="benchbench_smoothing.certification:CertifiedL2",
        capabilities=Capabilities(norms=("l2", "linf", "l1")),
        citation=f"{_CITATION}, theorem 1 and figure 2 (CERTIFY)",
    )


@hookimpl
def benchbench_suites() -> Iterable[Offer]:
    """Offer a suite that compares certified lower bounds with the upper bounds of attacks."""
    yield Offer(
        name="smoothing-digits",
        summary="Does training with noise make digits certifiable?",
        factory="benchbench_smoothing:suite_path",
        citation=_CITATION,
    )


def suite_path() -> Path:
    """The suite's file, installed beside this module."""
    return Path(__file__).with_name("smoothing-digits.toml")
