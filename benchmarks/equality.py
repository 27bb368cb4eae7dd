"""Compare a device with the CPU, recorded steps with plain ones; for ``benchmarks.device``.

Losses and gradients of each defense, candidates of PGD and MT, Lipschitzness, each from equal weights, images and draws; the
fused kernels against the operations that they stand for; CUDA graphs against plain steps on the device, which must agree bit by
bit. Sign steps turn where a gradient is all but zero, so that what a search finds may differ a little between devices.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.defenses.adversarial import AdversarialTraining, RobustSelfTraining
from benchbench.builtin.defenses.gradient_regularisation import GradientRegularisation
from benchbench.builtin.defenses.local_linearity import LocalLinearity
from benchbench.builtin.defenses.natural import Natural
from benchbench.builtin.defenses.trades import Trades
from benchbench.contract import Attack, Defense, Examples
from benchbench.contract.recipe import Recipe
from benchbench.kernels import fused
from benchbench.kernels.determinism import deterministic
from benchbench.kernels.graphs import recording
from benchbench.training import TrainedModel, TrainingJob, train
from benchmarks.attacks import perturbed, verdicts
from benchmarks.ledger import GRAPHS, Ledger
from benchmarks.lipschitz import estimate
from benchmarks.speeds import GREY, Problem, problem
from benchmarks.subjects import BATCH, THREAT, own_copy, untrained

# On a CPU, weights changed in their last bit moved the loss of a defense with an inner search by 2e-5 of it and its gradient by
# 0.0015 (1 - cosine); without a search, by nothing and 1e-12.
LOSS, DIRECTION, SEARCHED_DIRECTION = 1e-3, 1e-5, 0.01
PIXELS, VERDICTS, LIPSCHITZ = 0.02, 0.02, 0.005  # shares that differ; difference of the means
KERNEL = 0.0  # a fused kernel gives the same bits, or is not used
GRAPH = 0.0
STEPS = 6  # of a training: two plain ones, a recording, replays
DEFENSES: dict[str, tuple[Defense, bool]] = {  # and whether it has an inner search
    "natural": (Natural(), False),
    "AT": (AdversarialTraining(), True),
    "RST": (RobustSelfTraining(), True),
    "TRADES": (Trades(beta=6.0), True),
    "GR": (GradientRegularisation(), False),
    "GR as released": (GradientRegularisation(variant="released"), False),
    "LLR": (LocalLinearity(), True),
    "LLR as released": (LocalLinearity(variant="released"), True),
}
ATTACKS: dict[str, Attack] = {"PGD-10": Pgd(), "MT": MultiTargeted()}
RECIPE = Recipe(optimizer="sgd", learning_rate=1.0, momentum=0.0, batch_size=BATCH, epochs=1)
CPU = torch.device("cpu")


def main(arguments: list[str] | None = None) -> None:
    """Check everything; what cannot be checked is kept as a fault, and the next check follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--ledger", type=Path)
    options = parser.parse_args(arguments)
    ledger, device = Ledger(path=options.ledger), torch.device(options.device)
    here = problem(subject(), GREY, 2 * BATCH, CPU)
    with deterministic(device):
        for name, check in _checks(here, device):
            try:
                check(ledger, name)
            except Exception as error:
                ledger.fault(name, error)


Check = Callable[[Ledger, str], None]


def _checks(here: Problem, device: torch.device) -> Iterator[tuple[str, Check]]:
    """All checks by name; those that decide whether rows may use graphs precede the slow ones."""
    yield "fused kernels", lambda ledger, _: check_kernels(ledger, device)
    for name in DEFENSES:
        yield name, lambda ledger, name: check_defense(ledger, name, here, device)
    if device.type == "cuda":
        for name in DEFENSES:
            yield f"{GRAPHS}{name}", lambda ledger, full, name=name: check_recorded(ledger, full, name, here, device)
        for name in ATTACKS:
            yield f"{GRAPHS}{name}", lambda ledger, full, name=name: check_replay(ledger, full, name, here, device)
    for name in ATTACKS:
        yield name, lambda ledger, name: check_attack(ledger, name, here, device)
    yield "Lipschitzness", lambda ledger, _: check_lipschitz(ledger, here, device)


def subject() -> nn.Module:
    """CNN2 without dropout, whose masks differ from device to device."""
    model = untrained()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return model


def trained(
    here: Problem, defense: Defense, device: torch.device, *, steps: int = 1, rate: float = 1.0
) -> TrainedModel:
    """The model after some steps on a device, each on the same images."""
    images = here.images[:BATCH].mul(255).to(torch.uint8)
    job = TrainingJob(
        model=own_copy(here.model),
        defense=copy.deepcopy(defense),
        examples=Examples(inputs=images, labels=here.labels[:BATCH]),
        rows=torch.arange(BATCH),
        threat=THREAT,
        recipe=dataclasses.replace(RECIPE, epochs=steps, learning_rate=rate),
        seed=0,
        device=device,
    )
    return train(job)


