"""The snapshot over MQTT, announced to Home Assistant by its discovery. Nothing is subscribed to: no control this way.

Topics: <topic>/<site>/state (JSON, each period); <topic>/<site>/availability (online or offline, retained, also the
last will); one retained configuration per value under <discovery topic>/sensor/… or /binary_sensor/….
"""

import contextlib
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

from paho.mqtt import client as paho

from forerun import __version__, sections
from forerun.errors import Trouble
from forerun.sections import SiteFile
from forerun.site.alarms import CRITICAL
from forerun.site.snapshot import Snapshot

ONLINE, OFFLINE, UNKNOWN = "online", "offline", "unknown"
RECONNECT_S = (1, 30)  # first and longest pause between tries
KEEPALIVE_S = 30

# Home Assistant: key in the state -> (name, unit, device_class, state_class).
_MEASUREMENTS = {
    "pcc_import_w": ("Grid power", "W", "power", "measurement"),
    "battery_w": ("Battery power", "W", "power", "measurement"),
    "load_w": ("Load", "W", "power", "measurement"),
    "pv_w": ("PV power", "W", "power", "measurement"),
    "genset_w": ("Genset power", "W", "power", "measurement"),
    "pcc_voltage_v": ("Grid voltage", "V", "voltage", "measurement"),
    "frequency_hz": ("Grid frequency", "Hz", "frequency", "measurement"),
    "soc_percent": ("Battery state of charge", "%", "battery", "measurement"),
    "total_import_kwh": ("Grid import", "kWh", "energy", "total_increasing"),
    "total_export_kwh": ("Grid export", "kWh", "energy", "total_increasing"),
    "total_charge_kwh": ("Battery charged", "kWh", "energy", "total_increasing"),
    "total_discharge_kwh": ("Battery discharged", "kWh", "energy", "total_increasing"),
    "total_pv_kwh": ("PV energy", "kWh", "energy", "total_increasing"),
    "total_genset_kwh": ("Genset energy", "kWh", "energy", "total_increasing"),
    "today_load_kwh": ("Load today", "kWh", "energy", "total_increasing"),
    "today_import_kwh": ("Grid import today", "kWh", "energy", "total_increasing"),
    "today_emitted_kg": ("Emissions today", "kg", "weight", None),
    "state": ("State", None, None, None),
    "bound_by": ("Bound by", None, None, None),
    "next_job": ("Next job", None, None, None),
    "alarms": ("Alarms", None, None, None),
}
_PROBLEM = {"problem": ("Critical alarm", "problem"), "board": ("Board", "connectivity")}


def state_of(seen: Snapshot) -> dict:
    """What is published each period; None where nothing is known now."""
    live = seen.live if seen.live and seen.live.fresh else None
    today, job = seen.carbon, next(iter(seen.jobs), None)
    values = {
        "pcc_import_w": live and live.pcc_import_w,
        "battery_w": live and live.active_power_w,
        "load_w": live and live.load_w,
        "pv_w": live and live.pv_w,
        "genset_w": live and live.genset_w,
        "pcc_voltage_v": live and live.pcc_voltage_mv / 1000,
        "frequency_hz": live and live.frequency_millihz / 1000,
        "soc_percent": live and live.soc_permille / 10,
        # Home Assistant takes null of a number for unknown, but of a text for the text "None".
        "state": live.state if live else UNKNOWN,
        "bound_by": live.bound_by if live else UNKNOWN,
        "today_load_kwh": today and today.load_wh / 1000,
        "today_import_kwh": today and today.import_wh / 1000,
        "today_emitted_kg": today and today.emitted_g / 1000,
        "next_job": f"{job.job}: {job.readiness}" if job else "none",
        "alarms": ", ".join(alarm.name for alarm in seen.alarms)[:255] or "none",  # a state holds 255 characters
        "problem": "ON" if any(alarm.severity == CRITICAL for alarm in seen.alarms) else "OFF",
        "board": "ON" if seen.link.connected else "OFF",
    }
    for name in ("import", "export", "charge", "discharge", "pv", "genset"):  # the meters' registers
        values[f"total_{name}_kwh"] = seen.totals and getattr(seen.totals, f"{name}_wh") / 1000
    return {**values, "utc_s": seen.utc_s, "age_ms": live and live.age_ms}


