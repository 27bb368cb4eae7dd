"""AutoAttack, standard version, against its authors' code.

    PEERS=FOLDER python -m benchmarks.autoattack --data ../shared/data

CNN2 on MNIST images that it classifies correctly. The authors' package is not on PyPI: it competes if it can be imported,
otherwise pyautoattack, the same code with another interface, or torchattacks' copy of it, with the authors' numbers of
iterations, which are ten times torchattacks' defaults. Costs are multiples of the cost of the authors' code. Verdicts are
compared before times: random starts differ, so up to two of a hundred verdicts, of examples near the boundary, may differ.
``--steps`` and ``--queries`` shrink the work of all contenders: 100 and 5,000 are standard.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.standard import AutoAttack
from benchmarks.attacks import perturbed, verdicts
from benchmarks.contest import Contender, compete, show, versions
from benchmarks.peers import Perturb, autoattack_peer
from benchmarks.subjects import Method, Subject, argument_parser, mnist, own_copy, parse, subject

AUTHORS, OURS, FAST = "the authors' code", "benchbench", "benchbench, bf16"
GOALS = {OURS: 0.75, FAST: 0.35}
SAME_VERDICTS = 0.98
METHODS: tuple[Method, ...] = ("natural", "robust")


def main() -> None:
    """Check, time and print."""
    options = parse(_parser())
    splits = mnist(options.data)
    print(versions())
    for method in METHODS:
        chosen = subject(method, splits, options.examples)
        works = contenders(chosen, options.steps, options.queries)
        print(check(chosen, works))
        entries = {name: Contender(work=work) for name, work in works.items()}
        ratios = compete(entries, reference=AUTHORS, rounds=options.rounds, warm_up=False)
        size = f"{len(chosen.images)} images, {method} model, {options.steps} steps, {options.queries} queries"
        show(f"AutoAttack, {size}, multiples of the authors' code", ratios, GOALS)


def contenders(chosen: Subject, steps: int, queries: int) -> dict[str, Callable[[], Tensor]]:
    """Each with its own copy of the model.

    Raises:
        SystemExit: no other implementation is installed.
    """
    images, labels = chosen.images, chosen.labels
    own, fast = own_copy(chosen.model), own_copy(chosen.model)
    theirs = autoattack_peer(own_copy(chosen.model), steps=steps, queries=queries)
    if theirs is None:
        raise SystemExit("neither autoattack nor torchattacks can be imported: see benchmarks/README.md")
    attack = AutoAttack(steps=steps, queries=queries)
    peer: Perturb = theirs
    return {
        AUTHORS: lambda: peer(images, labels),
        OURS: lambda: perturbed(attack, own, images, labels),
        FAST: lambda: perturbed(attack, fast, images, labels, "bf16"),
    }


def check(chosen: Subject, works: dict[str, Callable[[], Tensor]]) -> str:
    """Compare the verdicts; these runs also warm up all contenders.

    Raises:
        SystemExit: too many differ.
    """
    fooled = {name: _fooled(chosen, work()) for name, work in works.items()}
    report = [f"{name} fooled {int(verdict.sum())}" for name, verdict in fooled.items()]
    for name in (OURS, FAST):
        same = float((fooled[name] == fooled[AUTHORS]).float().mean())
        report.append(f"{name} agrees on {same:.4f}")
        if name == OURS and same < SAME_VERDICTS:
            raise SystemExit(f"AutoAttack: {'; '.join(report)}: no times")
    return f"\nAutoAttack on {len(chosen.images)} images: {'; '.join(report)}"


def _fooled(chosen: Subject, candidates: Tensor) -> Tensor:
    model: nn.Module = own_copy(chosen.model)
    return verdicts(model, candidates.contiguous(), chosen.labels)


def _parser() -> argparse.ArgumentParser:
    parser = argument_parser(__doc__)
    parser.add_argument("--steps", type=int, default=100, help="of every run of Auto-PGD and FAB")
    parser.add_argument("--queries", type=int, default=5000, help="of Square")
    return parser


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
