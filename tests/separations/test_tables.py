"""The tables of the search, and what filling them leaves alone."""

from __future__ import annotations

import torch

from benchbench.contract import DatasetSplits, Examples
from benchbench.separations import measure


def test_search_leaves_the_number_of_threads_of_torch_alone() -> None:
    before = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (60, 1, 4, 4), dtype=torch.uint8, generator=generator)
    examples = Examples(inputs=inputs, labels=torch.arange(60) % 3)
    try:
        torch.set_num_threads(1)
        measure(DatasetSplits(train=examples, test=examples, classes=("a", "b", "c")))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
