"""A site on a terminal: everything that matters is on the screen at 80 columns, and old values do not look like new."""

import json
import subprocess
import sys

from rich.console import Console

from forerun import config
from forerun.site import terminal
from forerun.site.status import StatusSocket
from site_snapshot import METER_ALARM, example


def shown(seen, columns=80, rows=None):
    console = Console(width=columns, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 (ends with the test)
    console.print(terminal.view(seen.document(), rows))
    return console.export_text().replace("\N{NO-BREAK SPACE}", " ")


def test_a_site_at_a_glance():
    text = shown(example(snapshot={"alarms": (METER_ALARM,)}))
    for part in ("Node 7", "follows the plan, bound by import limit", "+6.50 kW", "61.3 %", "228.4 V", "train-7",
                 "ready, 12 min ahead", "meter stale", "check its power", "kgCO2e", "Redfish, 3 s ago",
                 "node7-board", "4000 entries", "sealed"):  # fmt: skip
        assert part in text, part
    assert max(map(len, text.splitlines())) <= 80


def test_a_narrow_terminal_keeps_each_chart_on_its_line():
    wide, narrow = ([line for line in shown(example(), columns).splitlines() if "plan" in line or "UTC" in line]
                    for columns in (80, 60))  # fmt: skip
    assert max(map(len, narrow)) <= 60 and len(narrow) >= len(wide)
    chart = next(line for line in wide if "import plan" in line).split()[3]
    near = next(line for line in narrow if "import plan" in line).split()[3]
    assert chart.startswith(near) and 10 < len(near) < len(chart), "the near hours"


def test_silence_is_said_and_nothing_heard_is_no_failure():
    silent = shown(example(fresh=False, age_ms=60_000))
    assert "silent for 60 s" in silent and "last known power, 60 s old" in silent and "power now" not in silent
    nothing = {"live": None, "plan": None, "forecast": None, "carbon": None, "jobs": (), "totals": None}
    assert "waiting for the board" in shown(example(snapshot=nothing))


def test_a_site_whose_program_has_gone_is_as_old_as_what_was_read_last():
    old = terminal.aged(example(age_ms=400).document(), 90.0)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 (ends with the test)
    console.print(terminal.view(old))
    text = console.export_text()
    assert "silent for 90 s" in text and "last known power, 90 s old" in text and "power now" not in text
    assert terminal.aged({"live": None}, 5.0) == {"live": None}


def test_many_alarms_leave_room_for_power_and_plan_on_a_small_screen():
    alarms = {"alarms": (METER_ALARM,) * 8}
    rows = shown(example(snapshot=alarms), rows=24).splitlines()[:24]
    assert any("load " in row and "+12.30 kW" in row for row in rows) and any("import plan" in row for row in rows)
    assert any("and 5 more" in row for row in rows) and not any("check its power" in row for row in rows)
    assert "check its power" in shown(example(snapshot=alarms)), "status has the remedies, however long they are"


def test_a_sparkline_spans_its_range():
    assert terminal.spark([0, 50, 100, 900, -5], 0, 100) == " ▄██ "


def test_status_and_top_read_a_running_site(tmp_path):
    (tmp_path / "site.toml").write_text(config.EXAMPLE.read_text())
    words = [sys.executable, "-m", "forerun"]

    def call(*more):
        return subprocess.run([*words, *more], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    done = call("status")
    assert done.returncode == 1 and "forerun run" in done.stderr and done.stderr.count("\n") == 1
    with StatusSocket(tmp_path / "journal.forerun", example().document):
        assert json.loads(call("status", "--json").stdout)["live"]["pcc_import_w"] == 6500
        for command in ("status", "top"):  # top without a terminal prints once
            assert "Node 7" in call(command).stdout
