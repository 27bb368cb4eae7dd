"""PGD-10 and multi-targeted (MT) against foolbox, torchattacks, ART, the original and limit.

    python -m benchmarks.attacks --data ../shared/data

CNN2 on MNIST images that it classifies correctly, batches of 64. Costs are multiples of the limit: the same number of forward
and input-gradient passes on the same images, float32, contiguous layout, and nothing else. Before any time counts, every
library's candidates from the same start must equal benchbench's, and MT's verdicts those of a plain loop over all targets.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Attack, Examples, KeyedGenerator, frozen, uniform_start
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.memory import Memory
from benchbench.evaluation.subject import Trial, borrowed, place
from benchbench.events import ignore
from benchbench.kernels.arithmetic import Precision, precision_of_searches, searching
from benchmarks.contest import Contender, compete, show, versions
from benchmarks.limit import input_gradients
from benchmarks.peers import adv_lib_pgd, pgd_peers, targeted_peers
from benchmarks.subjects import BATCH, THREAT, Method, Subject, arguments, mnist, own_copy, subject

MT_PASSES = 20 * 9
# In another memory layout, rounding may change the sign of a gradient that is almost zero, and so the path of an image.
EQUAL_PIXELS = 0.999
EQUAL_VERDICTS = 1.0
PGD_GOALS = {"benchbench": 0.80, "benchbench, bf16": 0.28}
MT_GOALS: Mapping[Method, Mapping[str, float]] = {
    "natural": {"benchbench": 0.65, "benchbench, bf16": 0.29},
    "robust": {"benchbench": 0.75, "benchbench, bf16": 0.34},
}


def main() -> None:
    """Check, time and print."""
    options = arguments(__doc__)
    splits = mnist(options.data)
    subjects: dict[Method, Subject] = {
        "natural": subject("natural", splits, options.examples),
        "robust": subject("robust", splits, options.examples),
    }
    print(versions())
    natural = subjects["natural"]
    print(check_pgd(natural))
    ratios = compete(pgd_contenders(natural), reference="limit", rounds=options.rounds)
    show(f"PGD-10, {len(natural.images)} images, multiples of 10 passes", ratios, PGD_GOALS)
    for method, chosen in subjects.items():
        print(check_targeted(chosen))
        ratios = compete(targeted_contenders(chosen), reference="limit", rounds=max(1, options.rounds // 2))
        show(f"MT, {BATCH} images, {method} model, multiples of 180 passes", ratios, MT_GOALS[method])


def perturbed(
    attack: Attack, model: nn.Module, images: Tensor, labels: Tensor, precision: Precision = "float32"
) -> Tensor:
    """Candidates by benchbench, as its evaluation calls an attack."""
    size = int(getattr(attack, "queue_length", BATCH))
    found = []
    with borrowed(model), precision_of_searches(precision), searching(images.device):
        for rows in torch.arange(len(images), device=images.device).split(size):
            part = images[rows].to(memory_format=torch.channels_last)
            generator = KeyedGenerator(0, rows)
            found.append(attack.perturb(model, part, labels[rows], threat=THREAT, generator=generator))
    return torch.cat(found)


def verdicts(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Whether each image fools the model, judged in float32 and the contiguous layout."""
    with torch.no_grad():
        parts = zip(images.split(BATCH), labels.split(BATCH))
        return torch.cat([model(part.contiguous()).argmax(1) != truth for part, truth in parts])


def check_pgd(chosen: Subject) -> str:
    """Compare candidates from the images themselves.

    Raises:
        SystemExit: candidates differ.
    """
    model, images, labels = own_copy(chosen.model), chosen.images, chosen.labels
    ours = perturbed(Pgd(random_start=False), model, images, labels)
    fooled = verdicts(model, ours, labels)
    report = []
    peers = pgd_peers(model, random_start=False)
    if peers.pop("adv_lib", None):
        report.append(check_adv_lib(model, images, labels, fooled))
    for name, perturb in peers.items():
        theirs = perturb(images, labels)
        same = float(((theirs - ours).abs() < 1e-5).float().mean())
        agreed = float((verdicts(model, theirs, labels) == fooled).float().mean())
        report.append(f"{name} {same:.5f} of pixels, {agreed:.4f} of verdicts")
        if same < EQUAL_PIXELS or agreed < EQUAL_VERDICTS:
            raise SystemExit(f"PGD from the same start differs from {report[-1]}: no times")
    return f"PGD from the same start, equal to: {'; '.join(report)} (fooled: {float(fooled.float().mean()):.3f})"


