"""An evaluation as a whole: memory that does not grow with the examples, searches in bfloat16 that float32 judges."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Attack, Examples, KeyedGenerator, Threat
from benchbench.evaluation import Outcome, evaluate
from benchbench.testing.toys import smooth_toy

ROOT = Path(__file__).resolve().parents[2]
MEBIBYTE = 2**20
IMAGE_BYTES = 3 * 32 * 32 * 4  # of one adversarial image
EXAMPLES = 8_192


def printed(program: str, *arguments: str) -> str:
    """What a program prints; large blocks go back to the system at once, for the heap's layout is a matter of chance."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1048576"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


PROGRAM = """
import sys
from pathlib import Path
import torch
from torch import nn
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Examples, Threat
from benchbench.evaluation import evaluate

def peak():
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

def run(count):
    images = whole[:count]
    examples = Examples(inputs=images, labels=torch.zeros(count, dtype=torch.int64))
    rows = torch.arange(count)
    return evaluate(
        model, train=few, test=examples, train_rows=rows[:64], test_rows=rows, classes=2, threat=Threat(epsilon=0.1),
        attack=Pgd(steps=1), attack_name="pgd", metrics={}, seed=0, device=torch.device("cpu"),
    )

torch.set_num_threads(1)
model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
nn.init.zeros_(model[1].weight)
model[1].bias.data = torch.tensor([1.0, 0.0])
whole = torch.randint(0, 256, (int(sys.argv[1]), 3, 32, 32), dtype=torch.uint8)
few = Examples(inputs=whole[:64], labels=torch.zeros(64, dtype=torch.int64))
Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
for _ in range(2):
    run(3072)  # three parts, the size of which does not depend on the number of examples
before = peak()
outcome = run(int(sys.argv[1]))
print(peak() - before)
assert len(outcome.witnesses) == int(sys.argv[1])
assert float((outcome.witnesses[-1] - whole[-1] / 255.0).abs().max()) < 0.1001
"""


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
def test_adversarial_images_of_many_examples_take_no_more_memory_than_of_few() -> None:
    kept = EXAMPLES * IMAGE_BYTES / MEBIBYTE
    grown = int(printed(PROGRAM, str(EXAMPLES))) / MEBIBYTE
    assert grown < 0.1 * kept, f"grown by {grown:.0f} MiB over that of 3,072; adversarial images are {kept:.0f} MiB"


MAPPED_PROGRAM = """
import sys
import numpy as np
import torch
from torch import nn
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.metrics.accuracy import AdversarialAccuracy
from benchbench.contract import Examples, Threat
from benchbench.data import crop_to
from benchbench.evaluation import evaluate
from benchmarks.mapped import highest

def run(count):
    part = Examples(inputs=centres.inputs[:count], labels=centres.labels[:count])
    rows = torch.arange(count)
    outcome = evaluate(
        model, train=part, test=few, train_rows=rows, test_rows=rows[:64], classes=2, threat=Threat(epsilon=0.1),
        attack=Pgd(steps=1), attack_name="pgd", metrics={"accuracy": AdversarialAccuracy()}, seed=0,
        device=torch.device("cpu"),
    )
    assert outcome.values["adv_train_accuracy"] == 1.0

torch.set_num_threads(1)
mapped = torch.from_numpy(np.load(sys.argv[1], mmap_mode="c"))
labels = torch.zeros(len(mapped), dtype=torch.int64)
centres = crop_to(Examples(inputs=mapped, labels=labels), (3, 64, 64))
few = Examples(inputs=centres.inputs[:64].clone(), labels=labels[:64])
model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2))
nn.init.zeros_(model[1].weight)
model[1].bias.data = torch.tensor([1.0, 0.0])
run(1024)  # two parts, the size of which does not depend on the number of examples
with highest() as of_few:
    run(1024)
with highest() as of_all:
    run(len(mapped))
print(max(of_all) - max(of_few))
"""
MAPPED_SHAPE = (4096, 3, 72, 72)  # training images of Restricted ImageNet, of which the centres are evaluated


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
@pytest.mark.exhaustive
def test_images_that_are_mapped_from_a_file_stay_there(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=MAPPED_SHAPE)
    for start in range(0, len(images), 1024):
        images[start : start + 1024] = np.arange(1024, dtype=np.uint8)[:, None, None, None]
    size = images.nbytes / MEBIBYTE
    del images
    grown = int(printed(MAPPED_PROGRAM, str(path))) / MEBIBYTE
    # a copy of the centres alone is 0.79 of it; what the allocator holds differs by some 40 MiB between runs
    assert grown < 0.5 * size, f"grown by {grown:.0f} MiB over that of 1,024 images; all of them are {size:.0f} MiB"


class Recording(nn.Module):
    """A model that notes whether it ran in bfloat16, and with a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = smooth_toy((1, 6, 6), 6)
        with torch.no_grad():
            self.centre = self.inner(images_of(70)).mean(0)
        self.seen: list[tuple[torch.dtype, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        self.seen.append((logits.dtype, logits.requires_grad))
        return logits - self.centre  # so that not all images are of one class


def images_of(count: int) -> Tensor:
    return KeyedGenerator(3, torch.arange(count)).uniform(1, 6, 6)


def outcome(attack: Attack, model: nn.Module, precision: str) -> Outcome:
    images = images_of(70)
    examples = Examples(inputs=images, labels=model.eval()(images).argmax(1))
    return evaluate(
        model,
        train=examples,
        test=examples,
        train_rows=torch.arange(70),
        test_rows=torch.arange(70),
        classes=6,
        threat=Threat(epsilon=0.04),
        attack=attack,
        attack_name="attack",
        metrics={},
        seed=0,
        device=torch.device("cpu"),
        precision=precision,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("attack", [Pgd(), MultiTargeted()])
def test_bf16_searches_with_rounded_gradients_and_judges_in_float32(attack: Attack) -> None:
    model = Recording()
    found = outcome(attack, model, "bf16")
    assert (torch.bfloat16, True) in model.seen
    assert (torch.bfloat16, False) not in model.seen  # whatever decides without a gradient is float32
    assert torch.equal(found.per_example["adversarial_prediction"], model(found.witnesses).argmax(1))
    robust = found.per_example["robust"]
    agreed = robust == outcome(attack, model, "float32").per_example["robust"]
    assert 5 < int(robust.sum()) < 65
    assert float(agreed.float().mean()) > 0.95


def test_float32_runs_nothing_in_bfloat16() -> None:
    model = Recording()
    outcome(Pgd(), model, "float32")
    assert {dtype for dtype, _ in model.seen} == {torch.float32}


@pytest.mark.parametrize("attack", [Pgd(steps=3), MultiTargeted(steps=3)])
def test_tf32_is_allowed_while_a_search_looks_and_not_while_it_is_judged(attack: Attack) -> None:
    """On this processor both are float32; the switches are what a CUDA device goes by."""
    allowed: dict[bool, set[tuple[bool, bool]]] = {True: set(), False: set()}

    class Watching(Recording):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            switches = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            allowed[logits.requires_grad].add(switches)
            return logits

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    model = Watching()
    found = outcome(attack, model, "tf32").per_example["adversarial_prediction"]
    assert (True, True) in allowed[True]
    assert allowed[True] <= {(True, True), (False, False), before}  # MT's second look, the diagnostics' gradients
    assert allowed[False] <= {(False, False), before}
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    assert {dtype for dtype, _ in model.seen} == {torch.float32}
    assert torch.equal(found, outcome(attack, Recording(), "float32").per_example["adversarial_prediction"])
