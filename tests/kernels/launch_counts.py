"""Counts launches and synchronisations on the pretend CUDA device, and prints them as JSON; run by test_kernels.py."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pretend_cuda
import torch
from torch import Tensor

from benchbench.builtin.architectures.cnn import make_cnn2
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.defenses.adversarial import AdversarialTraining, RobustSelfTraining
from benchbench.builtin.defenses.gradient_regularisation import GradientRegularisation
from benchbench.builtin.defenses.local_linearity import LocalLinearity
from benchbench.builtin.defenses.natural import Natural
from benchbench.builtin.defenses.trades import Trades
from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import Examples, KeyedGenerator, Threat, frozen
from benchbench.contract.recipe import Augmentation, Precision, Recipe
from benchbench.kernels.determinism import deterministic
from benchbench.kernels.graphs import recording
from benchbench.stopping import StopRequest
from benchbench.training import TrainingJob, loop, train

DEVICE = torch.device("cuda")
THREAT = Threat(epsilon=0.1)
BATCH, STEPS = 2, 5  # the third is recorded, and after the last nobody asks
PLAIN, AUGMENTED = Augmentation(), Augmentation(padding=1, flip=True)
DEFENSES: dict[str, Any] = {
    "natural": Natural(),
    "at": AdversarialTraining(),
    "rst": RobustSelfTraining(),
    "trades": Trades(),
    "gr": GradientRegularisation(),
    "llr": LocalLinearity(),
    "llr released": LocalLinearity(variant="released"),
}


class EachStep(StopRequest):
    """Asked after each step but the last, it notes what was counted until then."""

    def __init__(self, tally: pretend_cuda.Tally) -> None:
        super().__init__()
        self._tally = tally
        self.launches: list[int] = []
        self.waits: list[int] = []

    def is_due(self) -> bool:
        """Never."""
        self.launches.append(self._tally.launches.total())
        self.waits.append(self._tally.waits.total())
        return False


def training_step(
    defense: Any,
    *,
    steps: int = STEPS,
    recorded: bool = False,
    precision: Precision = "float32",
    augmentation: Augmentation = PLAIN,
) -> dict[str, Any]:
    """What the last but one of some steps costs, and the sum of the weights after all of them."""
    rows = torch.arange(steps * BATCH)
    torch.manual_seed(0)
    recipe = Recipe(learning_rate=1e-4, momentum=0.9, batch_size=BATCH, epochs=1, precision=precision)
    job = TrainingJob(
        model=make_cnn2(input_shape=(1, 28, 28), classes=10),
        defense=defense,
        examples=Examples(
            inputs=KeyedGenerator(1, rows).uniform(1, 28, 28).mul_(255).to(torch.uint8),
            labels=KeyedGenerator(2, rows).integers(10),
        ),
        rows=rows,
        threat=THREAT,
        recipe=dataclasses.replace(recipe, augmentation=augmentation),
        seed=0,
        device=DEVICE,
    )
    with deterministic(DEVICE), recording() if recorded else nullcontext(), pretend_cuda.counting() as tally:
        counted = EachStep(tally)
        model = train(job, stop=counted).model
    weights = torch.cat([value.flatten().cpu() for value in model.state_dict().values()])
    return {
        "launches": counted.launches[-1] - counted.launches[-2],
        "waits": counted.waits[-1] - counted.waits[-2],
        "captures": tally.captures,
        "weights": weights.double().sum().item(),
    }


def attacked() -> tuple[Any, Tensor, Tensor]:
    """A model, images, and the classes that it sees in them."""
    torch.manual_seed(0)
    model = make_cnn2(input_shape=(1, 28, 28), classes=10)
    torch.nn.init.normal_(model.dense3.weight, std=0.05)  # type: ignore[arg-type]
    model = model.to(DEVICE).eval()
    images = KeyedGenerator(1, torch.arange(8)).uniform(1, 28, 28).to(DEVICE).to(memory_format=torch.channels_last)
    with torch.no_grad():
        return model, images, model(images).argmax(dim=1)


def calls(act: Callable[[int], object], *, recorded: bool) -> list[dict[str, int]]:
    """What each of three calls costs."""
    counted = []
    with recording() if recorded else nullcontext():
        for number in range(3):
            with pretend_cuda.counting() as tally:
                act(number)
            counted.append(
                {"launches": tally.launches.total(), "syncs": tally.syncs.total(), "captures": tally.captures}
            )
    return counted


def attack_calls(attack: Any, *, recorded: bool) -> list[dict[str, int]]:
    model, images, labels = attacked()
    rows = torch.arange(len(images), device=DEVICE)
    threat = Threat(epsilon=1e-6)  # which fools nobody, so that nothing leaves the batch

    def act(number: int) -> None:
        attack.perturb(model, images, labels, threat=threat, generator=KeyedGenerator(number, rows))

    with frozen(model):
        return calls(act, recorded=recorded)


def lipschitz_calls(*, recorded: bool) -> list[dict[str, int]]:
    model, images, labels = attacked()

    class Asked:
        threat = THREAT

        def batches(self, *_: object) -> list[tuple[Tensor, Tensor, KeyedGenerator]]:
            return [(images, labels, KeyedGenerator(1, torch.arange(len(images), device=DEVICE)))]

    asked: Any = Asked()
    asked.model = model
    with frozen(model):
        return calls(lambda _: LocalLipschitzness().measure(asked), recorded=recorded)


def main() -> None:
    loop.REPORT_SECONDS = math.inf  # the running loss is read by the clock, which on a busy machine is at each step
    pgd = [attack_calls(Pgd(steps=steps), recorded=False)[-1]["launches"] for steps in (10, 20)]
    found = {
        "pgd step": (pgd[1] - pgd[0]) / 10,
        "plain": {name: training_step(defense) for name, defense in DEFENSES.items()},
        "recorded": {name: training_step(defense, recorded=True) for name, defense in DEFENSES.items()},
        "bf16": {
            name: training_step(defense, precision="bf16", steps=STEPS if name == "at" else 3)
            for name, defense in DEFENSES.items()
        },
        "bf16 recorded": {"at": training_step(DEFENSES["at"], recorded=True, precision="bf16")},
        "augmented": {"at": training_step(DEFENSES["at"], augmentation=AUGMENTED)},
        "augmented recorded": {"at": training_step(DEFENSES["at"], recorded=True, augmentation=AUGMENTED)},
        "pgd": attack_calls(Pgd(), recorded=True),
        "mt": attack_calls(MultiTargeted(steps=4), recorded=True),
        "mt plain": attack_calls(MultiTargeted(steps=4), recorded=False),
        "lipschitz": lipschitz_calls(recorded=True),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