def check_adv_lib(model: nn.Module, images: Tensor, labels: Tensor, fooled: Tensor) -> str:
    """Check that adv_lib fools all of these, given one more step to check its last iterate.

    Raises:
        SystemExit: it does not fool all of them.
    """
    theirs = verdicts(model, adv_lib_pgd(model, False, steps=11)(images, labels), labels)
    if bool((fooled & ~theirs).any()):
        raise SystemExit(f"adv_lib does not fool {int((fooled & ~theirs).sum())} images that benchbench does: no times")
    return f"adv_lib fools all of these, and {int((theirs & ~fooled).sum())} more on the way"


def check_targeted(chosen: Subject) -> str:
    """Compare MT's verdicts with those of every target on every image, contiguous layout.

    Raises:
        SystemExit: a verdict differs.
    """
    model, images, labels = own_copy(chosen.model), chosen.images[: 2 * BATCH], chosen.labels[: 2 * BATCH]
    fooled = verdicts(model, perturbed(MultiTargeted(), model, images, labels), labels)
    fast = verdicts(model, perturbed(MultiTargeted(), model, images, labels, "bf16"), labels)
    expected = torch.zeros_like(fooled)
    for rows in torch.arange(len(images)).split(BATCH):
        for target in range(10):
            expected[rows] |= plain_run(model, images[rows], labels[rows], rows, target) & (labels[rows] != target)
    if not torch.equal(fooled, expected):
        raise SystemExit(f"MT: {int((fooled != expected).sum())} of {len(images)} verdicts differ: no times")
    share = float((fast == fooled).float().mean())
    fooled_share = float(fooled.float().mean())
    return f"MT: all {len(images)} verdicts equal the plain loop's, bf16's {share:.4f} (fooled: {fooled_share:.3f})"


def plain_run(model: nn.Module, images: Tensor, labels: Tensor, rows: Tensor, target: int) -> Tensor:
    """Whether an ascent of one target's margin fools the model, from benchbench's start."""
    keyed = KeyedGenerator(0, rows).child("target", target)
    candidates = uniform_start(images, threat=THREAT, generator=keyed)
    with frozen(model):
        for _ in range(20):
            candidates = candidates.detach().requires_grad_(True)
            logits = model(candidates)
            margin = (logits[:, target] - logits.gather(1, labels[:, None])[:, 0]).sum()
            (gradient,) = torch.autograd.grad(margin, candidates)
            moved = candidates.detach() + 0.1 * THREAT.epsilon * gradient.sign()
            candidates = THREAT.project(moved, images)
    return verdicts(model, candidates, labels)


def pgd_contenders(chosen: Subject) -> dict[str, Contender]:
    """The contenders, each with its own copy of the model, because some change it."""
    images, labels = chosen.images, chosen.labels
    bare, own, fast, whole = (own_copy(chosen.model) for _ in range(4))
    contenders = {
        "limit": Contender(work=lambda: input_gradients(bare, images, labels, passes=10)),
        "benchbench": Contender(work=lambda: perturbed(Pgd(), own, images, labels)),
        "benchbench, bf16": Contender(work=lambda: perturbed(Pgd(), fast, images, labels, "bf16")),
        "benchbench, checked and judged": Contender(work=lambda: judged(Pgd(), whole, images, labels)),
    }
    for name in pgd_peers(bare, random_start=True):
        perturb = pgd_peers(own_copy(chosen.model), random_start=True)[name]
        contenders[name] = Contender(work=lambda perturb=perturb: perturb(images, labels))  # type: ignore[misc]
    return contenders


def targeted_contenders(chosen: Subject) -> dict[str, Contender]:
    """The contenders on one batch: turns are short, so that other load affects all equally."""
    images, labels = chosen.images[:BATCH], chosen.labels[:BATCH]
    bare, own, fast = (own_copy(chosen.model) for _ in range(3))
    contenders = {
        "limit": Contender(work=lambda: input_gradients(bare, images, labels, passes=30), share=30 / MT_PASSES),
        "benchbench": Contender(work=lambda: perturbed(MultiTargeted(), own, images, labels)),
        "benchbench, bf16": Contender(work=lambda: perturbed(MultiTargeted(), fast, images, labels, "bf16")),
    }
    for name in targeted_peers(bare):
        perturb = targeted_peers(own_copy(chosen.model))[name]
        contenders[name] = Contender(work=lambda perturb=perturb: perturb(images, labels))  # type: ignore[misc]
    return contenders


def judged(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Robust or not by the evaluation: clean prediction, attack, checks, float32 judgement."""
    examples = Examples(inputs=images, labels=labels)
    with borrowed(model):
        trial = Trial(
            model=model,
            splits={"test": place("test", examples, torch.arange(len(images)), torch.device("cpu"))},
            classes=10,
            threat=THREAT,
            attack=attack,
            attack_name="attack",
            seed=0,
            batch_size=BATCH,
            listener=ignore,
        )
        return ModelEvidence(trial, Memory(None)).robust("test")


if __name__ == "__main__":
    main()
