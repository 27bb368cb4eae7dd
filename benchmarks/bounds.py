"""Bounds from both sides on the committed digits models: tightness and time.

    python -m benchmarks.bounds --examples 20 --seconds 2
    python -m benchmarks.bounds --examples 20 --radii docs/bounds.png
    python -m benchmarks.bounds --examples 5 --checkpoint runs/models/8ec18d9d22d31982.safetensors --epsilon 0.01

The last one takes a CNN2 or, with benchbench-certified, its strided CNN, trained on MNIST. Printed are, for each model,
quantiles of the Lipschitz bound from above over the one from below, the share of examples that are certified or attacked, and
seconds per example: processor time, as the machine may be shared. The second draws, for each radius, the share of examples
that the paper's theorem certifies, that margins certify, and that withstand an attack.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchbench.builtin.architectures.cnn import make_cnn2
from benchbench.builtin.architectures.mlp import make_mlp
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.datasets.digits import Digits
from benchbench.builtin.datasets.mnist import Mnist
from benchbench.contract import (
    DataSource,
    KeyedGenerator,
    Threat,
    as_model_input,
    bound_lipschitz,
    bound_margins,
    derive_seed,
)
from benchbench.leaderboard import read_leaderboard

BOARD = Path(__file__).resolve().parents[1] / "leaderboards" / "closer-look.parquet"
EPSILON = 0.1
RADII = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1)
NOWHERE = DataSource(root=Path("/nowhere"), cache=Path("/nowhere"))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A committed model and some test examples."""

    name: str
    model: nn.Module
    images: Tensor
    labels: Tensor

    def draws(self, purpose: str) -> KeyedGenerator:
        """Numbers for each example."""
        return KeyedGenerator(derive_seed(0, purpose), torch.arange(len(self.images)))


def stored_state(path: Path) -> dict[str, Tensor]:
    """The state of the model in a checkpoint, or among the stored weights of runs."""
    return {name.removeprefix("model."): one for name, one in load_file(path).items() if name.startswith("model.")}


def subjects(examples: int) -> Iterator[Subject]:
    """The committed digits models, each with the same examples, spread over the test set."""
    test = Digits(scale=1).load(NOWHERE).test
    chosen = torch.arange(examples) * len(test) // examples
    images, labels = as_model_input(test.inputs[chosen]), test.labels[chosen]
    seen = set()
    for row in read_leaderboard(BOARD).to_pylist():
        weights = BOARD.with_suffix("") / "models" / f"{row['model_id']}.safetensors"
        if (
            row["dataset"] != "digits"
            or row["architecture"] != "mlp"
            or row["model_id"] in seen
            or not weights.exists()
        ):
            continue
        seen.add(row["model_id"])
        model = make_mlp(input_shape=images.shape[1:], classes=10)
        model.load_state_dict(stored_state(weights))
        options = json.loads(row["defense_options"])
        strength = next((f" {options[key]:g}" for key in ("beta", "lam") if key in options), "")
        yield Subject(
            name=row["defense"] + strength, model=model.eval().requires_grad_(False), images=images, labels=labels
        )


def stored_network(path: Path, examples: int) -> Subject:
    """A CNN2 or a strided CNN of MNIST, in a checkpoint or among the stored weights of runs."""
    test = Mnist().load(DataSource(root=Path(os.environ["BENCHBENCH_DATA"]), cache=NOWHERE.cache)).test
    chosen = torch.arange(examples) * len(test) // examples
    images, state = as_model_input(test.inputs[chosen]), stored_state(path)
    if "conv4.weight" in state:
        model: nn.Module = make_cnn2(input_shape=(1, 28, 28), classes=10)
        model.load_state_dict(state)
    else:
        from benchmarks.certified import stored_model  # needs benchbench-certified

        model = stored_model(path)
    return Subject(
        name=path.stem[:12], model=model.eval().requires_grad_(False), images=images, labels=test.labels[chosen]
    )


def withstanding(subject: Subject, threat: Threat) -> Tensor:
    """bool (N,): correct under the multi-targeted attack."""
    attack = MultiTargeted()
    found = attack.perturb(
        subject.model, subject.images, subject.labels, threat=threat, generator=subject.draws("attack")
    )
    right = subject.model(found).argmax(dim=1) == subject.labels
    return right & (subject.model(subject.images).argmax(dim=1) == subject.labels)


