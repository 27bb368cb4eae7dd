"""The conformance kit, each corruption by its own formula, and severities that grow."""

from __future__ import annotations

import math

import pytest
import torch
from benchbench_corruptions import benchbench_metrics
from benchbench_corruptions.accuracy import CorruptionAccuracy
from benchbench_corruptions.blur import defocus_blur, disk, motion_blur
from benchbench_corruptions.digital import brightness, contrast, jpeg_compression, pixelate
from benchbench_corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from benchbench_corruptions.severities import CORRUPTIONS, SEVERITIES, STRENGTHS, Scale, corrupt

from benchbench.contract import KeyedGenerator, OptionError
from benchbench.testing import ToyEvidence, check_metric

SCALES: tuple[Scale, ...] = ("small", "large")


def keyed(count: int, seed: int = 0) -> KeyedGenerator:
    return KeyedGenerator(seed, torch.arange(count))


def pictures(count: int, channels: int = 3, size: int = 16) -> torch.Tensor:
    """Smooth random pictures: noise enlarged."""
    coarse = keyed(count, seed=1).uniform(channels, 4, 4, low=0.1, high=0.9)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


def test_metric_keeps_the_contract() -> None:
    check_metric(CorruptionAccuracy())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_gives_8_bit_pictures_that_differ_more_with_severity(name: str, scale: Scale, channels: int) -> None:
    images = pictures(6, channels, size=32)
    kept = images.clone()
    changes = []
    for severity in SEVERITIES:
        corrupted = corrupt(images, name, severity, scale, keyed(6))
        assert (corrupted.shape, corrupted.dtype) == (images.shape, torch.float32)
        assert 0.0 <= float(corrupted.min()) <= float(corrupted.max()) <= 1.0
        torch.testing.assert_close(corrupted * 255.0, (corrupted * 255.0).round())
        changes.append(float((corrupted - images).square().mean()))
    assert torch.equal(images, kept)
    assert changes[0] > 0
    assert changes[-1] > 1.2 * changes[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_image_is_corrupted_alike_whatever_else_is_in_the_batch(name: str) -> None:
    images, generator = pictures(5), keyed(5)
    together = corrupt(images, name, 3, "small", generator)
    alone = corrupt(images[3:4], name, 3, "small", generator.take(torch.tensor([3])))
    torch.testing.assert_close(alone, together[3:4], rtol=0, atol=1.01 / 255)
    assert float((alone != together[3:4]).float().mean()) < 0.01  # rounding to 8 bits may go either way, rarely


def test_severities_and_corruptions_draw_noise_of_their_own() -> None:
    grey = torch.full((1, 1, 32, 32), 0.5)
    noises = [corrupt(grey, "gaussian_noise", severity, "large", keyed(1))[0, 0].flatten() - 0.5 for severity in (1, 2)]
    assert abs(float(torch.corrcoef(torch.stack(noises))[0, 1])) < 0.1


def test_gaussian_noise_has_its_deviation() -> None:
    noise = gaussian_noise(torch.zeros(8, 1, 64, 64), 0.2, keyed(8)).double()
    assert float(noise.std()) == pytest.approx(0.2, rel=0.02)
    assert abs(float(noise.mean())) < 0.005


@pytest.mark.parametrize("strength", [3.0, 60.0])
def test_shot_noise_is_poisson(strength: float) -> None:
    counts = shot_noise(torch.full((8, 1, 64, 64), 0.4), strength, keyed(8)).double() * strength
    torch.testing.assert_close(counts, counts.round(), atol=1e-4, rtol=0)
    mean = 0.4 * strength
    assert float(counts.mean()) == pytest.approx(mean, rel=0.03)
    assert float(counts.var()) == pytest.approx(mean, rel=0.05)
    assert float((counts.round() == 0).double().mean()) == pytest.approx(math.exp(-mean), abs=0.01)
    assert float(shot_noise(torch.zeros(1, 1, 4, 4), strength, keyed(1)).abs().max()) == 0.0


def test_impulse_noise_sets_its_share_to_the_extremes() -> None:
    noisy = impulse_noise(torch.full((8, 1, 64, 64), 0.5), 0.2, keyed(8))
    for extreme in (0.0, 1.0):
        assert float((noisy == extreme).double().mean()) == pytest.approx(0.1, abs=0.01)
    assert float((noisy == 0.5).double().mean()) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("scale", SCALES)
def test_blur_of_an_even_picture_changes_nothing(scale: Scale) -> None:
    even = torch.full((2, 3, 16, 16), 0.3)
    for blur, name in ((defocus_blur, "defocus_blur"), (motion_blur, "motion_blur")):
        for strength in STRENGTHS[scale][name]:
            torch.testing.assert_close(blur(even, strength, keyed(2)), even, atol=1e-5, rtol=0)


def test_disk_is_even_inside_its_radius_and_symmetric() -> None:
    kernel = disk(3.0, 0.01)
    assert int((kernel > 1e-6).sum()) == 29  # lattice points with x^2 + y^2 <= 9
    assert float(kernel.sum()) == pytest.approx(1.0)
    torch.testing.assert_close(kernel.max(), torch.tensor(1.0 / 29, dtype=torch.float64))
    soft = disk(1.5, 0.6)
    torch.testing.assert_close(soft, soft.T)
    torch.testing.assert_close(soft, soft.flip(0))


def test_motion_spreads_a_point_along_one_line() -> None:
    point = torch.zeros(3, 1, 41, 41)
    point[:, :, 20, 20] = 1.0
    blurred = motion_blur(point, (10.0, 5.0), keyed(3))[:, 0].double()
    assert blurred.sum(dim=(1, 2)).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    axis = torch.arange(41.0, dtype=torch.float64) - 20
    for picture in blurred:
        mean = torch.stack([(picture.sum(1) * axis).sum(), (picture.sum(0) * axis).sum()])
        offsets = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1) - mean
        spread = torch.linalg.eigvalsh(torch.einsum("ij,ijk,ijl->kl", picture, offsets, offsets))
        assert float(spread[1]) > 10 * float(spread[0])


