"""The tolerances of the harness's check of candidates."""

from __future__ import annotations

import pytest
import torch

from benchbench.contract import NORMS, KeyedGenerator, Norm, Threat
from benchbench.contract.threat import tolerance
from benchbench.errors import ContractError
from benchbench.evaluation.supervision import check_candidates, check_logits

ROWS = torch.arange(50)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("epsilon", [0.0, 0.005, 0.5, 8.0])
def test_projected_candidates_pass_in_every_norm(norm: Norm, epsilon: float) -> None:
    draws = KeyedGenerator(3, ROWS)
    images, far = draws.uniform(3, 32, 32), draws.normal(3, 32, 32) * 10
    threat = Threat(norm=norm, epsilon=epsilon)
    candidates = threat.project(images + far, images)
    assert check_candidates(candidates, images, threat=threat, rows=ROWS, what="it") is not None


@pytest.mark.parametrize("norm", NORMS)
def test_a_thousandth_beyond_the_ball_is_refused(norm: Norm) -> None:
    images = torch.full((50, 1, 8, 8), 0.5)
    threat = Threat(norm=norm, epsilon=0.1)
    candidates = images.clone()
    candidates[30, 0, 0, 0] += 0.1001
    with pytest.raises(ContractError, match=rf"it: the candidate of example 30 leaves the {norm} ball of radius 0.1"):
        check_candidates(candidates, images, threat=threat, rows=ROWS, what="it")


def test_the_box_has_no_tolerance() -> None:
    images = torch.ones(50, 1, 8, 8)
    candidates = images.clone()
    candidates[7, 0, 3, 3] = 1.0 + 2**-23
    with pytest.raises(ContractError, match=r"example 7 leaves the box \[0.0, 1.0\] by 1.19e-07"):
        check_candidates(candidates, images, threat=Threat(epsilon=0.1), rows=ROWS, what="it")


def test_the_tolerance_is_a_matter_of_rounding() -> None:
    assert tolerance(Threat(epsilon=0.1), 784) < 2e-6
    assert tolerance(Threat(norm="l2", epsilon=0.5), 3072) < 2e-5
    assert tolerance(Threat(norm="l1", epsilon=12.0), 3072) < 1e-3


def test_infinite_logits_are_refused() -> None:
    logits = torch.zeros(50, 3)
    logits[12, 1] = torch.inf
    with pytest.raises(ContractError, match="the logits of example 12 are not finite"):
        check_logits(logits, classes=3, rows=ROWS, what="it")
