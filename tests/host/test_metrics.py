"""What Prometheus gets: a real one scrapes it, answers every panel of the dashboard, and raises an alert."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from debian import program
from forerun.errors import Trouble
from forerun.integrations import metrics
from site_snapshot import METER_ALARM, example

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_S = 90


def families(seen):
    return {family.name: family for family in text_string_to_metric_families(metrics.text(lambda: seen).decode())}


def values(seen):
    return {name: family.samples[0].value for name, family in families(seen).items() if family.samples}


def test_values_come_in_base_units():
    found = values(example(pcc_import_w=-250))
    assert found["forerun_pcc_import_watts"] == -250
    assert found["forerun_pcc_voltage_volts"] == pytest.approx(228.4)
    assert found["forerun_frequency_hertz"] == pytest.approx(49.98)
    assert found["forerun_state_of_charge_ratio"] == pytest.approx(0.613)
    assert found["forerun_board_cycle_seconds"] == pytest.approx(0.024)
    assert found["forerun_telemetry_age_seconds"] == pytest.approx(0.12)


def test_names_end_in_their_unit_and_have_help():
    units = ("watts", "volts", "hertz", "ratio", "seconds", "bytes", "watthours", "grams")
    counted = {"forerun_alarm", "forerun_state", "forerun_bound_by", "forerun_jobs", "forerun_link_up",
               "forerun_link_frames", "forerun_link_faults", "forerun_build_info", "forerun_journal_entries",
               "forerun_journal_missing_records", "forerun_commissioning_sealed"}  # fmt: skip
    for name, family in families(example(snapshot={"alarms": (METER_ALARM,)})).items():
        assert name.startswith("forerun_") and family.documentation
        assert name.endswith(units) or name in counted, name


def test_what_is_not_known_now_is_left_out():
    stale = families(example(fresh=False, age_ms=60_000))
    assert "forerun_pcc_import_watts" not in stale and "forerun_state" not in stale
    assert stale["forerun_telemetry_age_seconds"].samples[0].value == 60
    silent = families(example(snapshot={"live": None, "forecast": None, "carbon": None}))
    assert "forerun_telemetry_age_seconds" not in silent and "forerun_link_up" in silent


def test_one_state_holds():
    states = families(example(state="planned"))["forerun_state"].samples
    assert [sample.labels["forerun_state"] for sample in states if sample.value] == ["planned"]


def test_a_port_in_use_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Trouble, match=f"metrics.port {port}"), metrics.serve("127.0.0.1", port, example):
            pass


def test_the_shipped_rules_are_right_and_wait_as_long_as_they_say():
    promtool, folder = program("promtool", "prometheus"), EXAMPLES / "prometheus"
    for words in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml"),
                  ("test", "rules", "alerts_test.yml")):  # fmt: skip
        done = subprocess.run([promtool, *words], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """A real one on a port of its own, with the shipped configuration but scraping every half second."""

    def __init__(self, folder: Path, scraped: int):
        text = (EXAMPLES / "prometheus/prometheus.yml").read_text()
        (folder / "prometheus.yml").write_text(text.replace("5s", "500ms").replace("9464", str(scraped)))
        shutil.copy(EXAMPLES / "prometheus/alerts.yml", folder)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._log = open(folder / "log", "w")  # noqa: SIM115 (closed below)
        self._process = subprocess.Popen(
            [program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._log.close()

    def get(self, path: str, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def until(self, what):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if found := what():
                    return found
            except OSError:
                pass
            assert time.monotonic() < deadline, Path(self._log.name).read_text()
            time.sleep(0.1)


def test_a_real_prometheus_scrapes_fills_the_dashboard_and_raises_the_alert(tmp_path):
    seen = [example()]
    with metrics.serve("127.0.0.1", 0, lambda: seen[0]) as serving, Prometheus(tmp_path, serving.port) as prometheus:
        prometheus.until(lambda: prometheus.get("query", query="forerun_link_up")["result"])
        prometheus.until(lambda: len(prometheus.get("query", query="forerun_link_up[1m]")["result"][0]["values"]) > 2)
        assert prometheus.get("query", query="forerun_pcc_import_watts")["result"][0]["value"][1] == "6500"
        assert prometheus.get("alerts")["alerts"] == []
        seen[0] = example(snapshot={"alarms": (METER_ALARM,)})
        (alert,) = prometheus.until(lambda: [one for one in prometheus.get("alerts")["alerts"]
                                             if one["state"] == "firing"])  # fmt: skip
        assert alert["labels"]["alertname"] == "ForerunAlarm" and alert["labels"]["name"] == "meter_stale"
        assert "meter_stale" in alert["annotations"]["summary"]
        dashboard = json.loads((EXAMPLES / "grafana/forerun.json").read_text())
        expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        assert len(expressions) >= 16
        for expression in expressions:
            asked = expression.replace("$instance", ".*")
            assert prometheus.get("query", query=asked)["result"], f"no data for the panel's {asked}"
        rules = (EXAMPLES / "prometheus/alerts.yml").read_text()
        names = set(re.findall(r"forerun_\w+", " ".join(expressions) + rules))
        exported = {sample.name for family in families(seen[0]).values() for sample in family.samples}
        assert names - exported <= {"forerun_state"}