def test_brightness_raises_the_value_and_keeps_hue_and_saturation() -> None:
    images = torch.tensor([0.6, 0.3, 0.15]).view(1, 3, 1, 1)
    torch.testing.assert_close(brightness(images, 0.2, keyed(1)).flatten(), torch.tensor([0.8, 0.4, 0.2]))
    assert float(brightness(torch.zeros(1, 1, 1, 1), 0.2, keyed(1))) == pytest.approx(0.2)
    assert float(brightness(torch.full((1, 1, 1, 1), 0.9), 0.2, keyed(1))) == pytest.approx(1.0)


def test_contrast_shrinks_the_deviation_around_each_channels_mean() -> None:
    images = pictures(2)
    flat = contrast(images, 0.3, keyed(2))
    torch.testing.assert_close(flat.mean(dim=(2, 3)), images.mean(dim=(2, 3)))
    torch.testing.assert_close(flat.std(dim=(2, 3)), 0.3 * images.std(dim=(2, 3)))


def test_pixelation_by_half_averages_blocks() -> None:
    images = (pictures(2, size=8) * 255).round() / 255
    blocks = torch.nn.functional.avg_pool2d(images, 2)
    expected = blocks.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(pixelate(images, 0.5, keyed(2)), expected, atol=1.01 / 255, rtol=0)  # rounded twice


def test_jpeg_of_high_quality_is_close_and_of_low_quality_is_not() -> None:
    images = pictures(2, size=32)
    errors = [float((jpeg_compression(images, quality, keyed(2)) - images).abs().max()) for quality in (95, 5)]
    assert errors[0] < 0.1 < errors[1]


def test_mean_is_over_corruptions_and_severities() -> None:
    measured = CorruptionAccuracy(corruptions=("contrast", "brightness"), severities=(1, 5)).measure(ToyEvidence())
    values = dict(measured.values)
    overall = values.pop("corruption_test_accuracy")
    assert set(values) == {"contrast_test_accuracy", "brightness_test_accuracy"}
    assert overall == pytest.approx(sum(values.values()) / 2)
    column = torch.as_tensor(measured.per_example["corruption_correct"])
    assert float(column.mean()) == pytest.approx(overall)


@pytest.mark.parametrize(
    "options",
    [
        {"corruptions": ("fog",)},
        {"corruptions": ("contrast", "contrast")},
        {"severities": ()},
        {"severities": (0,)},
        {"severities": (1, 1)},
        {"scale": "huge"},
    ],
)
def test_option_out_of_range_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="must be"):
        CorruptionAccuracy(**options)  # type: ignore[arg-type]


def test_every_corruption_has_five_strengths_at_each_scale() -> None:
    for table in STRENGTHS.values():
        assert {name: len(strengths) for name, strengths in table.items()} == dict.fromkeys(CORRUPTIONS, 5)


def test_offer_names_the_factory() -> None:
    (offer,) = benchbench_metrics()
    factory = f"{CorruptionAccuracy.__module__}:{CorruptionAccuracy.__qualname__}"
    assert (offer.name, offer.factory) == ("corruption-accuracy", factory)
