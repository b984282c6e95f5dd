"""The diagrams in the documentation are those of the tables that the board runs."""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import forerun_board.control as control
from forerun import diagrams

ROOT = Path(__file__).parents[2]


def command(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "forerun", *words], capture_output=True, text=True, check=True)
    return done.stdout


def test_documentation_is_what_the_command_prints():
    assert command("board", "diagrams") == (ROOT / "docs" / "state-machines.md").read_text()


def test_json_has_one_diagram_for_each_machine():
    found = json.loads(command("board", "diagrams", "--json"))
    assert set(found) == {"prepare", "genset", "islanding", "interlock", "trip"}
    for name, rows, _ in diagrams.MACHINES:
        lines = found[name].splitlines()
        assert lines[0] == "stateDiagram-v2" and len(lines) == len(rows) + 2
        assert f"    {rows[0][0]} --> {rows[0][3]} : {rows[0][1]}" in found[name]


def test_no_table_of_the_board_is_left_out():
    tables = [
        module.ROWS
        for name in pkgutil.iter_modules(control.__path__)
        if hasattr(module := importlib.import_module(f"forerun_board.control.{name.name}"), "ROWS")
    ]
    assert len(tables) == len(diagrams.MACHINES)
    assert all(any(rows is shown for _, shown, _ in diagrams.MACHINES) for rows in tables)
