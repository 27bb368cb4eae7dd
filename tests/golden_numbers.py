"""The numbers of every built-in component on a tiny fixed problem, as they were when its revision was recorded.

``python tests/golden_numbers.py`` records those that are new or of another revision; with KIND and NAME only one component's.
Numbers that changed under the same revision are refused, unless ``--anyway`` says that the problem changed, not the component.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from golden_problems import (
    CLASSES,
    COUNT,
    EPSILON,
    SHAPE,
    ImageEvidence,
    Network,
    RegressionEvidence,
    draws,
    fill,
    images,
    labels,
    projected,
)
from torch import Tensor, nn

from benchbench.contract import DataSource, Examples, Threat, data_digest, frozen
from benchbench.contract.offers import Kind
from benchbench.contract.recipe import Augmentation
from benchbench.registry import Registry, load_registry
from benchbench.training.stepping import augment

RECORDED = Path(__file__).with_suffix(".json")
COMMAND = "python tests/golden_numbers.py"
KINDS: tuple[Kind, ...] = ("dataset", "architecture", "defense", "attack", "metric")
IN_EVERY_ID = "the digest of its data is part of every id"
EXEMPT: Mapping[str, str] = {
    f"dataset {name}": IN_EVERY_ID
    for name in ("mnist", "cifar-10", "svhn", "image-folder", "parquet-images", "restricted-imagenet")
}
TOLERANCE = 1e-6  # of the largest number of a list: float64 numbers of another processor differ by far less
LOOSE = {"solved": 1e-5, "initial rms": 0.1}  # what a solver finds; what torch draws, whose versions draw differently
NOWHERE = DataSource(root=Path("/nowhere"), cache=Path("/nowhere"))
Numbers = dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A component with options."""

    kind: Kind
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def component(self) -> str:
        """Kind and name; of a member, the family's."""
        return f"{self.kind} {self.name.partition(':')[0]}"

    @property
    def key(self) -> str:
        """A name for the case."""
        return f"{self.kind} {self.name} {json.dumps(self.options, sort_keys=True)}"


def _cases(kind: Kind, **options: Sequence[Mapping[str, Any]]) -> list[Case]:
    return [Case(kind=kind, name=name.replace("_", "-"), options=one) for name in options for one in options[name]]


_EQUATION, _RELEASED = {"variant": "equation"}, {"variant": "released"}
CASES: tuple[Case, ...] = (
    *_cases("dataset", digits=[{}, {"scale": 1}], spiral=[{}, {"start": 1.0}], staircase=[{}]),
    *_cases(
        "architecture",
        cnn1=[{}],
        cnn2=[{}],
        mlp=[{"hidden": [7, 6]}],
        wrn=[{"depth": 10, "width": 1}, {"depth": 16, "width": 2, "dropout": 0.3}],
        resnet50=[{}],
        cubic_spline=[{}, {"stairs": 4, "ridge": 0.5}],
    ),
    Case(kind="architecture", name="timm:resnet18"),
    *_cases(
        "defense",
        natural=[{}],
        at=[{}],
        trades=[{}],
        rst=[{"lam": 2.0}],
        gr=[{"beta": 0.3, **_EQUATION}, {"beta": 0.3, **_RELEASED}],
        llr=[{"mu": 0.0, "lam": 0.02, **_RELEASED}, {"mu": 0.0, **_EQUATION}, {**_EQUATION}],
        distance=[{}, {"r": 0.2}],
    ),
    *_cases(
        "attack",
        pgd=[{}, {"restarts": 2, "keep": "best"}, {"random_start": False}],
        pgd_10=[{}],
        mt=[{}, _RELEASED],
        mt_20=[{}],
        apgd=[{}, {"loss": "dlr", "steps": 40}, {"loss": "dlr-targeted", "steps": 40}],
        fab=[{"steps": 10, "targets": 2}],
        square=[{"queries": 1200}],
        autoattack=[{"steps": 10, "targets": 2, "queries": 60}],
        exact=[{}],
    ),
    Case(kind="attack", name="foolbox:L2CarliniWagnerAttack", options={"steps": 8}),
    Case(kind="attack", name="foolbox:LinfPGD"),
    Case(kind="attack", name="foolbox:L2RepeatedAdditiveUniformNoiseAttack"),
    Case(kind="attack", name="foolbox-from-images:PointwiseAttack"),
    *_cases(
        "metric",
        accuracy=[{}],
        adversarial_accuracy=[{}],
        gaps=[{}],
        lipschitz=[_EQUATION, _RELEASED],
        squared_error=[{}],
        target_lipschitz=[{}],
        certified_accuracy=[{"branches": 8}],
        lipschitz_bounds=[{"branches": 2}],
    ),
)
AUGMENTATIONS = (Augmentation(padding=2, flip=True), Augmentation(padding=1, crop=5), Augmentation(flip=True))


