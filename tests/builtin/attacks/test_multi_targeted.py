"""The multi-targeted attack against brute force over targets, and its two variants."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchbench.builtin.attacks.margins import margin
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.contract import KeyedGenerator, OptionError, Threat, ascend, frozen, uniform_start
from benchbench.testing.attacks import check_attack
from benchbench.testing.toys import LinearToy, smooth_toy


def every_target(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, generator: KeyedGenerator) -> Tensor:
    """Largest margin (N,) over an ascent to each wrong class, nothing dropped, one example and target after the other."""
    classes = model(images[:1]).shape[1]
    best = torch.full((len(images),), -torch.inf)
    for row in range(len(images)):
        one = torch.tensor([row])
        for target in set(range(classes)) - {int(labels[row])}:
            start = uniform_start(images[one], threat=threat, generator=generator.child("target", target).take(one))

            def objective(x: Tensor, t: int = target, y: int = int(labels[row])) -> Tensor:
                return (model(x)[:, t] - model(x)[:, y]).sum()

            step_size = 0.1 * threat.epsilon
            last = ascend(objective, start, images[one], threat=threat, steps=20, step_size=step_size)
            best[row] = torch.maximum(best[row], margin(model(last), labels[one])[0])
    return best


def problem(count: int, classes: int) -> tuple[nn.Module, Tensor, Tensor, KeyedGenerator]:
    draws = KeyedGenerator(21, torch.arange(count))
    model = smooth_toy((1, 6, 6), classes).eval()
    images = draws.uniform(1, 6, 6)
    return model, images, model(images).argmax(dim=1), draws.child("attack")


def test_mt_keeps_the_contract() -> None:
    check_attack(MultiTargeted(), norms=("linf", "l2"), classes=(2, 9))


def test_the_released_variant_keeps_the_contract() -> None:
    check_attack(MultiTargeted(variant="released"), norms=("linf",), classes=(2,))


@pytest.mark.exhaustive
def test_mt_copes_with_a_thousand_classes() -> None:
    model, images, labels, generator = problem(2, 1000)
    threat = Threat(epsilon=0.001)
    with frozen(model):
        candidates = MultiTargeted(steps=1).perturb(model, images, labels, threat=threat, generator=generator)
    assert candidates.shape == images.shape


def test_dropping_fooled_examples_changes_no_verdict() -> None:
    model, images, labels, generator = problem(30, 6)
    threat = Threat(epsilon=0.1)
    with frozen(model):
        reference = every_target(model, images, labels, threat, generator) > 0
        candidates = MultiTargeted().perturb(model, images, labels, threat=threat, generator=generator)
    assert 3 < int(reference.sum()) < 27
    assert torch.equal(margin(model(candidates), labels) > 0, reference)


def test_mt_reaches_the_exact_optimum_of_a_linear_model() -> None:
    draws = KeyedGenerator(4, torch.arange(20))
    model = LinearToy(KeyedGenerator(5, torch.arange(10)).normal(25)).eval()
    images = draws.uniform(25, low=0.3, high=0.7)
    labels = model(images).argmax(dim=1)
    threat = Threat(epsilon=0.09)
    logits = model(images)
    reach = (model.weight[None] - model.weight[labels][:, None]).abs().sum(dim=2)  # dual norm: exact by Hoelder
    exact = logits - logits.gather(1, labels[:, None]) + threat.epsilon * reach
    exact = exact.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    with frozen(model):
        candidates = MultiTargeted().perturb(model, images, labels, threat=threat, generator=draws)
    found = margin(model(candidates), labels)
    assert torch.equal(found > 0, exact > 0)
    assert 0 < int((exact > 0).sum()) < 20
    torch.testing.assert_close(found[exact < 0], exact[exact < 0], rtol=1e-4, atol=1e-5)


def test_runs_towards_different_targets_start_at_different_points() -> None:
    images, targets, threat = torch.full((4, 6), 0.5), torch.tensor([1, 2, 1, 3]), Threat(epsilon=0.1)
    generator = KeyedGenerator(8, torch.tensor([30, 30, 31, 30]))  # three of them one example
    starts = uniform_start(images, threat=threat, generator=generator.children("target", targets, 4))
    for row, target in enumerate(targets.tolist()):
        one = torch.tensor([row])
        keyed = generator.child("target", target).take(one)
        assert torch.equal(starts[one], uniform_start(images[one], threat=threat, generator=keyed))
    assert len(set(map(tuple, starts.tolist()))) == 4


def test_fooled_examples_cost_no_further_passes() -> None:
    model, images, labels, generator = problem(16, 6)
    seen = []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    with frozen(model):
        MultiTargeted().perturb(model, images, labels, threat=Threat(epsilon=0.9), generator=generator)
        easy = sum(seen)
        seen.clear()
        MultiTargeted().perturb(model, images, labels, threat=Threat(epsilon=1e-6), generator=generator)
    assert sum(seen) == 16 + 16 * 5 * 21  # clean once; five targets, twenty steps and one check each
    assert easy < sum(seen) / 3


def test_misclassified_images_are_returned_as_they_are() -> None:
    model, images, labels, generator = problem(5, 3)
    wrong = (labels + 1) % 3
    with frozen(model):
        candidates = MultiTargeted().perturb(model, images, wrong, threat=Threat(epsilon=0.1), generator=generator)
    assert torch.equal(candidates, images)


def test_the_released_variant_keeps_the_most_confident_target() -> None:
    model, images, labels, generator = problem(6, 4)
    threat = Threat(epsilon=0.1)
    with frozen(model):
        candidates = MultiTargeted(variant="released").perturb(
            model, images, labels, threat=threat, generator=generator
        )
        best = torch.zeros(6)
        for target in range(4):
            aim = torch.full_like(labels, target)
            start = uniform_start(images, threat=threat, generator=generator.child("target", target))
            last = ascend(
                lambda x, aim=aim: -cross_entropy(model(x), aim, reduction="sum"),
                start,
                images,
                threat=threat,
                steps=20,
                step_size=0.01,
            )
            best = torch.where(labels == target, best, torch.maximum(best, model(last).softmax(1)[:, target]))
    reached = model(candidates).softmax(1).scatter(1, labels[:, None], 0.0).amax(dim=1)
    torch.testing.assert_close(reached, best, rtol=1e-4, atol=1e-6)


def test_bad_options_are_refused() -> None:
    with pytest.raises(OptionError, match="variant must be"):
        MultiTargeted(variant="best")  # type: ignore[arg-type]
