"""Square Attack: its schedule, what it proposes, queries counted, and strength on linear models."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.square import QUERIES_PER_BLOCK, Square
from benchbench.builtin.attacks.autoattack.squares import (
    draws_per_query,
    propose_square,
    propose_transfer,
    share_of_pixels,
    stripes,
    tiles,
)
from benchbench.builtin.attacks.margins import margin
from benchbench.contract import KeyedGenerator, OptionError, Threat, frozen
from benchbench.testing import LinearToy, smooth_toy, toy_attack_problem


def test_the_share_of_pixels_halves_after_the_queries_that_the_paper_names() -> None:
    queries = (0, 10, 11, 50, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)
    powers = (0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert [share_of_pixels(query) for query in queries] == [0.8 / 2**power for power in powers]


def test_square_reaches_the_exact_optimum_in_linf_once_squares_are_single_pixels() -> None:
    draws = KeyedGenerator(2, torch.arange(3))
    model = LinearToy(KeyedGenerator(3, torch.arange(2)).normal(16)).eval()
    images = draws.uniform(1, 4, 4, low=0.4, high=0.6)
    labels = model(images).argmax(dim=1)
    distances = model.distance(images, labels, "linf")
    for factor in (1.01, 0.99):
        for row in range(3):
            one = torch.tensor([row])
            threat = Threat(epsilon=factor * float(distances[row]), lower=-9.0, upper=9.0)
            with frozen(model):
                candidates = Square(queries=1500).perturb(
                    model, images[one], labels[one], threat=threat, generator=draws.take(one)
                )
            assert bool(margin(model(candidates), labels[one]) > 0) == (factor > 1)


class Stubborn(nn.Module):
    """Never fooled; counts the examples that pass and whether a gradient was wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0
        self.gradients = False

    def forward(self, inputs: Tensor) -> Tensor:
        self.passed += len(inputs)
        self.gradients |= torch.is_grad_enabled()
        score = inputs.flatten(1).sum(dim=1)
        return torch.stack([score + 100.0, score - 100.0], dim=1)


def test_proposals_are_counted_from_0_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    def propose(images: Tensor, best: Tensor, draws: Tensor, query: int) -> Tensor:
        counted.append(query)
        return best

    monkeypatch.setattr("benchbench.builtin.attacks.autoattack.square.propose_square", lambda _: propose)
    images, rows = torch.full((1, 1, 5, 5), 0.5), torch.arange(1)
    attack, generator = Square(queries=QUERIES_PER_BLOCK + 5), KeyedGenerator(1, rows)
    attack.perturb(Stubborn(), images, rows, threat=Threat(epsilon=0.1), generator=generator)
    assert counted == list(range(QUERIES_PER_BLOCK + 4))  # the start is the first query


@pytest.mark.parametrize("queries", [1, 2, QUERIES_PER_BLOCK, QUERIES_PER_BLOCK + 1, QUERIES_PER_BLOCK + 2])
def test_exactly_the_queries_asked_for_are_spent_without_gradients(queries: int) -> None:
    model = Stubborn()
    images = torch.full((3, 2, 5, 5), 0.5)
    labels = torch.zeros(3, dtype=torch.int64)
    generator = KeyedGenerator(1, torch.arange(3))
    Square(queries=queries).perturb(model, images, labels, threat=Threat(epsilon=0.1), generator=generator)
    assert model.passed == 3 * (queries + 2)  # clean images once, final candidates once
    assert not model.gradients


def test_a_proposal_in_linf_changes_one_square_to_one_face_of_the_ball_for_each_channel() -> None:
    threat = Threat(epsilon=0.1)
    images = torch.full((50, 3, 9, 7), 0.5)
    draws = KeyedGenerator(1, torch.arange(50)).uniform(draws_per_query(threat, 3))
    for query in (0, 100, 4999):
        delta = propose_square(threat)(images, images, draws, query) - images
        moved = delta.abs() > 0.05
        side = round(math.sqrt(share_of_pixels(query) * 63)) or 1
        heights = moved.any(dim=3).sum(dim=2)
        widths = moved.any(dim=2).sum(dim=2)
        assert bool((heights == min(side, 9)).all())
        assert bool((widths == min(side, 7)).all())
        torch.testing.assert_close(delta[moved].abs(), torch.full_like(delta[moved], 0.1))
        for channel in delta.flatten(2).unbind(dim=1):
            assert bool(((channel.amax(dim=1) > 0.05) ^ (channel.amin(dim=1) < -0.05)).all())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 9), (2, 3, 3), (1, 1, 10)])
