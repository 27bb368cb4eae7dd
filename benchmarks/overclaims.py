"""Which overclaims `audit` refutes, and whether it refutes honest claims.

    python -m benchmarks.overclaims [NAME]... [--half tuning|held-out] [--budget 2m]

The models are those of `benchmarks.zoo`, on digits. An overclaim is what PGD-10 reports for a planted model; an honest claim is
what Auto-PGD on two losses leaves of an honest one. Of a random model, both are means over draws, and the honest claim is what
PGD on the average over draws leaves. Seconds are of processor time, on one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.apgd import Apgd
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Attack, DatasetSplits, KeyedGenerator, as_model_input
from benchbench.data import LoadedDataset
from benchbench.evaluation.subject import borrowed
from benchbench.own_model.auditing import audit
from benchbench.own_model.escalation import attempts
from benchbench.own_model.report import AuditReport
from benchmarks.zoo.case import Case, Entry
from benchmarks.zoo.honest import HONEST, honest, on_digits
from benchmarks.zoo.layers import resized
from benchmarks.zoo.planted import PLANTED, STOCHASTIC, before, noise, over, planted
from benchmarks.zoo.training import trained

DRAWS = 100  # of a random model, whose claim is their mean


def dithered(levels: int, seed: int) -> Case:
    """Pixels rounded up or down at random, which has no gradient."""
    return before(lambda images: (images * levels + torch.rand_like(images)).floor() / levels, seed=seed)


def random_waves() -> Case:
    """Steep waves of a random phase."""
    return before(lambda x: x + 0.02 * torch.sin(400.0 * x + 6.3 * torch.rand(())), "at", 7)


class OneOf(nn.Module):
    """Another network for each call, with logits that saturate the loss."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.members[int(torch.randint(0, len(self.members), ()))](images)
        return 1e4 * logits


def one_of_three() -> Case:
    """Three networks in turn."""
    return over(trained("natural", "mlp", 7), OneOf([trained("natural", "mlp", seed) for seed in (7, 8, 9)]))


# PGD-10 finds nearly all that averaging over draws finds of these random models, once each candidate is judged by new draws.
NO_OVERCLAIMS = ("noise", "resized", "dropped")
RANDOM = (
    planted("dithered", "tuning", lambda: dithered(6, 0), "random rounding", STOCHASTIC, random=True),
    planted("random-waves", "held-out", random_waves, "steep waves of random phase", STOCHASTIC, random=True),
    planted("one-of-three", "held-out", one_of_three, "a random choice of saturated networks", STOCHASTIC, random=True),
)
OVERCLAIMS = tuple(entry for entry in (*PLANTED, *RANDOM) if entry.name not in NO_OVERCLAIMS)
MORE_HONEST = (
    honest("noise", "tuning", lambda: before(noise(0.3)), "noise, which PGD-10 is not deceived by", random=True),
    honest("resized", "held-out", lambda: before(resized, seed=7), "one draw for a whole batch", random=True),
    honest("at-mlp-3", "held-out", lambda: on_digits(trained("at", "mlp", 3))),
    honest("at-cnn-batch-norm", "tuning", lambda: on_digits(trained("at", "bn"))),
    honest("trades-mlp-2", "held-out", lambda: on_digits(trained("trades", "mlp", 7))),
)
ENTRIES = (*OVERCLAIMS, *HONEST, *MORE_HONEST)
KINDS = {
    "rounded inputs": ("quantised", "jpeg", "quantised-at", "quantised-l2", "median", "reverse-steps"),
    "steep waves": ("wave", "wave-at", "ripples"),
    "saturated loss": ("saturated", "distilled", "saturated-l2"),
    "no gradient": ("no-gradient", "flat-loss", "rounded-logits"),
    "misleading gradient": ("misleading", "noisy-gradient"),
    "discrete activations": ("thermometer", "binarised", "winners"),
    "distances": ("distance", "nearest-l2"),
    "randomness": ("dropped", *(entry.name for entry in RANDOM)),
    "trees and votes": ("forest", "voting"),
    "iterated purification": ("purified",),
    "a loss that is flat nearby": ("gradient-regularised", "gradient-regularised-cnn"),
    "a weak attack": ("linear",),
}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim, the report of the audit, and its processor time."""

    claim: float
    report: AuditReport
    seconds: float


def claim_of(case: Case, *, planted: bool, random: bool = False) -> float:
    """The robust accuracy that the model's authors would report."""
    attacks: tuple[Attack, ...] = (
        (Pgd(),) if planted or case.threat.norm == "l1" else (Apgd(steps=50), Apgd(loss="dlr", steps=50))
    )
    if random and not planted:
        attacks = (attempts("linf", ("random-model",), nn.Identity)["averaged"],)
    images, labels = as_model_input(case.test.inputs), case.test.labels
    with borrowed(case.model), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        standing = torch.ones(len(labels), dtype=torch.float64)
        for attack in (None, *attacks):
            draws = KeyedGenerator(7, torch.arange(len(labels)))
            found = (
                attack.perturb(case.model, images, labels, threat=case.threat, generator=draws) if attack else images
            )
            right = [case.model(found).argmax(dim=1) == labels for _ in range(DRAWS if random else 1)]
            standing = torch.minimum(standing, torch.stack(right).double().mean(dim=0))
    return float(standing.mean())


