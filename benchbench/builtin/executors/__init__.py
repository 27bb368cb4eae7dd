"""Built-in executors."""

from __future__ import annotations

from benchbench.contract import Capabilities, Offer
from benchbench.version import install_command

OFFERS: tuple[Offer, ...] = (
    Offer(
        name="local",
        summary="Worker processes on this machine, a GPU slot each or the cores divided among them",
        factory="benchbench.executors.local:LocalExecutor",
    ),
    Offer(
        name="slurm",
        summary="Job arrays on a Slurm cluster, through submitit",
        factory="benchbench.executors.slurm:SlurmExecutor",
        capabilities=Capabilities(requires={"submitit": install_command("slurm")}, elsewhere=True),
    ),
)
