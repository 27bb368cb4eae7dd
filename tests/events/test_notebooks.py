"""Progress in notebooks: shown by default in a Jupyter kernel, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

import benchbench
from benchbench.events import CellStarted, EvaluationProgress, Note, TrainingProgress, WorkerProgress, ignore
from benchbench.events.notebooks import KEPT, NotebookDisplay, default_listener


class Output:
    """What a notebook shows below a cell: one text for each display."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Output:
        """As `IPython.display.display`."""
        assert raw
        assert display_id
        self.texts.append(content["text/plain"])
        return self

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        """As `IPython.display.DisplayHandle.update`."""
        assert raw
        self.texts[-1] = content["text/plain"]


@pytest.fixture
def output() -> Output:
    return Output()


def progress(done: int, total: int = 10) -> EvaluationProgress:
    return EvaluationProgress(purpose="pgd-10 on test", done=done, total=total)


def test_lines_and_progress_share_one_output(output: Output) -> None:
    clock = [0.0]
    show = NotebookDisplay(output.display, now=lambda: clock[0])
    show(Note(message="a note"))
    show(progress(1))  # too early
    assert output.texts == ["a note"]
    clock[0] = 9.0
    show(progress(2))
    assert output.texts == ["a note\n  pgd-10 on test: 2/10"]
    show(progress(3))  # too early again
    show(progress(10))  # complete, and so shown at once
    assert output.texts == ["a note\n  pgd-10 on test: 10/10"]


def test_only_the_newest_lines_stay_and_forge_nothing(output: Output) -> None:
    show = NotebookDisplay(output.display)
    for number in range(KEPT + 5):
        show(Note(message=f"line {number}\n\x1b[2J"))
    lines = output.texts[0].splitlines()
    assert len(lines) == KEPT
    assert lines[-1] == rf"line {KEPT + 4}\n\x1b[2J"


def test_workers_are_named(output: Output) -> None:
    show = NotebookDisplay(output.display)
    begun = CellStarted(number=1, total=2, cell_id="a", label="digits mlp at", seconds_left=90.0)
    show(WorkerProgress(worker=2, event=begun))
    show._last = -1e9
    show(WorkerProgress(worker=2, event=TrainingProgress(epoch=0, epochs=2, step=1, steps=4, loss=0.5, accuracy=None)))
    assert output.texts[0].splitlines() == [
        "[1/2] digits mlp at, about 1 min 30 s left (worker 2)",
        "  epoch 1/2, step 1/4, loss 0.5000 (worker 2)",
    ]


@pytest.mark.parametrize(
    ("shell", "shown"),
    [
        (None, False),  # a script that imported IPython
        (SimpleNamespace(), False),  # IPython on a terminal
        (SimpleNamespace(kernel=object()), True),
    ],
)
def test_only_a_kernel_shows_progress(
    monkeypatch: pytest.MonkeyPatch, output: Output, shell: object, shown: bool
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=output.display))  # type: ignore[arg-type]
    listener = default_listener()
    assert isinstance(listener, NotebookDisplay) == shown
    assert (listener is ignore) != shown


def test_script_shows_nothing() -> None:
    if "IPython" not in sys.modules:
        assert default_listener() is ignore


def test_run_and_evaluate_show_progress_by_default(
    monkeypatch: pytest.MonkeyPatch, output: Output, tmp_path: Path
) -> None:
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=output.display))  # type: ignore[arg-type]
    result = benchbench.run("smoke", device="cpu", only="defense=natural", runs=tmp_path, leaderboards=tmp_path)
    assert "1 cell computed" in output.texts[0]
    model = benchbench.load_model(result.rows[0], runs=tmp_path)
    benchbench.evaluate(model, dataset="digits", n_test=20)
    assert output.texts[1] == "  pgd-10 on test: 20/20"
    benchbench.evaluate(model, dataset="digits", n_test=20, listener=ignore)
    assert len(output.texts) == 2


NOTEBOOK = """
import benchbench
benchbench.run("smoke", device="cpu", only="defense=natural")
"""


@pytest.mark.skipif(not (find_spec("nbclient") and find_spec("ipykernel")), reason="no Jupyter kernel here")
def test_a_true_kernel_shows_progress_and_the_table(tmp_path: Path) -> None:
    program = f"""
        import nbformat
        from nbclient import NotebookClient
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell({NOTEBOOK!r})])
        NotebookClient(book).execute()
        for one in book.cells[0].outputs:
            print(one["output_type"], one["data"].get("text/plain"), "text/html" in one["data"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "1 cell computed" in done.stdout
    assert "execute_result <RunResult of smoke" in done.stdout
