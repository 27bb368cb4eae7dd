from __future__ import annotations

import math

import pytest
import torch

from benchbench.contract.seeds import KeyedGenerator, derive_seed


def test_derived_seeds_differ_by_key_type_and_order() -> None:
    seeds = {
        derive_seed(0, "a"),
        derive_seed("0", "a"),
        derive_seed("a", 0),
        derive_seed(0, "a", 0),
        derive_seed(1, "a"),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_derived_seed_is_the_same_on_every_machine() -> None:
    assert derive_seed(0, "order", 3) == 6520630738536837906


def test_draws_belong_to_the_example_not_to_its_place_in_the_batch() -> None:
    whole = KeyedGenerator(5, torch.arange(100))
    some = torch.tensor([93, 7, 20])
    part = KeyedGenerator(5, some)
    for draw in ("uniform", "normal"):
        assert torch.equal(getattr(whole, draw)(3, 4)[some], getattr(part, draw)(3, 4))
    assert torch.equal(whole.integers(9)[some], part.integers(9))


def test_taken_generator_continues_the_stream_of_its_rows() -> None:
    whole = KeyedGenerator(5, torch.arange(10))
    whole.uniform(2)
    mask = torch.arange(10) % 3 == 0
    taken = whole.take(mask)
    assert torch.equal(whole.uniform(2)[mask], taken.uniform(2))


def test_successive_draws_and_children_differ() -> None:
    generator = KeyedGenerator(1, torch.arange(4))
    first, second = generator.uniform(8), generator.uniform(8)
    child = generator.child("restart", 1).uniform(8)
    assert not torch.equal(first, second)
    assert not torch.equal(first, child)
    assert not torch.equal(generator.child("restart", 2).uniform(8), child)


def test_uniform_fills_its_interval_evenly() -> None:
    draws = KeyedGenerator(2, torch.arange(500)).uniform(400, low=-0.1, high=0.1)
    assert draws.min() >= -0.1
    assert draws.max() < 0.1
    counts = torch.histc(draws, bins=20, min=-0.1, max=0.1)
    chi_squared = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_squared < 43.8  # 99.9% quantile with 19 degrees of freedom


def test_normal_has_the_moments_of_a_standard_normal() -> None:
    draws = KeyedGenerator(3, torch.arange(500)).normal(400).double()
    assert abs(draws.mean()) < 4 / math.sqrt(draws.numel())
    assert draws.std().item() == pytest.approx(1.0, abs=0.01)
    assert (draws**4).mean().item() == pytest.approx(3.0, abs=0.08)
    assert torch.isfinite(draws).all()


def test_neighbouring_examples_and_pixels_are_uncorrelated() -> None:
    draws = KeyedGenerator(4, torch.arange(400)).uniform(400) - 0.5
    for shifted in (draws[1:] * draws[:-1], draws[:, 1:] * draws[:, :-1]):
        correlation = shifted.mean() * 12
        assert abs(correlation) < 4 / math.sqrt(shifted.numel())


def test_integers_cover_their_range() -> None:
    counts = torch.bincount(KeyedGenerator(6, torch.arange(9_000)).integers(9), minlength=9)
    assert len(counts) == 9
    assert ((counts - 1000).abs() < 150).all()


def test_torch_generator_repeats_for_equal_keys() -> None:
    draws = [torch.rand(3, generator=KeyedGenerator(1, torch.arange(3)).torch_generator()) for _ in range(2)]
    assert torch.equal(draws[0], draws[1])


@pytest.mark.cuda
def test_draws_are_equal_on_cuda_and_cpu() -> None:
    on_cpu, on_cuda = (KeyedGenerator(5, torch.arange(64, device=device)) for device in ("cpu", "cuda"))
    assert torch.equal(on_cpu.uniform(784), on_cuda.uniform(784).cpu())
