"""Coverage-guided fuzzing of one target with atheris: ``python tests/fuzzing/campaign.py TARGET [LIBFUZZER OPTION]...``

For instance ``-runs=10000 -timeout=20 -rss_limit_mb=4000 -artifact_prefix=FOLDER/ CORPUS``. An input that makes the target
raise, hang or take too much memory is kept in the artifact folder; move it to ``tests/fuzzing/found/TARGET/``, from where
``test_fuzzing.py`` replays it for ever.
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
warnings.simplefilter("error")
logging.disable(logging.CRITICAL)

with atheris.instrument_imports(include=["benchbench", "tomllib", "zipfile", "fuzzing"], enable_loader_override=False):
    from fuzzing.targets import SEEDS, TARGETS


def main() -> None:
    """Fuzz until libFuzzer has had its runs."""
    program, name, *options = sys.argv
    for option in options:
        if not option.startswith("-"):
            Path(option).mkdir(parents=True, exist_ok=True)
            for number, seed in enumerate(SEEDS.get(name, ())):
                (Path(option) / f"seed-{number}").write_bytes(seed)
    atheris.Setup([program, *options], TARGETS[name], enable_python_coverage=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
