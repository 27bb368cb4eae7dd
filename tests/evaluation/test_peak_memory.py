"""The memory of an evaluation does not grow with the number of examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MEBIBYTE = 2**20
IMAGE_BYTES = 3 * 32 * 32 * 4  # of one adversarial image
EXAMPLES = 12_288

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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
def test_adversarial_images_of_many_examples_take_no_more_memory_than_of_few() -> None:
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(EXAMPLES)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    grown, kept = int(finished.stdout) / MEBIBYTE, EXAMPLES * IMAGE_BYTES / MEBIBYTE
    assert grown < 0.25 * kept, f"grown by {grown:.0f} MiB over that of 3,072; adversarial images are {kept:.0f} MiB"
