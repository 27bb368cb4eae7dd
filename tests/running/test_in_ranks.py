"""Ranks run a suite as one process runs it: the same rows but for rounding, written once, and all of them end."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rank_processes import Ranks, as_ranks, free_port, in_ranks
from run_processes import NOT_COMPARED, run, write_suite

import benchbench
from benchbench.errors import RankError, UsageError
from benchbench.events import Event, Note
from benchbench.harness.sharing import ClaimedShards, EvaluationOverError, Notice
from benchbench.leaderboard.files import read_rows
from benchbench.records import Row
from benchbench.running import in_ranks as in_ranks_module
from benchbench.stopping import StopRequest

METRICS = ["accuracy", "adversarial-accuracy", "lipschitz"]
ROUNDED = ("test_lipschitz", "test_lipschitz_best", "test_lipschitz_low", "test_lipschitz_high")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
    """What a process of a run reports."""

    rows: tuple[Row, ...]
    finished: int
    events: int
    notes: tuple[str, ...]


def run_here(folder: Path, home: str, **arguments: Any) -> Heard:
    os.environ["BENCHBENCH_HOME"] = home
    events: list[Event] = []
    result = run(folder, events.append, **arguments)
    notes = tuple(event.message for event in events if isinstance(event, Note))
    return Heard(rows=result.rows, finished=result.finished, events=len(events), notes=notes)


def run_here_without_pickles(folder: Path, home: str) -> Heard:
    """As `run_here`; whatever unpickles a class or a function raises."""

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event == "pickle.find_class":
            raise AssertionError(f"unpickled {arguments}")

    sys.addaudithook(refuse)  # stays; the process ends after the run
    return run_here(folder, home)


def rows_of(folder: Path) -> list[Row]:
    return list(read_rows(folder / "leaderboards" / "tiny.parquet"))


def test_ranks_give_the_rows_of_one_process(tmp_path: Path) -> None:
    home = os.environ["BENCHBENCH_HOME"]
    for name in ("alone", "ranks"):
        write_suite(tmp_path / name, defenses=["natural", "at", "distance"], metrics=METRICS, attacks=["pgd-10"])
    alone = run_here(tmp_path / "alone", home)
    first, second = as_ranks(2, run_here_without_pickles, tmp_path / "ranks", home)
    assert isinstance(first, Heard), first
    assert first.events > 0
    assert second.events == 0
    assert first.rows == second.rows
    assert (alone.finished, first.finished, second.finished) == (3, 3, 3)
    for row, expected in zip(rows_of(tmp_path / "ranks"), rows_of(tmp_path / "alone"), strict=True):
        shared = row.defense != "distance"
        assert row.device.endswith(" x 2 ranks") == shared
        assert row.test_lipschitz == pytest.approx(expected.test_lipschitz, rel=1e-5)
        tolerated = (
            {**dict.fromkeys(ROUNDED), "extra": {}, "outcomes_digest": "", "witnesses_digest": ""} if shared else {}
        )
        ignored: dict[str, Any] = {**NOT_COMPARED, **tolerated, "device": ""}
        assert dataclasses.replace(row, **ignored) == dataclasses.replace(expected, **ignored)
    again = as_ranks(2, run_here, tmp_path / "ranks", home)
    assert [heard.finished for heard in again] == [0, 0]


def refused(folder: Path, home: str, **arguments: Any) -> str:
    try:
        run_here(folder, home, **arguments)
    except (RankError, UsageError) as error:
        return f"{type(error).__name__}: {error.message}"
    return "not refused"


def test_what_the_leader_cannot_do_ends_all(tmp_path: Path) -> None:
    write_suite(tmp_path)
    said = as_ranks(2, refused, tmp_path, os.environ["BENCHBENCH_HOME"], profile="misspelt")
    assert said[0].startswith("UsageError: suite 'tiny' has no profile 'misspelt'")
    assert said[1].startswith("RankError: rank 0 of 2: suite 'tiny' has no profile 'misspelt'")


def test_ranks_and_jobs_are_not_for_one_run(tmp_path: Path) -> None:
    write_suite(tmp_path)
    said = as_ranks(2, refused, tmp_path, os.environ["BENCHBENCH_HOME"], jobs=2)
    assert said == ["UsageError: torchrun and an executor both start processes"] * 2


@pytest.fixture
def notice(tmp_path: Path) -> Notice:
    return Notice(path=tmp_path / "evaluations" / "cell.json", setting="cpu (toaster, 1 threads), batches of 64")


def test_a_helper_needs_the_same_setting(notice: Notice) -> None:
    other = dataclasses.replace(notice, setting="cuda (NVIDIA H200), batches of 512")
    assert not notice.is_posted()
    with notice.posted():
        assert notice.is_posted()
        assert not other.is_posted()
    assert not notice.is_posted()
    notice.path.write_bytes(b"\xff{")
    assert not notice.is_posted()


def test_help_ends_with_the_evaluation(notice: Notice, tmp_path: Path) -> None:
    claims = benchbench.records.claims.Claims(tmp_path / "claims")
    shards = ClaimedShards(claims=claims, scope="a", stop=StopRequest(), notice=notice)
    with notice.posted():
        with shards.claim("attack/test/00000000") as mine:
            assert mine
        shards.wait()
    with pytest.raises(EvaluationOverError):
        shards.claim("attack/test/00000000")
    with pytest.raises(EvaluationOverError):
        shards.wait()


@pytest.mark.exhaustive  # starts torchrun twice
def test_torchrun_runs_a_suite_and_ends_when_a_rank_is_killed(tmp_path: Path) -> None:
    write_suite(tmp_path, epochs=2, attacks=["pgd-10"])
    started = _torchrun(tmp_path)
    said, complaints = started.communicate(timeout=300)
    assert started.returncode == 0, complaints
    document = json.loads(said)
    assert document["finished"] == 2
    assert all(row["device"].endswith("x 2 ranks") for row in document["rows"])
    write_suite(tmp_path / "long", epochs=100_000, attacks=["pgd-10"])
    started = _torchrun(tmp_path / "long")
    _kill_a_rank(started.pid)
    _, complaints = started.communicate(timeout=60)
    assert started.returncode != 0
    assert "Traceback" not in complaints.partition("failed (exitcode")[0]  # below it, torchrun tells what became of it


@pytest.mark.exhaustive  # starts torchrun on two nodes
@pytest.mark.parametrize("meeting", ["at a stated node", "by rendezvous"])
def test_torchrun_on_two_nodes_runs_a_suite(tmp_path: Path, meeting: str) -> None:
    """Two agents over loopback: two nodes, as far as torchrun can tell."""
    write_suite(tmp_path, epochs=2, attacks=["pgd-10"])
    address = f"127.0.0.1:{free_port()}"
    static = {"--master-addr": "127.0.0.1", "--master-port": address.partition(":")[2]}
    met = {"--rdzv-backend": "c10d", "--rdzv-endpoint": address, "--rdzv-id": "nodes"}
    nodes = []
    for number in range(2):
        options = {**static, "--node-rank": str(number)} if meeting == "at a stated node" else met
        listed = [part for pair in options.items() for part in pair]
        nodes.append(_torchrun(tmp_path, "--nnodes", "2", "--nproc-per-node", "1", *listed))
    answers = [node.communicate(timeout=300) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], answers
    (said,) = [said for said, _ in answers if said]  # rank 0 speaks, the other node says nothing
    document = json.loads(said)
    assert document["finished"] == 2
    assert all(row["device"].endswith("x 2 ranks") for row in document["rows"])


def _torchrun(folder: Path, *options: str) -> subprocess.Popen[str]:
    launch = options or ("--nproc-per-node", "2", "--standalone")
    command = [sys.executable, "-m", "torch.distributed.run", *launch]
    places = ["--runs", str(folder / "runs"), "--leaderboards", str(folder / "leaderboards")]
    suite = ["-m", "benchbench", "run", "--suite", str(folder / "tiny.toml"), "--device", "cpu", "--json", *places]
    return subprocess.Popen([*command, *suite], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _kill_a_rank(launcher: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        if len(children) == 2:
            time.sleep(30)
            os.kill(int(children[1]), 9)
            return
        time.sleep(0.2)
    raise AssertionError("torchrun started no ranks")


def test_a_process_with_nothing_left_helps_another(tmp_path: Path) -> None:
    """Two processes share one cell: one records it, the other computes some of its shards or finds it done."""
    from run_processes import start

    write_suite(tmp_path, defenses=["natural"], attacks=["mt-20"], metrics=METRICS, epochs=1)
    home = os.environ["BENCHBENCH_HOME"]
    processes = [start(_attack_when_helped, tmp_path, home, tmp_path / f"said{number}") for number in range(2)]
    for process in processes:
        process.join(timeout=200)
        assert process.exitcode == 0
    assert sorted((tmp_path / f"said{number}").read_text() for number in range(2)) == ["0", "1"]
    assert (tmp_path / "helping").exists()


def _attack_when_helped(folder: Path, home: str, answer: Path) -> None:
    """Run the suite; attacks wait until one of the processes has found the other's evaluation."""
    from benchbench.evaluation.supervision import propose

    helping = folder / "helping"

    def wait_and_attack(*arguments: Any, **named: Any) -> Any:
        deadline = time.monotonic() + 90
        while not helping.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return propose(*arguments, **named)

    def listen(event: Event) -> None:
        if isinstance(event, Note) and "helping the process that evaluates it" in event.message:
            helping.touch()

    pytest.MonkeyPatch().setattr("benchbench.evaluation.attacking.propose", wait_and_attack)
    os.environ["BENCHBENCH_HOME"] = home
    answer.write_text(str(run(folder, listen).finished))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, crater: Path) -> None:
        self._crater = crater

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._crater,))


