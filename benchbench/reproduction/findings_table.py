"""Judged findings as a table, and as a page of the reproduction report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchbench.leaderboard.formats import escape_markdown, render
from benchbench.leaderboard.identity import grouped
from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.tables import MEASURES
from benchbench.reproduction.findings import PUBLISHED, JudgedFinding
from benchbench.reproduction.judging import EXACT, VERDICTS

_PERCENT = {column.key for column in MEASURES["classification"] if column.unit == "%"}
_LABELS = ("finding", "measure", "verdict", "test", "n", "effect", "95% interval", "p (Holm)", "holds in")
_NOTES = (
    "n: seeds, and the settings or pairs of configurations. With one seed the test is over these: it says nothing about other "
    "runs of the same methods.",
    "Effect: a mean difference (of accuracies and their gaps in points), a factor (x), or Spearman's correlation; of several "
    "steps the least certain one. The interval is Student's, over what the test is over.",
    "p: two-sided, adjusted by Holm's method for all findings under this profile. Holds in: single differences or correlations "
    "that are as stated. Failed and flagged rows are left out; if the flag is about the attack, of measures under attack only.",
)


def findings_table(found: Sequence[JudgedFinding]) -> Table:
    """A line for each finding and measure, in a group for each profile."""
    columns = [
        Column(key=label, label=label, align="left" if place < 5 else "right") for place, label in enumerate(_LABELS)
    ]
    groups = [
        Group(label=_profile(profile), attributes=(("profile", profile),), lines=tuple(map(_line, members)))
        for profile, members in grouped(found, lambda one: one.profile).items()
    ]
    given = {one.verdict for one in found}
    meanings = [f"{verdict}: {meaning}." for verdict, meaning in VERDICTS.items() if verdict in given]
    return Table(title="Findings", columns=tuple(columns), groups=tuple(groups), notes=(*meanings, *_NOTES))


def findings_page(found: Sequence[JudgedFinding], suite: str) -> str:
    """A page in Markdown: statements with their places and verdicts, then the numbers."""
    by_profile = grouped(found, lambda one: one.profile)
    lines = [("statement, its place, and its name", *map(_profile, by_profile)), ("---",) * (1 + len(by_profile))]
    for finding, members in grouped(found, lambda one: one.finding.name).items():
        stated = members[0].finding
        verdicts = [_verdicts([one for one in members if one.profile == profile]) for profile in by_profile]
        lines.append(
            ("<br>".join([*map(escape_markdown, (stated.statement, stated.place)), f"`{finding}`"]), *verdicts)
        )
    run = [one for one in found if one.verdict != "not run"]
    parts = [
        "# The findings of the paper",
        "What both versions of the paper, the slides and the blog post state, judged from the leaderboard's rows and from the "
        f"published numbers. Written from the leaderboard; do not edit. The numbers alone: `benchbench findings {suite}`. "
        "A verdict is empty where a finding does not depend on the profile.",
        "## Statements and verdicts",
        "\n".join(f"| {' | '.join(line)} |" for line in lines),
        render(findings_table(run), "markdown").replace("## Findings", "## The numbers", 1),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _verdicts(members: Sequence[JudgedFinding]) -> str:
    """The verdict; where the measures that were run differ, each with its measures."""
    by_verdict = grouped([one for one in members if one.verdict != "not run"] or members, lambda one: one.verdict)
    if len(by_verdict) < 2:
        return "".join(by_verdict)
    return "; ".join(f"{verdict} ({', '.join(one.measure for one in ones)})" for verdict, ones in by_verdict.items())


def _profile(profile: str) -> str:
    return "published numbers" if profile == PUBLISHED else f"{profile} profile"


def _line(one: JudgedFinding) -> Line:
    judged = one.judged
    low, high = _shown(one, judged.low), _shown(one, judged.high)
    noun = "pairs" if one.finding.paired or one.finding.minus else "points" if one.finding.dataset else "settings"
    texts = (
        one.finding.name,
        one.measure,
        one.verdict,
        judged.test,
        f"seeds: {judged.seeds}, {noun}: {judged.settings}" if judged.seeds else "",
        _shown(one, judged.effect),
        f"[{low}, {high}]" if low else "",
        "" if one.adjusted is None else f"{one.adjusted:.2g}",
        f"{judged.holding} of {judged.compared}" if judged.compared else "",
    )
    entries = tuple(Entry(value=text, text=text or "-") for text in texts)
    return Line(entries=entries, cell_id="", source="measured", status="ok")


def _shown(one: JudgedFinding, effect: float | None) -> str:
    """An effect or an end of its interval, with its unit; empty if there is none."""
    if effect is None:
        return ""
    if one.finding.ratio:
        return f"x {math.exp(min(effect, 700.0)):.3g}"
    if one.finding.against:
        return f"{max(-1.0, min(1.0, effect)):.2f}"
    return f"{100 * effect:.1f}" if one.measure in _PERCENT and one.judged.test != EXACT else f"{effect:.3g}"