def judge(entry: Entry, budget: str = "2m", examples: int = 500) -> Judged:
    """Audit the claim about a model."""
    case = entry.make()
    splits = DatasetSplits(
        train=case.train,
        test=case.test,
        classes=tuple(map(str, range(case.classes))),
        lower=case.threat.lower,
        upper=case.threat.upper,
    )
    claim, began = claim_of(case, planted=entry.planted, random=entry.random), time.process_time()
    report = audit(
        case.model,
        accuracy=claim,
        dataset=(entry.name, LoadedDataset(splits=splits, digest="")),
        threat=case.threat,
        budget=budget,
        n_test=examples,
    )
    return Judged(claim=claim, report=report, seconds=time.process_time() - began)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line for each claim, and how many were refuted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default all")
    parser.add_argument("--half", choices=("tuning", "held-out"), help="default both")
    parser.add_argument(
        "--budget", default="2m", help="more on a busy machine: seconds of an audit's budget are wall-clock"
    )
    parser.add_argument("--verbose", action="store_true", help="print the whole report of each audit")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    entries = [
        one for one in ENTRIES if chosen.half in (None, one.half) and (not chosen.names or one.name in chosen.names)
    ]
    found = []
    print(f"{'model':25} {'kind':8} {'half':8} {'clean':>6} {'claim':>6} {'bound':>6} {'p':>8} {'sec':>5}  verdict")
    for entry in entries:
        judged = judge(entry, chosen.budget)
        found.append((entry, judged))
        report = judged.report
        numbers = " ".join(f"{100 * value:6.1f}" for value in (report.first.test_accuracy, judged.claim, report.bound))
        verdict = f"refuted by {report.tried[-1].attack}" if report.refuted else "not refuted"
        kind = "planted" if entry.planted else "honest"
        print(
            f"{entry.name:25} {kind:8} {entry.half:8} {numbers} {report.p_value:8.1g} {judged.seconds:5.1f}  {verdict}",
            flush=True,
        )
        if chosen.verbose:
            print(report)
    for overclaim in (True, False):
        for half in ("tuning", "held-out"):
            some = [one for entry, one in found if (entry.half, entry.planted) == (half, overclaim)]
            if some:
                refuted, most = sum(one.report.refuted for one in some), max(one.seconds for one in some)
                kind = "overclaims" if overclaim else "honest claims"
                print(f"{half}, {kind}: {refuted} of {len(some)} refuted, at most {most:.1f} s of processor time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
