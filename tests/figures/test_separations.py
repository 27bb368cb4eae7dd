from __future__ import annotations

import numpy as np
import pytest
import torch

from benchbench.contract import DatasetSplits, Examples
from benchbench.errors import OptionError
from benchbench.figures.separations import histogram_figure, pairs_figure
from benchbench.separations import measure

pytest.importorskip("matplotlib")


def splits(channels: int) -> DatasetSplits:
    images = torch.randint(0, 256, (40, channels, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    part = Examples(inputs=images, labels=torch.arange(40) % 2)
    return DatasetSplits(train=part, test=part, classes=("cat", "dog"))


def test_histogram_shows_every_part_with_its_minimum_and_twice_the_radius() -> None:
    report = measure(splits(1), epsilon=0.1)
    figure = histogram_figure({"train-train": report.train_train, "test-train": report.test_train}, title="toy")
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    parts = {"train-train": report.train_train, "test-train": report.test_train}
    assert texts == [*(f"{name} (min {part.minimum:.3f})" for name, part in parts.items()), "2ε = 0.2"]


@pytest.mark.parametrize("channels", [1, 3])
def test_closest_pairs_are_drawn_with_names_or_numbers_of_their_classes(channels: int) -> None:
    data = splits(channels)
    closest, images = measure(data, pairs=3).train_train.closest, data.train.inputs.numpy()
    named, numbered = pairs_figure(closest, images, images, classes=data.classes), pairs_figure(closest, images, images)
    assert {axes.get_title() for axes in named.axes} == {"cat", "dog"}
    assert {axes.get_title() for axes in numbered.axes} == {"0", "1"}
    assert [axes.images[0].get_array().tolist() for axes in named.axes[:3]] == [
        (images[pair.query][0] if channels == 1 else images[pair.query].transpose(1, 2, 0)).tolist() for pair in closest
    ]


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(OptionError, match="at least one"):
        histogram_figure({})
    with pytest.raises(OptionError, match="pairs"):
        pairs_figure((), np.zeros((2, 1, 3, 3)), np.zeros((2, 1, 3, 3)))
