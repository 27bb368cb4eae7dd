"""Memory of evaluating Restricted ImageNet, whose images stay in a memory-mapped file.

    python -m benchmarks.mapped

The dataset prepares synthetic photographs in ImageNet's layout, 10,150 for testing, as in the original, and twice as many for
training, in its cache (half a gigabyte, in a temporary folder). Then a small network is evaluated by one step of PGD on more
and more of them, each time in a new process. It prints by how much the memory of such a process grows at most after the
images are mapped, without pages of files, which the system reclaims when it needs them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.datasets.restricted_imagenet import GROUPS, IMAGENET_CLASSES, RestrictedImagenet
from benchbench.builtin.metrics.accuracy import AdversarialAccuracy
from benchbench.contract import DatasetSplits, DataSource, Examples, Threat
from benchbench.data import crop_to
from benchbench.evaluation import evaluate

PHOTOGRAPHS = 20  # different ones
PER_CLASS = {"train": 100, "val": 50}
COUNTS = (1024, 4096, 10_150, 20_300)  # of each split, as far as it goes
SAMPLE_SECONDS = 0.002
MEBIBYTE = 2**20


def main() -> None:
    """Prepare, measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = DataSource(root=Path(folder), cache=Path(folder) / "cache")
        write_photographs(source.root / "imagenet")
        splits = RestrictedImagenet().load(source)
        mapped = sum(examples.inputs.numel() for examples in (splits.train, splits.test)) / MEBIBYTE
        print(f"mapped: {len(splits.train):,} training and {len(splits.test):,} test images, {mapped:.0f} MiB")
        for count in COUNTS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(f"  {count:>6,} of each evaluated: {pool.apply(grown, (source, count)):6.1f} MiB", flush=True)


def write_photographs(folder: Path) -> None:
    """A folder in ImageNet's layout; photographs repeat themselves, as links."""
    from PIL import Image

    folder.mkdir(parents=True)
    pixels = torch.randint(0, 256, (PHOTOGRAPHS, 10, 13, 3), dtype=torch.uint8).numpy()
    originals = [folder / f"{number}.jpeg" for number in range(PHOTOGRAPHS)]
    for photograph, path in zip(pixels, originals):
        Image.fromarray(photograph).resize((130, 100)).save(path)
    members = {number for group in GROUPS.values() for number in group}
    for split, count in PER_CLASS.items():
        for number in range(IMAGENET_CLASSES):
            of_class = folder / split / f"n{number:08d}"
            of_class.mkdir(parents=True)
            for place in range(count if number in members else 0):
                os.link(originals[(number + place) % PHOTOGRAPHS], of_class / f"n{number:08d}_{place}.JPEG")


def grown(source: DataSource, count: int) -> float:
    """MiB of this process's peak growth while it evaluates `count` images of each split."""
    torch.set_num_threads(1)
    splits = RestrictedImagenet().load(source)
    run(splits, 64)  # libraries take memory, too
    before = anonymous()
    with highest() as seen:
        run(splits, count)
    return (max(seen) - before) / MEBIBYTE


def run(splits: DatasetSplits, count: int) -> None:
    """Evaluate the first images of both splits; of training photographs, the centres."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 15 * 15, 9))
    test, train = splits.test, crop_to(splits.train, splits.test.inputs.shape[1:])
    evaluate(
        model,
        train=Examples(inputs=train.inputs[:count], labels=train.labels[:count]),
        test=Examples(inputs=test.inputs[:count], labels=test.labels[:count]),
        train_rows=torch.arange(len(train.inputs[:count])),
        test_rows=torch.arange(len(test.inputs[:count])),
        classes=9,
        threat=Threat(epsilon=0.005),
        attack=Pgd(steps=1),
        attack_name="pgd",
        metrics={"adversarial-accuracy": AdversarialAccuracy()},
        seed=0,
        device=torch.device("cpu"),
    )


@contextmanager
def highest() -> Iterator[list[int]]:
    """Within the block, poll this process's memory."""
    seen, over = [anonymous()], threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            seen.append(anonymous())

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield seen
    finally:
        over.set()
        watching.join()


def anonymous() -> int:
    """Bytes of this process's memory that are not pages of files, by Linux's accounting."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    main()
