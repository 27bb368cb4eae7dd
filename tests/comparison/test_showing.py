"""Comparisons and rankings as values: text, HTML, and one call to pandas or polars."""

from __future__ import annotations

import pyarrow as pa
from contender_samples import contender, share

from benchbench.comparison.pairing import compare
from benchbench.comparison.ranking import rank_all
from benchbench.comparison.showing import comparison, rankings

FIRST = contender("a", ("pgd", share(90)), ("mt", share(80)))
SECOND = contender("b", ("pgd", share(40)), ("mt", share(60)), flags=("zero-gradients",))


def test_a_comparison_is_one_arrow_stream() -> None:
    found = comparison(compare({"a": [FIRST], "b <i>": [SECOND]}), {}, {"b <i>": ["zero-gradients"]})
    read = pa.table(found)
    assert read.equals(found.to_arrow())
    lines = {line["measure"]: line for line in read.to_pylist()}
    robust = lines["adv_test_accuracy"]
    assert (robust["A"], robust["B"], robust["first"], robust["second"]) == ("a", "b <i>", 0.8, 0.4)
    assert robust["significant"] is True
    assert robust["low"] < robust["difference"] < robust["high"]
    assert "80.00%" in repr(found)
    assert "flagged: b <i>: zero-gradients" in repr(found)
    assert "b &lt;i&gt;" in found._repr_html_()
    assert "<i>" not in found._repr_html_()


def test_a_comparison_of_many_models_shows_its_beginning() -> None:
    models = {f"m{number}": [contender(f"m{number}", ("pgd", share(90 - number)))] for number in range(6)}
    found = comparison(compare(models), {}, {})
    assert len(found.records) == 15 * 3
    assert repr(found).splitlines()[-1] == "and 25 more"
    assert found._repr_html_().count("<tr>") == 46


def test_rankings_have_a_record_for_each_place() -> None:
    found = rankings(rank_all([FIRST, SECOND]), {})
    read = pa.table(found).to_pylist()
    assert [(line["rank"], line["robust_accuracy"], line["attacks"]) for line in read] == [
        (1, 0.8, {"pgd": 0.9, "mt": 0.8}),
        (2, 0.4, {"pgd": 0.4, "mt": 0.6}),
    ]
    assert read[0]["interval"]["low"] < 0.8 < read[0]["interval"]["high"]
    assert (read[1]["flags"], read[1]["dataset"]) == (["zero-gradients"], "mnist")
    assert found.sheets[0].title in repr(found)
    assert "80.00%" in repr(found)
    assert found._repr_html_().count("<tr>") == 3
    assert rankings([], {}).sheets == ()
