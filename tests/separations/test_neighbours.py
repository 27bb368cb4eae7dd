from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchbench.errors import DataError
from benchbench.separations import nearest_other_class

Definition = Callable[..., tuple[NDArray, NDArray]]


def assert_equal(
    definition: Definition, queries: NDArray, labels: NDArray, references: NDArray, reference_labels: NDArray
) -> None:
    found = nearest_other_class(queries, labels, references, reference_labels)
    distance, index = definition(queries, labels, references, reference_labels)
    np.testing.assert_array_equal(found.distance, distance)
    np.testing.assert_array_equal(found.index, index)


@pytest.mark.parametrize(
    ("shape", "size", "classes", "values"),
    [
        ((1, 28, 28), 300, 10, 256),
        ((3, 32, 32), 120, 10, 256),
        ((5,), 2500, 3, 256),  # several tiles, one stride
        ((2,), 400, 2, 4),  # duplicates and ties everywhere
        ((70,), 300, 60, 256),
        ((1,), 50, 2, 256),
        ((400,), 200, 2, 2),  # black and white: every distance is 0 or 1
    ],
)
def test_pixels_match_the_definition_including_ties(
    definition: Definition, shape: tuple[int, ...], size: int, classes: int, values: int
) -> None:
    generator = np.random.default_rng(size)
    images = generator.integers(0, values, (size, *shape)).astype(np.uint8)
    labels = generator.integers(0, classes, size)
    assert_equal(definition, images, labels, images, labels)
    queries = generator.integers(0, values, (40, *shape)).astype(np.uint8)
    assert_equal(definition, queries, generator.integers(0, classes, 40), images, labels)


def test_extreme_contrast_matches_the_definition(definition: Definition) -> None:
    generator = np.random.default_rng(3)
    images = generator.choice(np.array([0, 1, 128, 254, 255], dtype=np.uint8), (3000, 9))
    labels = generator.integers(0, 4, 3000)
    assert_equal(definition, images[:100], labels[:100], images, labels)


def test_smooth_images_match_the_definition(definition: Definition) -> None:
    generator = np.random.default_rng(4)
    images = generator.normal(128, 12, (2500, 1, 1, 1)) + generator.normal(0, 4, (2500, 3, 8, 8))
    images = images.clip(0, 255).astype(np.uint8)
    labels = generator.integers(0, 5, 2500)
    assert_equal(definition, images[::20], labels[::20], images, labels)


def test_real_digits_match_the_definition(definition: Definition, mnist: Definition) -> None:
    images, labels = mnist("train", 4000)
    assert_equal(definition, images[:60], labels[:60], images, labels)
    queries, query_labels = mnist("t10k", 40)
    assert_equal(definition, queries, query_labels, images, labels)
    random = np.random.default_rng(0).integers(0, 10, len(images))
    assert_equal(definition, images[:40], random[:40], images, random)


def test_duplicate_across_classes_has_distance_zero() -> None:
    images = np.random.default_rng(0).integers(0, 256, (100, 3, 4, 4)).astype(np.uint8)
    images[70] = images[10]
    labels = np.arange(100) % 2
    labels[70] = 1 - labels[10]
    found = nearest_other_class(images, labels, images, labels)
    assert found.distance[10] == found.distance[70] == 0
    assert (found.index[10], found.index[70]) == (70, 10)


def test_equal_images_are_at_zero_and_the_first_is_named() -> None:
    images = np.full((50, 1, 6, 6), 7, dtype=np.uint8)
    found = nearest_other_class(images, np.arange(50) % 2, images, np.arange(50) % 2)
    assert not found.distance.any()
    np.testing.assert_array_equal(found.index, 1 - np.arange(50) % 2)


def test_farthest_possible_pair_is_at_one() -> None:
    images = np.array([[0, 9], [255, 9]], dtype=np.uint8)
    found = nearest_other_class(images, np.array([0, 1]), images, np.array([0, 1]))
    np.testing.assert_array_equal(found.distance, [255, 255])
    np.testing.assert_array_equal(found.scaled, [1.0, 1.0])
    np.testing.assert_array_equal(found.index, [1, 0])


def test_single_query_and_single_reference() -> None:
    found = nearest_other_class(
        np.array([[10, 20]], np.uint8), np.array([0]), np.array([[13, 10]], np.uint8), np.array([5])
    )
    assert (found.distance[0], found.index[0]) == (10, 0)


def test_query_of_a_class_that_no_reference_has(definition: Definition) -> None:
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (60, 20)).astype(np.uint8)
    assert_equal(definition, images[:9], np.full(9, 77), images, np.zeros(60, dtype=np.int64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_match_the_definition(definition: Definition, dtype: type) -> None:
    generator = np.random.default_rng(2)
    features = generator.normal(size=(500, 2)).astype(dtype)
    labels = generator.integers(0, 3, 500)
    found = nearest_other_class(features, labels, features, labels)
    distance, index = definition(features, labels, features, labels)
    np.testing.assert_array_equal(found.distance, distance)
    np.testing.assert_array_equal(found.index, index)
    assert found.distance.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_one_class_only_is_refused(dtype: type) -> None:
    images = np.zeros((4, 3), dtype=dtype)
    with pytest.raises(DataError, match="no reference has another class than 1"):
        nearest_other_class(images, np.ones(4, dtype=np.int64), images, np.ones(4, dtype=np.int64))


@pytest.mark.parametrize(
    ("queries", "labels", "message"),
    [
        (np.zeros((0, 3), np.uint8), np.zeros(0, np.int64), "empty"),
        (np.zeros((2, 0), np.uint8), np.zeros(2, np.int64), "empty"),
        (np.zeros((2, 3), np.uint8), np.zeros(3, np.int64), "labels"),
        (np.zeros((2, 3), np.uint8), np.zeros(2, np.float32), "labels"),
        (np.zeros((2, 4), np.uint8), np.zeros(2, np.int64), "references"),
        (np.zeros((2, 3), np.float32), np.zeros(2, np.int64), "references"),
        (np.full((2, 3), np.nan, np.float32), np.zeros(2, np.int64), "finite"),
        (np.zeros((2, 3), np.int32), np.zeros(2, np.int64), "neither"),
    ],
)
def test_malformed_input_is_refused(queries: NDArray, labels: NDArray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        nearest_other_class(queries, labels, np.zeros((5, 3), np.uint8), np.arange(5))


def test_inputs_are_left_as_they_were() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 12)).astype(np.uint8)
    before, labels = images.copy(), np.arange(30) % 3
    nearest_other_class(images, labels, images, labels)
    np.testing.assert_array_equal(images, before)