def test_starts_and_proposals_in_l2_stay_on_the_ball_for_any_shape(shape: tuple[int, int, int]) -> None:
    threat = Threat(norm="l2", epsilon=0.2)
    images = torch.full((20, *shape), 0.5)
    draws = KeyedGenerator(1, torch.arange(20))
    best = tiles(images, draws.uniform(shape[0], 8, 8), threat)
    torch.testing.assert_close(threat.distance(best, images), torch.full((20,), 0.2))
    propose = propose_transfer(threat)
    for query in (0, 20, 300, 4000):
        best = propose(images, best, draws.uniform(draws_per_query(threat, shape[0])), query)
        torch.testing.assert_close(threat.distance(best, images), torch.full((20,), 0.2))


def test_a_single_pixel_in_l2_stays_in_the_ball() -> None:
    threat = Threat(norm="l2", epsilon=0.2)
    images = torch.full((20, 1, 1, 1), 0.5)
    draws = KeyedGenerator(1, torch.arange(20))
    best = tiles(images, draws.uniform(1, 8, 8), threat)
    proposed = propose_transfer(threat)(images, best, draws.uniform(draws_per_query(threat, 1)), 0)
    assert float(threat.distance(proposed, images).max()) <= 0.2 + 1e-6


def test_a_transfer_empties_one_window_and_leaves_the_rest_in_proportion() -> None:
    threat = Threat(norm="l2", epsilon=0.2, lower=-9.0, upper=9.0)
    images = torch.zeros(1, 1, 12, 12)
    best = tiles(images, KeyedGenerator(1, torch.arange(1)).uniform(1, 8, 8), threat)
    draws = torch.tensor([[0.0, 0.0, 0.999, 0.999, 0.9, 0.9]])  # to the first corner from the last
    proposed = propose_transfer(threat)(images, best, draws, 4500)  # windows of 3 x 3
    assert float(proposed[..., 9:, 9:].abs().max()) == 0.0
    rest = torch.ones(12, 12, dtype=torch.bool)
    rest[:3, :3] = rest[9:, 9:] = False
    kept = best[0, 0][rest] != 0
    ratios = proposed[0, 0][rest][kept] / best[0, 0][rest][kept]
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))


def test_stripes_run_from_top_to_bottom() -> None:
    images = torch.full((4, 2, 5, 6), 0.5)
    start = stripes(images, KeyedGenerator(1, torch.arange(4)).uniform(2, 1, 6), Threat(epsilon=0.1))
    assert torch.equal(start, start[:, :, :1].expand_as(start))
    torch.testing.assert_close((start - images).abs(), torch.full_like(images, 0.1))


def test_fooled_examples_stop_asking() -> None:
    problem = toy_attack_problem("linf", hardest=0.3)
    seen: list[int] = []
    problem.model.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    with frozen(problem.model):
        Square(queries=1001).perturb(
            problem.model,
            problem.images,
            problem.labels,
            threat=problem.threat,
            generator=KeyedGenerator(1, torch.arange(9)),
        )
    assert seen[-2] == 1
    assert len(seen) == 1 + 1001 + 1


def test_features_are_a_row_of_pixels() -> None:
    model = smooth_toy((6,), 3).eval()
    generator = KeyedGenerator(1, torch.arange(4))
    features = generator.normal(6)
    labels = model(features).argmax(dim=1)
    for norm in ("linf", "l2"):
        threat = Threat(norm=norm, epsilon=0.5, lower=-math.inf, upper=math.inf)
        candidates = Square(queries=100).perturb(model, features, labels, threat=threat, generator=generator)
        assert candidates.shape == features.shape
        assert bool((margin(model(candidates), labels) > margin(model(features), labels)).all())


def test_bad_options_are_refused() -> None:
    with pytest.raises(OptionError, match="queries must be at least 1"):
        Square(queries=0)