def numbers_of(case: Case, registry: Registry) -> Numbers:
    """Compute the numbers of a case; the global state of torch is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _COMPUTE[case.kind](case, registry)


def _make(case: Case, registry: Registry) -> Any:
    return registry.make(case.kind, registry.resolve(case.kind, case.name, case.options))


def _dataset(case: Case, registry: Registry) -> Numbers:
    found = _make(case, registry).load(NOWHERE)
    digest = data_digest(found)
    parts = [float(int(digest[start : start + 8], 16)) for start in range(0, len(digest), 8)]
    return {"digest": parts, "sizes": [float(len(found.train)), float(len(found.test)), found.lower, found.upper]}


def _architecture(case: Case, registry: Registry) -> Numbers:
    component = registry.resolve("architecture", case.name, case.options)
    if case.name == "cubic-spline":
        return _spline(registry.make("architecture", component, input_shape=(1,), classes=0))
    shape = (3, 32, 32) if case.name == "resnet50" or ":" in case.name else (1, 16, 16)
    model = registry.make("architecture", component, input_shape=shape, classes=CLASSES).double().eval()
    large = [parameter for parameter in model.parameters() if parameter.numel() >= 256]
    initial = [float(parameter.detach().square().mean().sqrt()) for parameter in large]
    settings = [
        float(getattr(m, name)) for m in model.modules() for name in ("p", "eps", "momentum") if hasattr(m, name)
    ]
    fill(model)
    with torch.no_grad():
        logits = model(draws("pixels", 2).uniform(*shape).double())
    sizes = [float(sum(parameter.numel() for parameter in model.parameters()))]
    return {"initial rms": initial, "settings": settings, "logits": logits.flatten().tolist(), "sizes": sizes}


def _spline(model: Any) -> Numbers:
    positions = torch.linspace(-0.5, 3.5, 9, dtype=torch.float64)[:, None]
    parts = {"features": model.features(positions), "slopes": model.slopes(positions), "penalty": model.penalty()}
    return {"ridge": [model.ridge], **{name: projected(part) for name, part in parts.items()}}


def _defense(case: Case, registry: Registry) -> Numbers:
    defense, found = _make(case, registry), Numbers()
    norms = registry.get("defense", case.name).offer.capabilities.norms
    for norm in [norm for norm in ("linf", "l2") if norm in norms]:
        threat = Threat(norm=norm, epsilon=EPSILON[norm])
        numbers = _fitted(defense, threat) if hasattr(defense, "fit") else _trained(defense, threat)
        found |= {f"{norm} {name}": values for name, values in numbers.items()}
    if hasattr(defense, "fit_regression") and getattr(defense, "mu", 0.0) == 0.0:
        found |= _regression(defense, registry)
    return found


def _trained(defense: Any, threat: Threat) -> Numbers:
    model = Network().train()
    batch = defense.loss(model, images(), labels(), threat=threat, generator=draws("training"))
    gradients = torch.autograd.grad(batch.loss, list(model.parameters()))
    flat = torch.cat([gradient.flatten() for gradient in gradients])[None]
    buffers = torch.cat([model.normalisation.running_mean, model.normalisation.running_var])[None]
    shown = [] if batch.logits is None else projected(batch.logits)
    return {
        "loss": [batch.loss.item()],
        "gradient": [float(flat.norm()), *projected(flat)],
        "logits": shown,
        "batch norm": projected(buffers),
    }


def _fitted(defense: Any, threat: Threat) -> Numbers:
    moved = (images() + 0.05 * draws("moved").normal(*SHAPE).double()).requires_grad_(True)
    found = Numbers()
    for name, inputs in {"features": images().float(), "bytes": (images() * 255).byte()}.items():
        examples = Examples(inputs=inputs, labels=torch.arange(COUNT) % CLASSES)
        model = defense.fit(Network(), examples, classes=CLASSES, threat=threat, generator=draws("fit"))
        logits = model(moved)
        (gradient,) = torch.autograd.grad(logits.square().sum(), moved)
        found |= {f"logits of {name}": logits.flatten().tolist(), f"gradient of {name}": projected(gradient)}
    return found


def _regression(defense: Any, registry: Registry) -> Numbers:
    data = registry.make("dataset", registry.resolve("dataset", "staircase", {"n_train": 30, "n_test": 1}))
    model = registry.make(
        "architecture", registry.resolve("architecture", "cubic-spline", {"ridge": 0.1}), input_shape=(1,), classes=0
    )
    train = data.load(NOWHERE).train
    fitted = defense.fit_regression(model, train, threat=Threat(epsilon=1 / 3, lower=-math.inf, upper=math.inf))
    positions = torch.linspace(0.0, 5.0, 16, dtype=torch.float64)[:, None]
    return {"regression solved": fitted(positions).tolist()}


def _attack(case: Case, registry: Registry) -> Numbers:
    attack, found = _make(case, registry), Numbers()
    norms = getattr(attack, "norms", registry.get("attack", case.name).offer.capabilities.norms)
    for norm in norms:
        threat = Threat(norm=norm, epsilon=EPSILON[norm])
        model: nn.Module = Network().eval()
        inputs, targets = images(), labels()
        if case.name == "exact":
            model, inputs, targets = (
                _Curve(),
                draws("positions").uniform(1, high=9.0).double(),
                torch.zeros(COUNT).double(),
            )
        starts = {"starts": inputs.roll(1, 0)} if getattr(attack, "takes_starts", False) else {}
        with frozen(model):
            candidates = attack.perturb(model, inputs, targets, threat=threat, generator=draws("attack"), **starts)
        found[f"{norm} distance"] = threat.distance(candidates, inputs).tolist()
        found[f"{norm} candidates"] = projected(candidates - inputs)
        found[f"{norm} logits"] = projected(model(candidates).detach().view(COUNT, -1))
    return found


class _Curve(nn.Module):
    """A function to attack and to measure where the data is for regression."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sin(2.0 * inputs[:, 0]) + 0.1 * inputs[:, 0]


