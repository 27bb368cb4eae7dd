from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchbench.contract import DatasetSplits, Examples
from benchbench.errors import OptionError
from benchbench.separations import measure
from benchbench.separations.figures import save_histogram, save_pairs

pytest.importorskip("matplotlib")


def splits(channels: int) -> DatasetSplits:
    images = torch.randint(0, 256, (40, channels, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    part = Examples(inputs=images, labels=torch.arange(40) % 2)
    return DatasetSplits(train=part, test=part, classes=("cat", "dog"))


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_histogram_is_written(tmp_path: Path, suffix: str) -> None:
    report = measure(splits(1), epsilon=0.1)
    path = tmp_path / f"histogram.{suffix}"
    save_histogram({"train-train": report.train_train, "test-train": report.test_train}, path, title="toy")
    assert path.stat().st_size > 3000


@pytest.mark.parametrize("channels", [1, 3])
def test_closest_pairs_are_drawn(tmp_path: Path, channels: int) -> None:
    data = splits(channels)
    closest, images = measure(data, pairs=3).train_train.closest, data.train.inputs.numpy()
    named, numbered = tmp_path / "named.png", tmp_path / "numbered.png"
    save_pairs(closest, images, images, named, classes=data.classes)
    save_pairs(closest, images, images, numbered)
    assert named.read_bytes() != numbered.read_bytes()


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at least one"):
        save_histogram({}, tmp_path / "a.png")
    with pytest.raises(OptionError, match="pairs"):
        save_pairs((), np.zeros((2, 1, 3, 3)), np.zeros((2, 1, 3, 3)), tmp_path / "a.png")
