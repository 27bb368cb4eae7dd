"""The 8x8 digits of scikit-learn (Alpaydin and Kaynak, 1998): real data without a download."""

from __future__ import annotations

from benchbench.contract import DatasetSplits, DataSource, Examples, OptionError, derive_seed

LARGEST_SCALE = 64  # 512x512 pixels
_TEST_EVERY = 5  # 80 % for training, 20 % for testing


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
        """Do nothing: scikit-learn has the data."""

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits; nothing is read from the data root."""
        import numpy as np
        import torch
        from sklearn.datasets import load_digits

        bundle = load_digits()
        levels = np.rint(bundle.images * (255.0 / 16.0)).astype(np.uint8)
        enlarged = levels.repeat(self.scale, axis=1).repeat(self.scale, axis=2)
        images = torch.from_numpy(enlarged[:, None])
        labels = torch.from_numpy(bundle.target.astype(np.int64))

        # In the order of labels, and at random within a label, every fifth example is a stratified sample. NumPy promises the
        # same raw bits in every version, but not the same permutations.
        keys = np.random.PCG64(derive_seed("digits", "split")).random_raw(len(labels))
        order = torch.from_numpy(np.lexsort((keys, bundle.target)))
        in_test = torch.zeros(len(labels), dtype=torch.bool)
        in_test[order[::_TEST_EVERY]] = True
        return DatasetSplits(
            train=Examples(inputs=images[~in_test], labels=labels[~in_test]),
            test=Examples(inputs=images[in_test], labels=labels[in_test]),
            classes=tuple("0123456789"),
        )