def slug(name: str) -> str:
    """The site's name as a level of a topic: letters, digits and _ alone."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "site"


def discovery(site: SiteFile) -> dict[str, dict]:
    """Home Assistant's configuration by topic, one for each value (MQTT discovery, sensor and binary_sensor)."""
    node = f"forerun_{slug(site.site.name)}"
    base = f"{site.mqtt.topic}/{slug(site.site.name)}"
    common = {
        "state_topic": f"{base}/state",
        "availability_topic": f"{base}/availability",
        # Values that stop coming are unknown, not the last ones for ever.
        "expire_after": max(30, 4 * site.mqtt.period_s),
        "device": {"identifiers": [node], "name": site.site.name, "manufacturer": "Forerun",
                   "model": "site controller", "sw_version": __version__},
        "origin": {"name": "forerun", "sw_version": __version__},
    }  # fmt: skip
    found = {}
    for key, (name, unit, device_class, state_class) in _MEASUREMENTS.items():
        more = {"unit_of_measurement": unit, "device_class": device_class, "state_class": state_class}
        found[f"{site.mqtt.discovery_topic}/sensor/{node}/{key}/config"] = {
            **common, "name": name, "unique_id": f"{node}_{key}", "value_template": f"{{{{ value_json.{key} }}}}",
            **{name: value for name, value in more.items() if value},
        }  # fmt: skip
    for key, (name, device_class) in _PROBLEM.items():
        found[f"{site.mqtt.discovery_topic}/binary_sensor/{node}/{key}/config"] = {
            **common, "name": name, "unique_id": f"{node}_{key}", "device_class": device_class,
            "value_template": f"{{{{ value_json.{key} }}}}",
        }  # fmt: skip
    return found


class Publisher:
    """Publishes while the `with` block lasts, and reconnects by itself; `complain(name, sentence)` is told when the
    broker cannot be reached or refuses us, and '' when it works again. Raises Trouble for a file it cannot read."""

    def __init__(self, site: SiteFile, snapshot: Callable[[], Snapshot], complain: Callable[[str, str], None]):
        self._site, self._snapshot, self._complain = site, snapshot, complain
        self._base = f"{site.mqtt.topic}/{slug(site.site.name)}"
        self._stopped = threading.Event()
        name = f"forerun-{slug(site.site.name)}"
        self._client = client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name)
        client.will_set(f"{self._base}/availability", OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(*RECONNECT_S)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail = lambda *_: self._complain("mqtt", f"{self._broker} cannot be reached; still trying")
        client.max_queued_messages_set(100)
        mqtt = site.mqtt
        try:
            mqtt.host.encode("idna")
        except UnicodeError as problem:
            raise Trouble(f"{self._broker} cannot be reached: that is no name of a machine") from problem
        self._log_in_as()
        client.on_pre_connect = self._before_connect
        if mqtt.ca_file != sections.NONE:
            try:
                client.tls_set(mqtt.ca_file)
            except (OSError, ValueError) as problem:
                words = f"mqtt.ca_file {mqtt.ca_file} cannot be used: {problem}"
                raise Trouble(words, part="mqtt.ca_file") from problem

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def _broker(self) -> str:
        return f"the MQTT broker {self._site.mqtt.host}:{self._site.mqtt.port}"

    def __enter__(self) -> "Publisher":
        mqtt = self._site.mqtt
        self._client.connect_async(mqtt.host, mqtt.port, KEEPALIVE_S)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._publish, name="mqtt", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stopped.set()
        self._thread.join()
        if self._client.is_connected():
            said = self._client.publish(f"{self._base}/availability", OFFLINE, qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):
                said.wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self) -> None:
        while not self._stopped.is_set():
            if self._client.loop_start() is paho.MQTT_ERR_SUCCESS:  # its own thread had ended
                self._complain("mqtt", f"the connection to {self._broker} ended by a fault; begun again")
            if self._client.is_connected():
                self._client.publish(f"{self._base}/state", json.dumps(state_of(self._snapshot())))
            self._stopped.wait(self._site.mqtt.period_s)

    def _log_in_as(self) -> None:
        """Raises Trouble for a password that cannot be read."""
        mqtt = self._site.mqtt
        if mqtt.username != sections.NONE:
            secret = None if mqtt.password_file == sections.NONE else _secret(Path(mqtt.password_file))
            self._client.username_pw_set(mqtt.username, secret)

    def _before_connect(self, client, userdata) -> None:
        try:
            self._log_in_as()  # the password may have been mended since the last try
            self._complain("mqtt.password_file", "")
        except Trouble as problem:
            self._complain(problem.part, str(problem))

    def _on_connect(self, client, userdata, flags, reason, properties) -> None:
        if reason.is_failure:
            self._complain("mqtt.username", f"{self._broker} refused us: {reason}")
            return
        self._complain("mqtt.username", "")
        self._complain("mqtt", "")
        for topic, content in discovery(self._site).items():
            client.publish(topic, json.dumps(content), qos=1, retain=True)
        client.publish(f"{self._base}/availability", ONLINE, qos=1, retain=True)
        client.publish(f"{self._base}/state", json.dumps(state_of(self._snapshot())))

    def _on_disconnect(self, client, userdata, flags, reason, properties) -> None:
        if reason.is_failure:
            self._complain("mqtt", f"{self._broker} was lost ({reason}); still trying")


def _secret(path: Path) -> str:
    """The first line of the file."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise Trouble(f"mqtt.password_file {path} cannot be read: {problem}", part="mqtt.password_file") from problem
    return lines[0] if lines else ""
