"""How attack costs grow with examples, steps, classes and model, and memory with examples.

    python -m benchmarks.scaling --data ../shared/data --threads 1

Writes docs/performance.png and prints the points. Costs are in passes: multiples of one forward and input-gradient pass over
64 images, float32, contiguous layout, measured in the same round. Memory is the median of three processes for each point.
"""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import nn

from benchbench.builtin.architectures.cnn import make_cnn2
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchmarks.attacks import judged, perturbed
from benchmarks.contest import Contender, Ratio, compete, show, versions
from benchmarks.limit import input_gradients
from benchmarks.sizes import Size, along_sizes
from benchmarks.subjects import BATCH, Subject, arguments, mnist, own_copy, subject

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "performance.png"
EXAMPLES, STEPS, CLASSES = (64, 128, 256, 512), (1, 5, 10, 20), (2, 4, 7, 10)
MEMORY_EXAMPLES = (64, 512, 4096, 10_000)
MEBIBYTE = 2**20


def main() -> None:
    """Measure, print, draw."""
    options = arguments(__doc__)
    robust = subject("robust", mnist(options.data), max(EXAMPLES))
    print(versions())
    points = {
        "examples (PGD-10)": along(EXAMPLES, lambda count: pgd(robust, count, 10), robust, options.rounds),
        "steps (PGD, 64 examples)": along(STEPS, lambda steps: pgd(robust, BATCH, steps), robust, options.rounds),
        "classes (MT-20, 64 examples)": along(CLASSES, few_classes, robust, max(1, options.rounds // 2)),
    }
    for title, ratios in points.items():
        show(f"{title}, passes over 64 images", {str(value): found for value, found in ratios.items()}, {})
    sizes = along_sizes(options.rounds)
    print(
        "\nsize of the model (PGD-10, 64 examples), passes of CNN2 over 64 images; multiples of the model's own limit"
    )
    for name, size in sizes.items():
        print(f"  {name:<10} {size.multiply_adds / 1e6:8.1f} million multiply-adds {size.ours}; {size.of_limit}")
    print("\nPeak memory of an evaluation beyond the dataset and what the process held before")
    for count in MEMORY_EXAMPLES:
        print(
            f"  {count:>6} examples   {peak_mebibytes(count):8.1f} MiB, adversarial images {kept(count):.1f} MiB of it"
        )
    draw(points, sizes)


def along(
    values: tuple[int, ...], work: Callable[[int], Callable[[], object]], robust: Subject, rounds: int
) -> dict[int, Ratio]:
    """Cost at every value, interleaved."""
    bare = own_copy(robust.model)
    images, labels = robust.images[:BATCH], robust.labels[:BATCH]
    one_pass = Contender(work=lambda: input_gradients(bare, images, labels, passes=5), share=5.0)
    contenders = {"pass": one_pass, **{str(value): Contender(work=work(value)) for value in values}}
    ratios = compete(contenders, reference="pass", rounds=rounds)
    return {value: ratios[str(value)] for value in values}


def pgd(robust: Subject, count: int, steps: int) -> Callable[[], object]:
    """PGD on some of the images."""
    model = own_copy(robust.model)
    return lambda: perturbed(Pgd(steps=steps), model, robust.images[:count], robust.labels[:count])


def few_classes(classes: int) -> Callable[[], object]:
    """MT on a model that nothing fools, so that it tries every target on every image."""
    model, images, labels = (
        confident_model(classes),
        torch.rand(BATCH, 1, 28, 28),
        torch.zeros(BATCH, dtype=torch.int64),
    )
    return lambda: perturbed(MultiTargeted(), model, images, labels)


def confident_model(classes: int) -> nn.Module:
    """CNN2 with random features and class 0 far ahead."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make_cnn2(input_shape=(1, 28, 28), classes=classes)
        nn.init.normal_(model.dense3.weight, std=0.01)
    model.dense3.bias.data[0] = 1e3
    return model.eval()


def kept(count: int) -> float:
    """MiB of the adversarial images that an evaluation returns."""
    return count * 28 * 28 * 4 / MEBIBYTE


def peak_mebibytes(count: int) -> float:
    """Median MiB by which new processes grow in one PGD step on `count` uint8 images they hold."""
    settings = [(count, torch.get_num_threads())] * 3
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return statistics.median(pool.starmap(_evaluate_and_report, settings, chunksize=1))


def _evaluate_and_report(count: int, threads: int) -> float:
    torch.set_num_threads(threads)
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8)
    model = confident_model(10)
    Path("/proc/self/clear_refs").write_text(
        "5", encoding="ascii"
    )  # forget the peak of imports, which hides all others
    before = _peak_resident()
    judged(Pgd(steps=1), model, images, torch.zeros(count, dtype=torch.int64))
    return _peak_resident() - before


def _peak_resident() -> float:
    """MiB, from Linux's account of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def draw(points: Mapping[str, Mapping[int, Ratio]], sizes: Mapping[str, Size]) -> None:
    """One panel per quantity, measured points with quartiles and the line of the limit."""
    matplotlib.use("Agg")
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), constrained_layout=True)
    limits = [lambda n: n / BATCH * 10, lambda n: n, lambda n: 20 * (n - 1)]
    for axis, (title, ratios), limit in zip(axes, points.items(), limits):
        values = list(ratios)
        _curve(axis, values, list(ratios.values()))
        axis.plot(values, [limit(value) for value in values], linestyle="--", color="grey", label="the limit")
        axis.set(xlabel=title, xlim=(0, None), ylim=(0, None))
    _draw_sizes(axes[3], sizes)
    axes[0].set_ylabel("cost in passes over 64 images")
    axes[0].legend(frameon=False)
    figure.savefig(PICTURE, dpi=90)


def _draw_sizes(axis: Axes, sizes: Mapping[str, Size]) -> None:
    """On logarithmic axes, for the networks differ by powers of ten."""
    millions = [size.multiply_adds / 1e6 for size in sizes.values()]
    _curve(axis, millions, [size.ours for size in sizes.values()], linestyle="none")
    limits = [size.limit.median for size in sizes.values()]
    axis.plot(millions, limits, linestyle="none", marker="_", markersize=12, color="grey")
    for name, place, size in zip(sizes, millions, sizes.values()):
        axis.annotate(name, (place, size.ours.median), textcoords="offset points", xytext=(6, -8), fontsize=7)
    axis.set(xscale="log", yscale="log", xlabel="million multiply-adds per image (PGD-10)", ylabel="in passes of CNN2")


def _curve(axis: Axes, values: Sequence[float], ratios: Sequence[Ratio], **style: str) -> None:
    """Medians with quartiles."""
    medians = [found.median for found in ratios]
    spread = [[r.median - r.low for r in ratios], [r.high - r.median for r in ratios]]
    axis.errorbar(values, medians, yerr=spread, marker="o", capsize=3, label="benchbench", **style)


if __name__ == "__main__":
    main()
