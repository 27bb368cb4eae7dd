"""The conformance kit, each corruption by its own formula, and severities that grow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from benchbench_corruptions import benchbench_metrics
from benchbench_corruptions.accuracy import CorruptionAccuracy
from benchbench_corruptions.blur import defocus_blur, disk, glass_blur, motion_blur, zoom_blur, zoomed
from benchbench_corruptions.digital import brightness, contrast, jpeg_compression, pixelate
from benchbench_corruptions.elastic import affine_map, elastic_transform
from benchbench_corruptions.fractal import height_maps
from benchbench_corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from benchbench_corruptions.severities import CORRUPTIONS, SEVERITIES, STRENGTHS, Scale, corrupt
from benchbench_corruptions.weather import fog, frost, snow
from scipy import ndimage

from benchbench.contract import KeyedGenerator, OptionError
from benchbench.testing import ToyEvidence, check_metric

SCALES: tuple[Scale, ...] = ("small", "large")
# Published strengths that change more than one thing from severity to severity, so that the distance from the image may shrink.
NOT_MONOTONE = {
    *((scale, name) for scale in SCALES for name in ("glass_blur", "motion_blur", "frost", "elastic_transform")),
    ("small", "pixelate"),
    *(("large", name) for name in ("snow", "fog")),
}


def keyed(count: int, seed: int = 0) -> KeyedGenerator:
    return KeyedGenerator(seed, torch.arange(count))


def pictures(count: int, channels: int = 3, size: int = 16) -> torch.Tensor:
    """Smooth random pictures: noise enlarged."""
    coarse = keyed(count, seed=1).uniform(channels, 4, 4, low=0.1, high=0.9)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


def test_metric_keeps_the_contract() -> None:
    check_metric(CorruptionAccuracy(severities=(1, 5)), norms=("linf", "l2", "l1"))


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
    assert min(changes) > 0
    if (scale, name) not in NOT_MONOTONE:
        assert changes == sorted(changes)
        assert changes[-1] > 1.05 * changes[0]


def test_all_fifteen_of_the_paper_are_there() -> None:
    assert list(CORRUPTIONS) == [
        *("gaussian_noise", "shot_noise", "impulse_noise"),
        *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "frost", "fog", "brightness"),
        *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    ]


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 9), (3, 4, 4)])
def test_odd_shapes_are_corrupted_too(name: str, shape: tuple[int, int, int]) -> None:
    images = keyed(2).uniform(*shape)
    for scale in SCALES:
        corrupted = corrupt(images, name, 5, scale, keyed(2))
        assert corrupted.shape == images.shape
        assert bool(corrupted.isfinite().all())


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
    edge = math.exp(-1 / (2 * 0.4**2))
    assert float(disk(0.3, 0.4)[0, 1] / disk(0.3, 0.4)[1, 1]) == pytest.approx(
        edge
    )  # one pixel, three by three weights
    soft = disk(1.5, 0.6)
    torch.testing.assert_close(soft, soft.T)
    torch.testing.assert_close(soft, soft.flip(0))


def test_defocus_is_correlation_with_the_disk_mirrored_at_the_border() -> None:
    image, strength = pictures(1, channels=1), STRENGTHS["large"]["defocus_blur"][0]
    expected = ndimage.correlate(image[0, 0].double().numpy(), disk(*strength).numpy(), mode="mirror")
    found = defocus_blur(image, strength, keyed(1))[0, 0].double()
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-6, rtol=0)


def test_motion_spreads_a_point_along_one_line_with_half_normal_weights() -> None:
    point = torch.zeros(3, 1, 41, 41)
    point[:, :, 20, 20] = 1.0
    radius, deviation = 4.0, 3.0
    blurred = motion_blur(point, (radius, deviation), keyed(3))[:, 0].double()
    steps = torch.arange(2 * radius + 1, dtype=torch.float64)
    weights = torch.exp(-steps.square() / (2 * deviation**2))
    for picture in blurred:
        shares = picture[picture > 0].sort(descending=True).values
        torch.testing.assert_close(shares, weights / weights.sum(), atol=1e-6, rtol=0)
        places = (picture > 0).nonzero().double() - 20
        assert float(places[:, 1].abs().max()) >= float(places[:, 0].abs().max())  # within 45 degrees of level
        assert float(torch.linalg.svdvals(places)[1]) < 2.0  # near one line through the point


def test_motion_of_images_differs() -> None:
    point = torch.zeros(20, 1, 21, 21)
    point[:, :, 10, 10] = 1.0
    assert len({tuple(one.flatten().tolist()) for one in motion_blur(point, (6.0, 3.0), keyed(20))}) > 5


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.06, 1.15, 1.3, 2.25])
@pytest.mark.parametrize("size", [28, 32])
def test_enlarging_is_scipys_linear_zoom_of_the_middle(factor: float, size: int) -> None:
    image = pictures(1, channels=1, size=size)
    part = math.ceil(size / factor)
    start = (size - part) // 2
    middle = image[0, 0, start : start + part, start : start + part].double().numpy()
    large = ndimage.zoom(middle, factor, order=1)
    trim = (large.shape[0] - size) // 2
    expected = torch.from_numpy(large[trim : trim + size, trim : trim + size].copy())
    torch.testing.assert_close(zoomed(image, factor)[0, 0].double(), expected, atol=1e-5, rtol=0)


def test_zoom_is_the_mean_of_the_image_and_its_enlargements() -> None:
    image = pictures(1)
    expected = (image + image + zoomed(image, 1.5)) / 3
    torch.testing.assert_close(zoom_blur(image, (2.0, 0.5), keyed(1)), expected)


def test_glass_without_blur_takes_neighbours() -> None:
    images = (pictures(2) * 255).floor() / 255
    reach = 1  # with more, a pixel may take what its neighbour has taken
    moved = glass_blur(images, (1e-3, reach, 1), keyed(2)) * 255
    window = torch.nn.functional.unfold(images * 255, 2 * reach + 1, padding=reach).view(2, 3, 9, 16, 16)
    near = (window - moved[:, :, None]).abs().amin(dim=2)
    assert float(near.max()) <= 1.0  # pixels are stored in 8 bits on the way
    assert float((moved != images * 255).float().mean()) > 0.4


def test_height_maps_run_from_0_to_1_and_are_smoother_with_more_decay() -> None:
    maps = [height_maps(32, 32, decay, keyed(8)) for decay in (1.4, 3.0)]
    for one in maps:
        assert (float(one.amin(dim=(1, 2)).max()), float(one.amax(dim=(1, 2)).min())) == (0.0, 1.0)
    rough, smooth = (float((one - one.roll(1, 1)).abs().mean()) for one in maps)
    assert smooth < 0.6 * rough
    assert not torch.equal(maps[0][0], maps[0][1])


def test_fog_keeps_the_brightest_value_a_bound() -> None:
    images = pictures(4)
    foggy = fog(images, (1.5, 2.0), keyed(4))
    clouds = height_maps(16, 16, 2.0, keyed(4))[:, None].float()
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(foggy, (images + 1.5 * clouds) * brightest / (brightest + 1.5))
    assert bool((foggy <= brightest + 1e-6).all())


def test_frost_lies_bluish_over_black() -> None:
    ice = frost(torch.zeros(4, 3, 32, 32), (1.0, 1.0), keyed(4))
    assert 0.0 <= float(ice.min()) <= float(ice.max()) <= 1.0
    red, green, blue = ice.mean(dim=(0, 2, 3)).tolist()
    assert red < green < blue
    assert float(ice[0].std()) > 0.05


def test_snow_whitens_and_lets_flakes_fall_from_both_sides() -> None:
    black = torch.zeros(2, 3, 32, 32)
    snowy = snow(black, STRENGTHS["small"]["snow"][4], keyed(2))
    assert float(snowy.min()) >= 0.1 - 1e-6  # (1 - 0.8) * 0.5 of the whitening
    torch.testing.assert_close(snowy, snowy.rot90(2, dims=(2, 3)))
    torch.testing.assert_close(snowy[:, 0], snowy[:, 2])
    assert float(snowy.max()) > 0.2


def test_elastic_without_strength_changes_nothing_and_shifts_move_the_points() -> None:
    images = pictures(2)
    torch.testing.assert_close(elastic_transform(images, (0.0, 0.0, 0.0), keyed(2)), images)
    matrix, offset = affine_map(30, 30, np.array([[2.0, 0.0]] * 3))
    np.testing.assert_allclose(matrix, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(offset, [0.0, -2.0], atol=1e-9)  # to the right: from the left


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
        {"corruptions": ("fogs",)},
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
