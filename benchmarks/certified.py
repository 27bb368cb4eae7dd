"""Certified accuracy beside AutoAttack, of a strided CNN from certified training.

    python -m benchmarks.certified runs/models/3ac544565f2b30d2.safetensors --images 1000

Bounds come first. AutoAttack then attacks what is classified correctly and not certified: a certified image withstands every
attack, so that the accuracy under AutoAttack is the share of images that are certified or withstand it.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from benchbench_certified.strided import make_strided_cnn
from torch import nn

from benchbench.builtin.attacks.autoattack.standard import AutoAttack
from benchbench.builtin.datasets.mnist import Mnist
from benchbench.contract import DataSource, KeyedGenerator, Threat, as_model_input, bound_margins, derive_seed
from benchmarks.bounds import stored_state


def stored_model(path: Path) -> nn.Module:
    """The network of a checkpoint, or of the stored weights of runs."""
    model = make_strided_cnn(input_shape=(1, 28, 28), classes=10)
    model.load_state_dict(stored_state(path))
    return model.eval().requires_grad_(False)


def main() -> None:
    """Read the arguments, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--epsilon", type=float, default=0.1)
    arguments = parser.parse_args()
    root = Path(os.environ["BENCHBENCH_DATA"])
    test = Mnist().load(DataSource(root=root, cache=Path("/nowhere"))).test
    model, threat = stored_model(arguments.checkpoint), Threat(epsilon=arguments.epsilon)
    images, labels = as_model_input(test.inputs[: arguments.images]), test.labels[: arguments.images]
    correct = model(images).argmax(dim=1) == labels
    begun = time.process_time()
    bounds = [
        bound_margins(model, some, wanted, threat=threat, steps=0)
        for some, wanted in zip(images.split(100), labels.split(100))
    ]
    certified = torch.cat([one.values for one in bounds]) > 0
    middle = time.process_time()
    open_ = (correct & ~certified).nonzero()[:, 0]
    candidates = AutoAttack().perturb(
        model, images[open_], labels[open_], threat=threat, generator=KeyedGenerator(derive_seed(0, "attack"), open_)
    )
    withstand = certified.clone()
    withstand[open_] = model(candidates).argmax(dim=1) == labels[open_]
    shares = {"clean": correct, "AutoAttack": withstand, "certified": certified}
    print(f"{len(labels)} images, radius {threat.epsilon:g}")
    print(", ".join(f"{name} {float(share.double().mean()):.3f}" for name, share in shares.items()))
    print(
        f"bounds {middle - begun:.0f} s, attack on {len(open_)} images {time.process_time() - middle:.0f} s of processor time"
    )


if __name__ == "__main__":
    main()
