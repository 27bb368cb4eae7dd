"""The stream of extra examples: each once in a pass, in an order of its own, the same from any position."""

from __future__ import annotations

import pytest
import torch

from benchbench.contract import Examples, ExtraExamples, KeyedGenerator

CPU = torch.device("cpu")


def stream(seed: int = 0, count: int = 10, **options: object) -> ExtraExamples:
    numbers = torch.arange(count, dtype=torch.uint8)
    inputs = numbers.view(-1, 1, 1, 1).expand(count, 1, 2, 2).clone()
    return ExtraExamples(Examples(inputs=inputs, labels=numbers.long()), seed=seed, device=CPU, **options)  # type: ignore[arg-type]


def test_every_pass_has_each_example_once_in_an_order_of_its_own() -> None:
    passes = stream().take(0, 30).labels.view(3, 10)
    assert torch.equal(passes.sort(dim=1).values, torch.arange(10).expand(3, 10))
    assert len({tuple(one.tolist()) for one in passes}) == 3
    assert not torch.equal(passes, stream(seed=1).take(0, 30).labels.view(3, 10))


@pytest.mark.parametrize(("first", "count"), [(0, 1), (7, 3), (8, 5), (9, 21), (29, 1)])
def test_what_stands_where_depends_on_the_position_alone(first: int, count: int) -> None:
    whole, part = stream().take(0, 30), stream().take(first, count)
    assert torch.equal(part.labels, whole.labels[first : first + count])
    assert torch.equal(part.images, whole.images[first : first + count])
    assert torch.equal(part.rows, whole.rows[first : first + count])
    assert torch.equal(part.images[:, 0, 0, 0], part.labels / 255)
    assert part.images.dtype == torch.float32


def test_examples_are_augmented_by_draws_of_pass_and_example() -> None:
    def noisy(images: torch.Tensor, generator: KeyedGenerator) -> torch.Tensor:
        return images + generator.integers(100)[:, None, None, None]

    once, again = stream(augment=noisy), stream(augment=noisy)
    first, second = once.take(0, 10), once.take(10, 10)
    assert torch.equal(again.take(10, 10).images, second.images)
    order = [batch.labels.argsort() for batch in (first, second)]
    assert not torch.equal(first.images[order[0]], second.images[order[1]])  # drawn anew


def test_rows_are_none_of_the_experiments_and_join_its_generator() -> None:
    batch, own = stream().take(0, 4), KeyedGenerator(3, torch.arange(5))
    own.uniform()  # a draw before they are joined
    assert int(batch.rows.min()) >= 2**40
    joined = own.joined(batch.rows)
    alone = KeyedGenerator(3, batch.rows)
    alone.uniform()
    assert torch.equal(joined.uniform(2), torch.cat([own.uniform(2), alone.uniform(2)]))
