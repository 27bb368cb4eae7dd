"""Which planted overestimates and honest models the diagnostics flag, and the cost.

    python -m benchmarks.probes [NAME]... [--half tuning|held-out] [--strong]

Every model is evaluated under PGD-10. Stronger attacks look for the truth: Auto-PGD on two losses, against a differentiable
surrogate if there is one (BPDA), else also Square with 1,500 queries. An overestimate is one of ten points or more.
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
from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Attack, Examples, KeyedGenerator
from benchbench.evaluation.diagnostics import diagnose
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.memory import Memory
from benchbench.evaluation.specimens import from_evidence
from benchbench.evaluation.subject import Trial, borrowed, place
from benchbench.evaluation.supervision import counting
from benchmarks.zoo.case import Case, Entry
from benchmarks.zoo.honest import HONEST
from benchmarks.zoo.planted import PLANTED

ENTRIES = (*PLANTED, *HONEST)
JUDGED = 60  # test examples that the strong attack is run on


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The measurements of a case.

    Attributes:
        clean: accuracy without perturbation.
        reported: robust accuracy under PGD-10.
        strong: robust accuracy under the strong attack, or nan.
        queries: examples that the diagnostics passed through the model.
        seconds: of the diagnostics.
    """

    clean: float
    reported: float
    strong: float
    flags: tuple[str, ...]
    queries: int
    seconds: float
    attack_seconds: float


def measure(case: Case, *, strong: bool, attack: Attack | None = None) -> Measured:
    """Evaluate a case under PGD-10 or another attack, diagnose it, and look for the truth."""
    device, count = torch.device("cpu"), min(len(case.test), 360)
    test = Examples(inputs=case.test.inputs[:count], labels=case.test.labels[:count])
    split = place("test", test, torch.arange(count), device)
    with borrowed(case.model), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trial = Trial(
            model=case.model,
            splits={"test": split, "train": split},
            classes=case.classes,
            threat=case.threat,
            attack=attack or Pgd(),
            attack_name="attack",
            seed=0,
            batch_size=64,
            listener=lambda _: None,
        )
        evidence = ModelEvidence(trial, Memory(None, None))
        began = time.process_time()
        robust = evidence.robust("test")
        attacked = time.process_time()
        with counting(case.model) as queries:
            flags = diagnose(from_evidence(evidence))
        done = time.process_time()
        truth = _truth(case, split.images(torch.arange(count)), robust) if strong else float("nan")
        return Measured(
            clean=float(evidence.correct("test").double().mean()),
            reported=float(robust.double().mean()),
            strong=truth,
            flags=flags,
            queries=queries.forward,
            seconds=done - attacked,
            attack_seconds=attacked - began,
        )


def _truth(case: Case, images: Tensor, robust: Tensor) -> float:
    """Robust accuracy under all attacks: reported minus the share lost in a sample of survivors."""
    survivors = robust.nonzero()[:, 0][:JUDGED]
    images, labels = images[survivors], case.test.labels[survivors]
    standing = torch.ones(len(survivors), dtype=torch.bool)
    for model, attack in _strong_attacks(case):
        rows = standing.nonzero()[:, 0]
        if len(rows) == 0:
            break
        draws = KeyedGenerator(99, rows)
        found = attack.perturb(model, images[rows], labels[rows], threat=case.threat, generator=draws)
        with torch.no_grad():
            standing[rows] = case.model(found).argmax(dim=1) == labels[rows]
    return float(robust.double().mean()) * (float(standing.double().mean()) if len(survivors) else 1.0)


def _strong_attacks(case: Case) -> list[tuple[nn.Module, Attack]]:
    """Attacks that break a surrogate, if there is one; else two losses and random search."""
    losses: tuple[Attack, ...] = (Apgd(loss="ce", steps=50), Apgd(loss="dlr-targeted", steps=50, targets=3))
    if case.surrogates:
        return [(surrogate, attack) for surrogate in case.surrogates for attack in losses]
    return [*((case.model, attack) for attack in losses), (case.model, Square(queries=1500))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line for each model, and how many of each kind were flagged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default all")
    parser.add_argument("--half", choices=("tuning", "held-out"), help="default both")
    parser.add_argument("--strong", action="store_true", help="look for the truth, too, which takes minutes")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    entries = [entry for entry in ENTRIES if chosen.half in (None, entry.half)]
    entries = [entry for entry in entries if not chosen.names or entry.name in chosen.names]
    found = []
    print(
        f"{'model':20} {'kind':7} {'half':8} {'clean':>6} {'PGD-10':>6} {'strong':>6} {'queries':>7} {'sec':>5}  flags"
    )
    for entry in entries:
        measured = measure(entry.make(), strong=chosen.strong)
        found.append((entry, measured))
        print(_line(entry, measured), flush=True)
    _summarise(found)
    return 0


def _line(entry: Entry, measured: Measured) -> str:
    kind = "planted" if entry.planted else "honest"
    numbers = " ".join(f"{100 * value:6.1f}" for value in (measured.clean, measured.reported, measured.strong))
    cost = f"{measured.queries:7d} {measured.seconds:5.2f}"
    return f"{entry.name:20} {kind:7} {entry.half:8} {numbers} {cost}  {', '.join(measured.flags) or '-'}"


def _summarise(found: Sequence[tuple[Entry, Measured]]) -> None:
    for half in ("tuning", "held-out"):
        for planted in (True, False):
            members = [one for entry, one in found if (entry.half, entry.planted) == (half, planted)]
            if members:
                flagged, seconds = (sum(bool(one.flags) for one in members), sum(one.seconds for one in members))
                kind = "planted" if planted else "honest"
                print(f"{half}, {kind}: {flagged} of {len(members)} flagged, {seconds / len(members):.2f} s each")


if __name__ == "__main__":
    sys.exit(main())
