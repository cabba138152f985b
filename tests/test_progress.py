"""Progress as people see it, and where a record says that it comes from."""

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from experiments import progress, provenance


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    printed, shown = capsys.readouterr()
    assert not printed, "standard output is for results"
    return shown.splitlines()


def test_plain_lines_tell_how_far_it_is_and_how_long_it_will_take(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.show_progress("cbo") as show:
        assert lines(capsys) == ["cbo: started"]
        for seconds, done in ((1, 0.1), (6, 0.2), (7, 0.25), (16, 0.4), (50, 1.0), (51, 1.0)):
            clock[0] = 100.0 + seconds
            show(done, f"{done * 1000:.0f} env steps")
    assert lines(capsys) == [
        "cbo:  20% after 6 s, 200 env steps",  # the first to be shown: no speed is known yet
        "cbo:  40% after 16 s, about 30 s left, 400 env steps",  # 20 % took 10 s
        "cbo: 100% after 50 s, 1000 env steps",
    ]


def test_the_estimate_of_a_resumed_run_counts_only_what_this_process_did(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.show_progress("cbo") as show:
        for seconds, done in ((6, 0.8), (16, 0.9)):
            clock[0] = 100.0 + seconds
            show(done, "")
    assert lines(capsys)[-1].startswith("cbo:  90% after 16 s, about 10 s left")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=120, legacy_windows=False)
    )
    with progress.show_progress("n-pg-igt") as show:
        show(0.25, "50 env steps")
        show(1.0, "200 env steps")
    shown = screen.getvalue()
    assert all(part in shown for part in ("n-pg-igt", "100 %", "200 env steps", "left"))


def test_provenance_names_the_versions_and_the_commit() -> None:
    data = provenance.provenance()
    assert data["versions"]["torch"] == torch.__version__
    assert data["versions"].keys() >= {"zopg", "numpy", "numba", "gymnasium", "cma"}
    assert data["threads"] == torch.get_num_threads()
    folder = Path(provenance.__file__).parent
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    expected = head.stdout.strip() if head.returncode == 0 else None
    assert (data["commit"] or "").rstrip("+") == (expected or "")


def test_a_changed_checkout_is_marked_and_no_checkout_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.py"
    source.write_text("old\n")
    monkeypatch.setattr(provenance, "__file__", str(source))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() is None

    def git(*arguments: str) -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *settings, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init")
    git("add", "source.py")
    git("commit", "--no-verify", "-m", "old")
    head = git("rev-parse", "HEAD")
    assert provenance.commit() == head
    (tmp_path / "not tracked").write_text("")
    assert provenance.commit() == head
    source.write_text("new\n")
    assert provenance.commit() == head + "+"
