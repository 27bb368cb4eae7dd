"""Arrays in Parquet: bit for bit, compact, named by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchbench.errors import StorageError
from benchbench.records.arrays import content_digest, read_arrays, to_array, write_arrays

DTYPES = st.sampled_from(["<f4", "<f8", "<i8", "|b1", "|u1"])


@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)))
def test_arrays_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.parquet"
    digest = content_digest({"x": array})
    write_arrays(path, {"x": array})
    found = read_arrays(path, digest)
    assert found is not None
    assert (found["x"].dtype, found["x"].shape) == (array.dtype, array.shape)
    assert found["x"].tobytes() == array.tobytes()


def test_no_examples_come_back_as_none_of_them(tmp_path: Path) -> None:
    arrays = {"image": np.zeros((0, 1, 2, 2), np.float32)}
    write_arrays(tmp_path / "a.parquet", arrays)
    found = read_arrays(tmp_path / "a.parquet", content_digest(arrays))
    assert found is not None
    assert found["image"].shape == (0, 1, 2, 2)


def test_digest_depends_on_name_type_shape_and_values() -> None:
    base = np.zeros((2, 3), np.float32)
    changed = base.copy()
    changed[1, 2] = 1e-9
    variants = [
        {"x": base},
        {"y": base},
        {"x": base.astype(np.float64)},
        {"x": base.reshape(3, 2)},
        {"x": changed},
        {"x": -base},
    ]
    assert len({content_digest(variant) for variant in variants}) == len(variants)


def test_adversarial_images_take_a_third_of_their_raw_size(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    originals = generator.integers(0, 256, (100, 3, 32, 32)).astype(np.float32) / 255
    signs = generator.choice([-1, 1], originals.shape).astype(np.float32)
    witnesses = np.clip(originals + np.float32(0.031) * signs, 0, 1)
    write_arrays(tmp_path / "w.parquet", {"image": witnesses})
    assert (tmp_path / "w.parquet").stat().st_size < witnesses.nbytes / 3


def test_other_content_than_the_digest_names_is_refused(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.parquet", {"x": np.arange(3)})
    with pytest.raises(StorageError, match=r"a\.parquet is .*damaged"):
        read_arrays(tmp_path / "a.parquet", content_digest({"x": np.arange(4)}))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 9, b"\0" * 100])
def test_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(StorageError, match=r"a\.parquet is .*damaged"):
        read_arrays(tmp_path / "a.parquet", "0" * 64)


def test_tensors_with_gradients_and_big_endian_numbers_are_taken() -> None:
    import torch

    assert to_array("x", torch.ones(2, requires_grad=True)).tolist() == [1.0, 1.0]
    assert to_array("x", np.array([1.0], dtype=">f4")).dtype.str == "<f4"


def test_the_order_of_columns_does_not_change_the_file(tmp_path: Path) -> None:
    columns = {"robust": np.array([True, False]), "index": np.array([3, 4])}
    write_arrays(tmp_path / "one", columns)
    write_arrays(tmp_path / "two", dict(reversed(columns.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