def _metric(case: Case, registry: Registry) -> Numbers:
    threat = Threat(epsilon=EPSILON["linf"])
    regression = registry.get("metric", case.name).offer.capabilities.task == "regression"
    evidence: Any = (
        RegressionEvidence(model=_Curve(), threat=threat)
        if regression
        else ImageEvidence(model=_network(case).eval().requires_grad_(False), threat=threat)
    )
    measured = _make(case, registry).measure(evidence)
    columns = {name: [float(value) for value in column] for name, column in measured.per_example.items()}
    return {**{name: [float(value)] for name, value in measured.values.items()}, **columns}


def _network(case: Case) -> nn.Module:
    """The network, with rectifiers for metrics that know no others."""
    return Network(torch.relu) if case.name in ("certified-accuracy", "lipschitz-bounds") else Network()


_COMPUTE: Mapping[str, Callable[[Case, Registry], Numbers]] = {
    "dataset": _dataset,
    "architecture": _architecture,
    "defense": _defense,
    "attack": _attack,
    "metric": _metric,
}


def augmentation_numbers() -> dict[str, Numbers]:
    """What augmentations make of images, by their label."""
    return {
        augmentation.label: {"images": projected(augment(images(), augmentation, draws("augmentation")))}
        for augmentation in AUGMENTATIONS
    }


def differing(recorded: Numbers, now: Numbers) -> list[str]:
    """Names of the numbers that are not as recorded."""
    return [name for name in sorted({*recorded, *now}) if not _same(name, recorded.get(name), now.get(name))]


def _same(name: str, recorded: list[float] | None, now: list[float] | None) -> bool:
    if recorded is None or now is None or len(recorded) != len(now):
        return False
    loose = [allowed for ending, allowed in LOOSE.items() if name.endswith(ending)]
    largest = max((abs(value) for value in recorded if math.isfinite(value)), default=0.0)
    allowed = (loose[0] if loose else TOLERANCE) * largest
    if name.endswith("initial rms"):
        return all(abs(old - new) <= loose[0] * old for old, new in zip(recorded, now))
    return all(old == new or abs(old - new) <= allowed for old, new in zip(recorded, now))


def read() -> dict[str, Any]:
    """What is recorded: by component its revision and, by case, its numbers."""
    return json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.is_file() else {}


def record(chosen: Sequence[Case], registry: Registry, *, anyway: bool) -> Iterator[str]:
    """Write the numbers of cases down; yields what is refused."""
    recorded, fresh = read(), dict[str, Any]()
    for case in chosen:
        entry = fresh.setdefault(
            case.component, {"revision": registry.get(case.kind, case.name).offer.revision, "cases": {}}
        )
        entry["cases"][case.key] = _rounded(numbers_of(case, registry))
    for component, entry in fresh.items():
        known = recorded.get(component, entry)
        both = known["cases"].keys() & entry["cases"].keys()
        changed = any(differing(known["cases"][key], entry["cases"][key]) for key in both)
        if changed and known["revision"] == entry["revision"] and not anyway:
            yield f"numbers of {component} changed: raise its revision (now {entry['revision']}) in its Offer first"
        else:
            recorded[component] = entry
    if anyway or "augmentation" not in recorded:
        recorded["augmentation"] = {name: _rounded(numbers) for name, numbers in augmentation_numbers().items()}
    RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _rounded(numbers: Numbers) -> Numbers:
    return {name: [float(f"{value:.10g}") for value in values] for name, values in numbers.items()}


def main(arguments: Sequence[str]) -> int:
    """Record golden numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--anyway", action="store_true", help="even if numbers changed under the same revision")
    asked = parser.parse_args(arguments)
    wanted = f"{asked.kind or ''} {asked.name or ''}".strip()
    chosen = [case for case in CASES if not wanted or wanted in (case.kind, case.component)]
    if not chosen:
        parser.error(f"no case of {wanted}")
    refused = list(record(chosen, load_registry(), anyway=asked.anyway))
    print(*refused, sep="\n", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