def obey_a_stranger(ranks: Ranks, order: bytes) -> str:
    """Rank 1 follows an order that somebody on the network has put into the store."""
    if ranks.leads:
        ranks._store.set("order/0", order)
        return ""
    try:
        in_ranks_module._obey(ranks, None)  # type: ignore[arg-type]
    except RankError as error:
        return error.message
    return "obeyed"


def test_order_from_the_network_runs_no_code(tmp_path: Path) -> None:
    order = pickle.dumps(Bomb(tmp_path / "crater"))
    pickle.loads(order)
    (tmp_path / "crater").unlink()
    assert in_ranks(2, obey_a_stranger, order)[1] == "rank 1 of 2: an order is no JSON, so it is not from rank 0"
    assert not (tmp_path / "crater").exists()


@pytest.mark.parametrize(
    "order", [b"[]", b"1", b'{"train": {}}', b'{"train": "{}"}', b'{"evaluate": "["}', b'{"end": {}}', b"[" * 10**5]
)
def test_order_that_no_rank_gives_ends_the_ranks(order: bytes) -> None:
    assert in_ranks(2, obey_a_stranger, order)[1].startswith("rank 1 of 2: an order ")


def share_bytes(ranks: Ranks) -> list[bytes]:
    return [ranks.share(content if ranks.leads else b"mine") for content in (b"", b"\0", bytes(range(256)) * 1000)]


def test_bytes_are_shared_as_they_are() -> None:
    assert in_ranks(2, share_bytes) == [[b"", b"\0", bytes(range(256)) * 1000]] * 2
