"""Certificates against attacks: what is refuted is refused, what is answered is cleared."""

from __future__ import annotations

import pytest
import torch
from evaluation_samples import run

from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import Evidence, Measurement
from benchbench.errors import ContractError
from benchbench.evaluation.certificates import unanswered


class Certifies:
    """A metric that certifies some test examples."""

    def __init__(self, chosen: str) -> None:
        self.chosen = chosen

    def measure(self, evidence: Evidence) -> Measurement:
        robust = evidence.robust("test")
        certified = torch.ones_like(robust) if self.chosen == "all" else robust
        return Measurement(values={}, per_example={"certified": certified}, note="by decree")


class Bounds:
    """A metric whose bound is 0 at the sixth example."""

    def measure(self, evidence: Evidence) -> Measurement:
        upper = torch.full((len(evidence.examples("test")),), 1e6)
        upper[5] = 0.0
        return Measurement(values={}, per_example={"lipschitz_upper": upper})


def test_a_certificate_that_the_attack_refutes_refuses_the_row() -> None:
    fooled = int(run().per_example["index"][~run().per_example["robust"]][0])
    with pytest.raises(
        ContractError, match=f"metric 'proof': it certifies test example {fooled}, but attack 'pgd-10' fools"
    ):
        run(metrics={"proof": Certifies("all")})


def test_a_certificate_that_only_the_diagnostics_refute_refuses_the_row() -> None:
    with pytest.raises(ContractError, match="but a search of the diagnostics fools"):
        run(attack=Pgd(steps=1, step_ratio=0.001, random_start=False), metrics={"proof": Certifies("robust")})


def test_certificates_that_agree_with_the_attack_are_recorded_with_their_note() -> None:
    outcome = run(metrics={"proof": Certifies("robust")})
    assert torch.equal(outcome.per_example["certified"], outcome.per_example["robust"])
    assert outcome.notes == {"proof": "by decree"}


def test_a_bound_below_what_a_search_found_refuses_the_row() -> None:
    with pytest.raises(ContractError, match="metric 'upper': its bound at test example 15 is below what 'lower' found"):
        run(metrics={"upper": Bounds(), "lower": LocalLipschitzness(steps=2)})


def test_flags_are_cleared_where_certificates_leave_at_most_a_twentieth_open() -> None:
    correct = torch.arange(100) < 80
    robust = torch.arange(100) < 60
    flags = {"loss-not-rising", "random-model"}
    answered = {"correct": correct, "robust": robust, "certified": torch.arange(100) < 56}
    assert unanswered(flags, answered) == ("random-model",)
    assert unanswered(flags, {**answered, "certified": torch.arange(100) < 55}) == ("loss-not-rising", "random-model")
    assert unanswered(flags, {"correct": correct, "robust": robust}) == ("loss-not-rising", "random-model")