def lipschitz_sides(subject: Subject, threat: Threat, seconds: float) -> tuple[Tensor, Tensor]:
    """The value from below and the bound from above."""
    draws = subject.draws("search")
    sides = bound_lipschitz(
        subject.model,
        subject.images,
        threat=threat,
        draw=lambda turn: draws.child("round", turn).uniform_like(subject.images),
        branches=10**6 if seconds else 0,
        seconds=seconds or None,
    )
    return torch.maximum(sides.converged, sides.limit), sides.upper


def report(subject: Subject, seconds: float, epsilon: float) -> tuple[str, Tensor, Tensor]:
    """One line of the table; above over below and what is certified or attacked, by example."""
    threat, count = Threat(epsilon=epsilon), len(subject.images)
    begun = time.process_time()
    below, above = lipschitz_sides(subject, threat, seconds)
    took = (time.process_time() - begun) / count
    ratio = above / below
    robust = withstanding(subject, threat)
    begun = time.process_time()
    bounds = bound_margins(
        subject.model,
        subject.images,
        subject.labels,
        threat=threat,
        steps=0 if seconds else 20,  # branch and bound with curves closes more without optimised slopes
        branches=10**6 if seconds else 0,
        seconds=seconds or None,
        hard=robust,
    )
    spent = (time.process_time() - begun) / count
    certified = bounds.values > 0
    if bool((certified & ~robust).any()):
        raise SystemExit(f"{subject.name}: a certified example is attacked")
    shares = "  ".join(f"{float(one.double().mean()):.3f}" for one in (certified, robust, certified | ~robust))
    return (
        f"{subject.name:12}  {_quantiles(ratio)}  {took:5.2f} s  {shares}  {spent:5.2f} s",
        ratio,
        certified | ~robust,
    )


def _quantiles(ratio: Tensor) -> str:
    return "  ".join(f"{float(ratio.quantile(level)):.2f}" for level in (0.5, 0.9))


def draw_radii(subject: Subject, path: Path) -> None:
    """Draw by radius what the theorem certifies, what margins certify, what withstands."""
    from matplotlib import pyplot

    shares: dict[str, list[float]] = {
        "theorem: epsilon x constant < margin": [],
        "certified": [],
        "withstands the attack": [],
    }
    top = subject.model(subject.images).double().topk(2, dim=1)
    margins = (top.values[:, 0] - top.values[:, 1]) * (top.indices[:, 0] == subject.labels)
    for radius in RADII:
        threat = Threat(epsilon=radius)
        _, above = lipschitz_sides(subject, threat, 0.0)
        robust = withstanding(subject, threat)
        certified = bound_margins(subject.model, subject.images, subject.labels, threat=threat, hard=robust).values > 0
        for found, share in zip((radius * above < margins, certified, robust), shares.values()):
            share.append(float(found.double().mean()))
        print(
            f"{subject.name}, radius {radius:g}: " + ", ".join(f"{s[-1]:.3f} {name}" for name, s in shares.items()),
            flush=True,
        )
    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for name, share in shares.items():
        axes.plot(RADII, share, marker="o", label=name)
    axes.fill_between(RADII, shares["certified"], shares["withstands the attack"], alpha=0.2, label="not known")
    axes.set(xlabel="radius (L-inf)", ylabel="share of the test examples", ylim=(0, 1), title=f"digits, {subject.name}")
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Read the arguments, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=36)
    parser.add_argument("--seconds", type=float, default=0.0, help="branch and bound, per example; 0 for none")
    parser.add_argument("--only", default="", help="a model by its name, for instance 'trades 6'")
    parser.add_argument("--radii", type=Path, help="draw shares by radius into this file instead")
    parser.add_argument("--epsilon", type=float, default=EPSILON)
    parser.add_argument("--checkpoint", type=Path, help="of a network trained on MNIST, instead of the digits models")
    arguments = parser.parse_args()
    if arguments.checkpoint:
        chosen = [stored_network(arguments.checkpoint, arguments.examples)]
    else:
        chosen = [one for one in subjects(arguments.examples) if arguments.only in ("", one.name)]
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {arguments.examples} examples"
    )
    if arguments.radii:
        draw_radii(chosen[-1], arguments.radii)
        return
    time.monotonic = time.process_time  # limits are of processor time, too, as others may use the machine
    every = []
    print("model         above/below: median, 90%, time; certified, withstand, certified or attacked, time")
    for subject in chosen:
        line, ratio, closed = report(subject, arguments.seconds, arguments.epsilon)
        print(line, flush=True)
        if not subject.name.startswith("gr"):
            every.append(torch.stack([ratio, closed.double()]))
    if every:
        ratio, closed = torch.cat(every, dim=1)
        print(f"all but gr    {_quantiles(ratio)}; certified or attacked {float(closed.mean()):.3f}")


if __name__ == "__main__":
    main()
