"""A Slurm cluster of one machine in a temporary folder: munged, slurmctld and slurmd on loopback, without accounting.

``python tests/slurm_cluster.py FOLDER`` starts one by hand and prints what to export; it ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
START_SECONDS = 60.0
CONFIGURATION = """
ClusterName=benchbench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
SlurmdTimeout=10
ReturnToService=2
KillWait=10
MinJobAge=300
MaxJobCount={max_jobs}
MaxArraySize=50
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes={host} Default=YES MaxTime=60 OverSubscribe=NO State=UP
PartitionName=urgent Nodes={host} Default=NO MaxTime=60 PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=closed Nodes={host} Default=NO MaxTime=60 State=DOWN
"""


def why_not() -> str:
    """Why no cluster can be started here; empty where it can."""
    missing = [program for program in PROGRAMS if find_program(program) is None]
    if missing:
        return f"no Slurm here ({', '.join(missing)} missing): apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "slurmd needs root"


def find_program(name: str) -> str | None:
    """The path of a program; daemons may lie where the PATH of users does not lead."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


@dataclass(kw_only=True)
class Cluster:
    """A cluster at work.

    Attributes:
        folder: of its configuration, logs and sockets.
        environment: what its clients need besides the usual.
    """

    folder: Path
    environment: Mapping[str, str]
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def call(self, *command: str) -> str:
        """Standard output of a client command."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    def jobs(self) -> list[tuple[str, str]]:
        """Id and state of the jobs that wait or run, array elements one by one."""
        lines = self.call("squeue", "-h", "-r", "-o", "%i %T").splitlines()
        return [(line.split()[0], line.split()[1]) for line in lines]

    def start(self, daemon: str, *options: str, hidden: Path | None = None) -> None:
        """Start a daemon in the foreground, as a child of this process."""
        log = (self.folder / f"{daemon}.out").open("ab")
        program = find_program(daemon)
        assert program is not None
        environment = {**os.environ, **self.environment}
        command = [program, *options]
        if hidden is not None:
            script = 'mount -t tmpfs none "$0" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, str(hidden), *command]
        with log:
            self.daemons[daemon] = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def start_node(self, hidden: Path | None = None) -> None:
        """Start the node's daemon."""
        self.start("slurmd", "-D", "-c", hidden=hidden)

    def stop(self, daemon: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop a daemon."""
        process = self.daemons.pop(daemon)
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def cluster(
    folder: Path, *, cpus: int = 4, memory_mb: int = 16000, max_jobs: int = 1000, hidden: Path | None = None
) -> Iterator[Cluster]:
    """Start a cluster, wait until its node takes jobs, and end it with all its jobs.

    Args:
        folder: new.
        cpus: of the node, whatever the machine has.
        memory_mb: of the node, in MiB.
        max_jobs: that the controller takes.
        hidden: a folder that the node sees empty, as if it lay on a disk of another machine.
    """
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    configuration = CONFIGURATION.format(
        host=socket.gethostname().partition(".")[0],
        folder=folder,
        ports=free_ports(2),
        cpus=cpus,
        memory_mb=memory_mb,
        max_jobs=max_jobs,
    )
    (folder / "slurm.conf").write_text(configuration)
    started = Cluster(folder=folder, environment={"SLURM_CONF": str(folder / "slurm.conf")})
    try:
        places = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
        places["seed-file"] = "munge.seed"
        options = [f"--{option}={folder / place}" for option, place in places.items()]
        started.start("munged", "--foreground", "--force", *options)
        started.start("slurmctld", "-D", "-c")
        started.start_node(hidden)
        _wait_until_idle(started)
        yield started
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            started.call("scancel", "--signal=KILL", "--state=RUNNING", "--user=root")
            started.call("scancel", "--user=root")
            _wait(lambda: not started.jobs(), 15.0)
        for daemon in reversed([*started.daemons]):
            started.stop(daemon)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_until_idle(started: Cluster) -> None:
    def idle() -> bool:
        with contextlib.suppress(subprocess.SubprocessError):
            return "idle" in started.call("sinfo", "-h", "-p", "main", "-o", "%T")
        return False

    if not _wait(idle, START_SECONDS):
        logs = {path.name: path.read_text(errors="replace")[-2000:] for path in started.folder.glob("*.[lo][ou][gt]")}
        raise RuntimeError(f"the cluster does not start: {logs}")


def _wait(condition: object, seconds: float) -> bool:
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    with cluster(Path(sys.argv[1]).absolute()) as _started:
        for _name, _value in _started.environment.items():
            print(f"export {_name}={_value}", flush=True)
        sys.stdin.read()