def weights(model: nn.Module) -> Tensor:
    """All of them in a row, on the CPU."""
    return torch.cat([parameter.detach().cpu().flatten() for parameter in model.parameters()])


def check_defense(ledger: Ledger, name: str, here: Problem, device: torch.device) -> None:
    """The loss of a batch, and the gradient: a step of length 1 moves the weights by it."""
    defense, searches = DEFENSES[name]
    before = weights(here.model)
    ours, theirs = trained(here, defense, device), trained(here, defense, CPU)
    moves = [(weights(found.model) - before).double() for found in (ours, theirs)]
    cosine = float(torch.nn.functional.cosine_similarity(*moves, dim=0))
    ledger.check(f"{name}: loss", abs(ours.history[0].loss / theirs.history[0].loss - 1), most=LOSS)
    ledger.check(
        f"{name}: gradient, 1 - cosine", max(1 - cosine, 0.0), most=SEARCHED_DIRECTION if searches else DIRECTION
    )


def check_recorded(ledger: Ledger, full: str, name: str, here: Problem, device: torch.device) -> None:
    """Weights after recorded steps against those after plain ones, on the device."""
    defense, _ = DEFENSES[name]
    plain = weights(trained(here, defense, device, steps=STEPS, rate=1e-3).model)
    with recording():
        recorded = weights(trained(here, defense, device, steps=STEPS, rate=1e-3).model)
    ledger.check(f"{full}: weights that differ", _share_apart(plain, recorded), most=GRAPH)


def check_replay(ledger: Ledger, full: str, name: str, here: Problem, device: torch.device) -> None:
    """Candidates of recorded calls against those of plain ones, on the device."""
    there = _moved(here, device)
    plain = perturbed(ATTACKS[name], there.model, there.images, there.labels)
    with recording():
        recorded = perturbed(ATTACKS[name], there.model, there.images, there.labels)
    ledger.check(f"{full}: pixels that differ", _share_apart(plain, recorded), most=GRAPH)


def check_attack(ledger: Ledger, name: str, here: Problem, device: torch.device) -> None:
    """Candidates and verdicts against the CPU's; all are judged there."""
    there = _moved(here, device)
    ours = perturbed(ATTACKS[name], there.model, there.images, there.labels).cpu()
    theirs = perturbed(ATTACKS[name], own_copy(here.model).eval(), here.images, here.labels)
    judge = own_copy(here.model).eval()
    fooled = [verdicts(judge, candidates, here.labels) for candidates in (ours, theirs)]
    ledger.check(f"{name}: pixels that differ", float(((ours - theirs).abs() > 1e-5).float().mean()), most=PIXELS)
    ledger.check(f"{name}: verdicts that differ", _share_apart(*fooled), most=VERDICTS)


def check_lipschitz(ledger: Ledger, here: Problem, device: torch.device) -> None:
    """The mean against the CPU's."""
    there = _moved(here, device)
    ours = estimate(there.model, there.images, there.labels).mean()
    theirs = estimate(own_copy(here.model).eval(), here.images, here.labels).mean()
    ledger.check("Lipschitzness: mean", abs(float(ours / theirs) - 1), most=LIPSCHITZ)


def check_kernels(ledger: Ledger, device: torch.device) -> None:
    """Compare fused kernels with plain operations; a kernel that cannot be compiled is not used."""
    refused = _Refused()
    logging.getLogger(fused.__name__).addHandler(refused)
    try:
        for name, plain in fused.PLAIN.items():
            given, options = _given(name, device)
            found, expected = getattr(torch.ops.benchbench, name)(*given, **options), plain(*given, **options)
            pairs = zip(found, expected) if isinstance(expected, tuple) else [(found, expected)]
            apart = max(_share_apart(one, other) for one, other in pairs)
            ledger.check(f"kernel {name}: numbers that differ", apart, most=KERNEL)
    finally:
        logging.getLogger(fused.__name__).removeHandler(refused)
    ledger.fact("fused", "; ".join(refused.told) or ("all compiled" if device.type == "cuda" else "only on CUDA"))


class _Refused(logging.Handler):
    """Collects what is said of kernels that are not used."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(" ".join(record.getMessage().split())[:300])


def _given(name: str, device: torch.device) -> tuple[list[Tensor], dict[str, Any]]:
    """Random tensors of one shape for an operator, with zeros and ties; and its numbers."""
    arguments = getattr(torch.ops.benchbench, name).default._schema.arguments
    count = sum(str(argument.type) == "Tensor" for argument in arguments)
    options = {argument.name: 0.5 for argument in arguments if str(argument.type) != "Tensor"}
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(-8, 9, (4096,), generator=generator) for _ in range(count)]
    return [(part if name == "keyed_bits" else part / 4).to(device) for part in drawn], options


def _moved(here: Problem, device: torch.device) -> Problem:
    return Problem(
        model=own_copy(here.model).to(device).eval(), images=here.images.to(device), labels=here.labels.to(device)
    )


def _share_apart(one: Tensor, other: Tensor) -> float:
    return float((one != other).float().mean())


if __name__ == "__main__":
    main()
