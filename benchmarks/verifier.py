"""Bounds of margins beside an independent verifier: neuralsat, with auto_LiRPA inside.

    python3 -m venv apart && echo /path/to/site-packages/with/benchbench > apart/lib/python3.11/site-packages/shared.pth
    apart/bin/pip install --no-deps neuralsat onnx==1.18 'protobuf<6' beartype coloredlogs humanfriendly termcolor \
        sortedcontainers
    apart/bin/python -m benchmarks.verifier --examples 10 --seconds 5

Subjects are committed digits models and a small convolutional network, trained here. For each example it compares
`bound_margins` with the bounds of auto_LiRPA (CROWN, and with optimised slopes), the verdicts with those of neuralsat,
and all of them with the margin at a point that an attack found, which no bound may exceed. It exits with 1 if one does, or
if two verdicts contradict each other. What neuralsat imports and these checks do not use (Gurobi, ONNX runtime) is replaced.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.datasets.digits import Digits
from benchbench.contract import Threat, as_model_input, bound_margins
from benchmarks.bounds import EPSILON, NOWHERE, Subject, subjects

MODELS = ("at", "natural", "trades 6")
_UNUSED = ("gurobipy", "onnxsim", "onnxruntime", "torchvision")
_SLACK = 1e-5  # auto_LiRPA computes in float32


def verifier_found() -> bool:
    """Whether neuralsat is installed."""
    return importlib.util.find_spec("src") is not None and importlib.util.find_spec("src.abstractor") is not None


def verifier_modules() -> tuple[ModuleType, ModuleType, ModuleType]:
    """auto_LiRPA, and neuralsat's modules of verifiers and of specifications."""
    for name in _UNUSED:
        sys.modules.setdefault(name, MagicMock(__spec__=importlib.machinery.ModuleSpec(name, None)))
    spec = importlib.util.find_spec("src")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("neuralsat is not installed; the head of this file says how")
    sys.path.insert(0, next(iter(spec.submodule_search_locations)))
    names = ("abstractor.auto_LiRPA", "verifier.verifier", "helper.spec.objective")
    found = [importlib.import_module(name) for name in names]
    settings = importlib.import_module("setting").Settings
    settings.setup(None)
    for name in ("use_attack", "use_mip_verify", "use_restart", "use_mip_tightening"):
        setattr(settings, name, 0)  # without Gurobi, and without its attacks: verdicts rest on its bounds
    return found[0], found[1], found[2]


def convolutional(examples: int) -> Subject:
    """A small convolutional network, trained on digits for a few seconds."""
    data = Digits(scale=1).load(NOWHERE)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 32), nn.ReLU()
    )
    model.append(nn.Linear(32, 10))
    draws = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draws) * (2 / parameter[0].numel()) ** 0.5
    inputs, labels = as_model_input(data.train.inputs[:1000]), data.train.labels[:1000]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003, weight_decay=1e-3)
    for _ in range(300):
        chosen = torch.randint(0, len(labels), (100,), generator=draws)
        noise = 0.1 * torch.rand(100, *inputs.shape[1:], generator=draws).sub(0.5).sign()
        optimizer.zero_grad()
        F.cross_entropy(model((inputs[chosen] + noise).clamp(0, 1)), labels[chosen]).backward()
        optimizer.step()
    places = torch.arange(examples) * len(data.test) // examples
    return Subject(
        name="convolutional",
        model=model.eval().requires_grad_(False),
        images=as_model_input(data.test.inputs[places]),
        labels=data.test.labels[places],
    )


def attacked_margins(subject: Subject, threat: Threat) -> Tensor:
    """Margins, (N,), at points that an attack found."""
    found = MultiTargeted().perturb(
        subject.model, subject.images, subject.labels, threat=threat, generator=subject.draws("attack")
    )
    logits = subject.model(found).double()
    others = logits.scatter(1, subject.labels[:, None], -torch.inf).amax(dim=1)
    return logits.gather(1, subject.labels[:, None])[:, 0] - others


def box_of(image: Tensor, threat: Threat) -> tuple[Tensor, Tensor]:
    """The ends of ball and box."""
    ends = (image - threat.epsilon, image + threat.epsilon)
    return ends[0].clamp(threat.lower, threat.upper), ends[1].clamp(threat.lower, threat.upper)


