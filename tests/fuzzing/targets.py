"""Everything that is fuzzed, by name: a target takes any bytes, and whatever escapes from it is a bug."""

from __future__ import annotations

from collections.abc import Callable

from fuzzing import commands, evidence, files, plugins, suites

TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__.replace("_", "-"): target
    for target in (
        suites.suite_text,
        suites.suite_edits,
        suites.suite_values,
        files.leaderboard_bytes,
        files.leaderboard_edits,
        files.leaderboard_values,
        files.outcome_values,
        files.evidence_edits,
        files.submission_edits,
        evidence.checkpoint_values,
        evidence.record_values,
        evidence.data_files,
        plugins.plugin_offers,
        plugins.plugin_metadata,
        commands.command_options,
    )
}
SEEDS: dict[str, tuple[bytes, ...]] = {  # what a target that takes bytes as they are begins with
    "suite-text": (suites.SMALL.encode(), (suites.SUITES / "smoke.toml").read_bytes()),
    "leaderboard-bytes": (files.leaderboard(),),
}
