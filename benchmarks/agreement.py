"""How often the fast mode (bf16) and float32 agree on verdicts, and what both cost.

    python -m benchmarks.agreement --data ../shared/data --threads 1 --examples 448

CNN2 on MNIST images that it classifies correctly; every verdict is float32's, judged on the candidates of either search.
Costs are those of float32's search in the same run. ``--steps`` and ``--queries`` are AutoAttack's: 100 and 5,000 are
standard.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from benchbench.builtin.attacks.autoattack.standard import AutoAttack
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Attack
from benchbench.kernels.arithmetic import Precision
from benchmarks.attacks import perturbed, verdicts
from benchmarks.contest import Contender, timed, versions
from benchmarks.subjects import Method, Subject, argument_parser, mnist, own_copy, parse, subject

METHODS: tuple[Method, ...] = ("natural", "robust")


def main() -> None:
    """Attack by both, compare and print."""
    options = parse(_parser())
    splits = mnist(options.data)
    autoattack = AutoAttack(steps=options.steps, queries=options.queries)
    attacks: dict[str, Attack] = {
        "PGD-10": Pgd(),
        "MT": MultiTargeted(),
        f"AutoAttack, {options.steps} steps, {options.queries} queries": autoattack,
    }
    print(versions())
    for method in METHODS:
        chosen = subject(method, splits, options.examples)
        for name, attack in attacks.items():
            print(f"{method} model, {len(chosen.images)} images, {name}: {compared(chosen, attack)}", flush=True)


def compared(chosen: Subject, attack: Attack) -> str:
    """Verdicts and costs of the two searches."""
    fooled: dict[Precision, Tensor] = {}
    seconds: dict[Precision, float] = {}

    def search(precision: Precision) -> None:
        model = own_copy(chosen.model)
        found = perturbed(attack, model, chosen.images, chosen.labels, precision)
        fooled[precision] = verdicts(model, found.contiguous(), chosen.labels)

    precisions: tuple[Precision, ...] = ("float32", "bf16")
    for precision in precisions:
        seconds[precision] = timed(Contender(work=lambda precision=precision: search(precision)))  # type: ignore[misc]
    plain, fast = fooled["float32"], fooled["bf16"]
    same = float((plain == fast).float().mean())
    return (
        f"{same:.2%} of verdicts alike; fooled {int(plain.sum())}, bf16 missed {int((plain & ~fast).sum())} of them and "
        f"fooled {int((fast & ~plain).sum())} others, at {seconds['bf16'] / seconds['float32']:.2f} of the cost"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argument_parser(__doc__)
    parser.add_argument("--steps", type=int, default=10, help="of every run of Auto-PGD and FAB")
    parser.add_argument("--queries", type=int, default=100, help="of Square")
    return parser


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