def lirpa_margin(lirpa: Any, subject: Subject, place: int, threat: Threat, method: str) -> float:
    """The lower bound of auto_LiRPA for the least margin."""
    image, label = subject.images[place : place + 1], int(subject.labels[place])
    identity = torch.eye(10)
    rows = torch.stack([identity[label] - identity[other] for other in range(10) if other != label])[None]
    lower, upper = box_of(image, threat)
    ball = lirpa.PerturbationLpNorm(norm=torch.inf, x_L=lower, x_U=upper)
    options = {"optimize_bound_args": {"iteration": 20}}
    bounded = lirpa.BoundedModule(subject.model, torch.empty_like(image), device="cpu", bound_opts=options)
    with torch.enable_grad():
        least, _ = bounded.compute_bounds(
            x=(lirpa.BoundedTensor(image, ball),), C=rows, method=method, bound_upper=False
        )
    return float(least.detach().min())


def specification(image: Tensor, label: int, threat: Threat) -> str:
    """VNN-LIB: a point of the box where another logit is at least that of the label."""
    lower, upper = (one.flatten().tolist() for one in box_of(image, threat))
    lines = [f"(declare-const X_{at} Real)" for at in range(len(lower))]
    lines += [f"(declare-const Y_{at} Real)" for at in range(10)]
    lines += [
        f"(assert (>= X_{at} {low:.12f}))\n(assert (<= X_{at} {high:.12f}))"
        for at, (low, high) in enumerate(zip(lower, upper))
    ]
    wrong = " ".join(f"(and (>= Y_{other} Y_{label}))" for other in range(10) if other != label)
    return "\n".join([*lines, f"(assert (or {wrong}))"])


def verdict(verifier: Any, objectives: Any, subject: Subject, place: int, threat: Threat, seconds: float) -> str:
    """What neuralsat says: unsat (no adversarial point), sat, or unknown."""
    shape = (1, *subject.images.shape[1:])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "property.vnnlib"
        path.write_text(specification(subject.images[place], int(subject.labels[place]), threat))
        parsed = objectives.parse_vnnlib(str(path), shape)
    made = verifier.Verifier(net=subject.model, input_shape=shape, batch=200, device="cpu")
    with torch.enable_grad():
        return str(made.verify(parsed, timeout=seconds))


def compare(subject: Subject, seconds: float) -> Iterator[str]:
    """A line on the subject, and one for each contradiction."""
    lirpa, verifier, objectives = verifier_modules()
    threat = Threat(epsilon=EPSILON)
    attacked = attacked_margins(subject, threat)
    plain = bound_margins(subject.model, subject.images, subject.labels, threat=threat, steps=0).values
    searched = bound_margins(
        subject.model,
        subject.images,
        subject.labels,
        threat=threat,
        steps=0,
        branches=10**6,
        seconds=seconds,
        hard=attacked > 0,
    ).values
    wide = replace(threat, epsilon=threat.epsilon * 0.9999)  # inside the ball that a certificate covers
    theirs = {
        method: torch.tensor([lirpa_margin(lirpa, subject, at, threat, method) for at in range(len(attacked))])
        for method in ("CROWN", "CROWN-Optimized")
    }
    said = [verdict(verifier, objectives, subject, at, wide, seconds) for at in range(len(attacked))]
    proved = torch.tensor([one == "unsat" for one in said])
    refuted = torch.tensor([one == "sat" for one in said])
    gap = (plain - theirs["CROWN"]).abs() / (1 + attacked.abs())
    yield (
        f"{subject.name}: {len(said)} examples, {int((attacked > 0).sum())} withstand; certified {int((searched > 0).sum())}, "
        f"by neuralsat {int(proved.sum())}; without splits {int((plain > 0).sum())}, by auto_LiRPA: CROWN "
        f"{int((theirs['CROWN'] > 0).sum())}, with slopes {int((theirs['CROWN-Optimized'] > 0).sum())}; "
        f"both CROWN differ by {float(gap.median()):.3f} in the median"
    )
    for name, bound in {"plain": plain, "searched": searched, **theirs}.items():
        if bool((bound > attacked + _SLACK).any()):
            yield f"FAULT: {name} is above the margin at an attacked point"
    if bool(((searched > 0) & refuted).any()):
        yield "FAULT: neuralsat refutes a certificate"
    if bool((proved & (attacked <= 0)).any()):
        yield "FAULT: neuralsat proves what an attack refutes"


def main() -> None:
    """Read the arguments, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each example, of both verifiers")
    arguments = parser.parse_args()
    begun, faults = time.monotonic(), 0
    chosen = [one for one in subjects(arguments.examples) if one.name in MODELS]
    for subject in [*chosen, convolutional(arguments.examples)]:
        for line in compare(subject, arguments.seconds):
            faults += line.startswith("FAULT")
            print(line, flush=True)
    print(f"{faults} contradictions, {time.monotonic() - begun:.0f} s")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
