"""Coverage-guided fuzzing with atheris, of one target or of all of them.

    python tests/fuzzing/campaign.py TARGET [LIBFUZZER OPTION]...
    python tests/fuzzing/campaign.py --minutes 30 [--random] [--out FOLDER] [TARGET]...

The first form takes, for instance, ``-runs=10000 -timeout=20 -rss_limit_mb=4000 -artifact_prefix=FOLDER/ CORPUS``. The second
divides the minutes among the targets, and reports how many inputs each one got and which of them failed; its status is 1 if one
did. Each target needs a minute or more, for atheris instruments what it imports; ``--random`` does without, and tries random
bytes. An input that makes a target raise, hang or take too much memory is kept in the folder. Move it to
``tests/fuzzing/found/TARGET/``, from where ``test_fuzzing.py`` replays it for ever.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve()
SECONDS = 60  # that an input may take
BOUNDS = (f"-timeout={SECONDS}", "-rss_limit_mb=6000", "-len_control=0")
MOST_FAILURES = 5  # of a target, which is then left alone
_DONE = re.compile(r"Done (\d+) runs|stat::number_of_executed_units: (\d+)")
sys.path.insert(0, str(HERE.parents[1]))


def fuzz(program: str, name: str, options: list[str]) -> None:
    """Fuzz one target until libFuzzer has had its runs."""
    import atheris

    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(
        include=["benchbench", "tomllib", "zipfile", "fuzzing"], enable_loader_override=False
    ):
        from fuzzing.targets import SEEDS, TARGETS
    for option in options:
        if not option.startswith("-"):
            Path(option).mkdir(parents=True, exist_ok=True)
            for number, seed in enumerate(SEEDS.get(name, ())):
                (Path(option) / f"seed-{number}").write_bytes(seed)
    atheris.Setup([program, *options], TARGETS[name], enable_python_coverage=True)
    atheris.Fuzz()


def fuzz_randomly(name: str, seconds: float, kept: Path) -> int:
    """Fuzz one target with random bytes; return how many inputs failed, each in another place."""
    from fuzzing.targets import SEEDS, TARGETS

    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)
    draws, runs, found = random.Random(), 0, set[str]()
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(found) < MOST_FAILURES:
        data = draws.randbytes(draws.randrange(120)) if draws.randrange(4) else draws.choice(SEEDS.get(name, (b"",)))
        signal.alarm(SECONDS)  # ends the process
        try:
            TARGETS[name](data)
        except Exception:
            said = traceback.format_exc()
            place = "".join(said.splitlines()[-3:-1])
            if place not in found:
                found.add(place)
                print(said, file=sys.stderr)
                (kept / hashlib.sha256(data).hexdigest()[:8]).write_bytes(data)
        signal.alarm(0)
        runs += 1
    print(f"Done {runs} runs", file=sys.stderr)
    return len(found)


def campaign(names: list[str], minutes: float, out: Path, *, randomly: bool) -> int:
    """Fuzz each target in processes of its own; return how many failing inputs were found."""
    found = total = 0
    began = time.monotonic()
    for place, name in enumerate(names):
        kept = out / name
        kept.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + (60 * minutes - (time.monotonic() - began)) / (len(names) - place)
        runs, failures = 0, 0
        while (left := end - time.monotonic()) > 5 and failures < (1 if randomly else MOST_FAILURES):
            options = [
                f"-max_total_time={left:.0f}",
                f"-seed={1 + failures}",
                f"-artifact_prefix={kept}/",
                "-print_final_stats=1",
            ]
            command = [sys.executable, str(HERE), name, *BOUNDS, *options, str(out / "corpus" / name)]
            if randomly:
                command = [sys.executable, str(HERE), name, "--seconds", f"{left}", str(kept)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
            runs += max((int(one or other) for one, other in _DONE.findall(done.stderr)), default=0)
            if done.returncode:
                failures += 1
                (kept / f"failure-{failures}.txt").write_text(done.stderr[-20_000:])
        print(f"{name:20} {runs:8,} inputs, {failures} failures" + (f": {kept}" if failures else ""), flush=True)
        found, total = found + failures, total + runs
    print(f"{'all':20} {total:8,} inputs, {found} failures, {(time.monotonic() - began) / 60:.1f} minutes")
    return found


def main() -> None:
    """Fuzz one target, or all of them for some minutes."""
    if sys.argv[2:3] == ["--seconds"]:
        sys.exit(fuzz_randomly(sys.argv[1], float(sys.argv[3]), Path(sys.argv[4])))
    if sys.argv[1:2] and not sys.argv[1].startswith("-"):
        fuzz(sys.argv[0], sys.argv[1], sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("targets", nargs="*")
    given = parser.parse_args()
    from fuzzing.targets import TARGETS

    out = given.out or Path(tempfile.mkdtemp(prefix="fuzz-campaign-"))
    sys.exit(1 if campaign(given.targets or list(TARGETS), given.minutes, out.absolute(), randomly=given.random) else 0)


if __name__ == "__main__":
    main()
