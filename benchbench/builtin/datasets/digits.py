"""The 8x8 digits of scikit-learn (Alpaydin and Kaynak, 1998): real data without a download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from benchbench.contract import DatasetSplits, DataSource, Examples, MissingDataError, OptionError, derive_seed

LARGEST_SCALE = 64  # 512x512 pixels
_TEST_EVERY = 5  # 80 % for training, 20 % for testing


def _find_table() -> Path:
    """The table inside scikit-learn, whose import takes seconds; may be a MissingDataError."""
    found = find_spec("sklearn")
    path = Path(found.origin if found and found.origin else "sklearn").parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise MissingDataError(f"digits: there is no {path}", fetch="pip install scikit-learn")
    return path


class Digits:
    """1,437 training and 360 test handwritten digits, uint8 (N, 1, 8 * scale, 8 * scale).

    Grey levels 0..16 become round(level * 255 / 16). The split is stratified and fixed: it depends on no seed.

    Args:
        scale: side of the square that each pixel becomes; 2 gives 16x16, which the convolutional architectures accept.
    """

    def __init__(self, *, scale: int = 2) -> None:
        if not 1 <= scale <= LARGEST_SCALE:
            raise OptionError(f"digits: scale must be in [1, {LARGEST_SCALE}], got {scale}")
        self.scale = scale

    def locate(self, source: DataSource) -> None:
        """Raise a MissingDataError if scikit-learn, which holds the data, is not installed."""
        _find_table()

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits; nothing is read from the data root."""
        import numpy as np
        import torch

        table = np.loadtxt(_find_table(), delimiter=",")  # 64 grey levels and a label, of each image
        levels, target = np.rint(table[:, :-1] * (255.0 / 16.0)).astype(np.uint8).reshape(-1, 8, 8), table[:, -1]
        enlarged = levels.repeat(self.scale, axis=1).repeat(self.scale, axis=2)
        images = torch.from_numpy(enlarged[:, None])
        labels = torch.from_numpy(target.astype(np.int64))

        # In the order of labels, and at random within a label, every fifth example is a stratified sample. NumPy promises the
        # same raw bits in every version, but not the same permutations.
        keys = np.random.PCG64(derive_seed("digits", "split")).random_raw(len(labels))
        order = torch.from_numpy(np.lexsort((keys, target)))
        in_test = torch.zeros(len(labels), dtype=torch.bool)
        in_test[order[::_TEST_EVERY]] = True
        return DatasetSplits(
            train=Examples(inputs=images[~in_test], labels=labels[~in_test]),
            test=Examples(inputs=images[in_test], labels=labels[in_test]),
            classes=tuple("0123456789"),
        )
