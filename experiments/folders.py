"""The folder of a command: made once for what was asked, and continued only by the same."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from envs.files import write_atomically
from experiments.describe import describe
from experiments.record import write_json


def open_folder(out: Path, kind: str, asked: Any, resume: bool) -> None:
    """Make `out` with `<kind>.json` (what was asked) and command.txt, or make sure that it holds this very thing.

    Raises ValueError where it holds something else, or, with `resume`, nothing.
    """
    data = json.loads(json.dumps(describe(asked)))
    known = out / f"{kind}.json"
    if resume:
        if not known.exists():
            raise ValueError(f"resume: {out} holds no {kind} (no {known.name})")
        differing = _differences(json.loads(known.read_text()), data)
        if differing:
            raise ValueError(f"resume: {out} was made with other settings: {'; '.join(differing)}")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out = {out} exists already and is not empty; resume it, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(known, data)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    write_atomically(out / "command.txt", lambda temporary: temporary.write_text(command + "\n"))


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [text for key in keys for text in _differences(old.get(key), new.get(key), f"{name}.{key}".strip("."))]
    return [] if old == new else [f"{name} was {old}, is {new}"]
