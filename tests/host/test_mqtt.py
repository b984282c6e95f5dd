"""The site over MQTT: a real mosquitto keeps discovery and availability, and sees the site come, go and come back."""

import json
import os
import socket
import subprocess
import time

import pytest
from paho.mqtt import client as paho

from debian import program
from forerun import config
from forerun.errors import Trouble
from forerun.integrations import mqtt
from forerun.site.alarms import remedy_of
from site_snapshot import METER_ALARM, example

PATIENCE_S = 30


def site(tmp_path, port=1883, **more):
    lines = {"host": "127.0.0.1", "port": port, "period_s": 1, **more}
    table = "\n[mqtt]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    path = tmp_path / "site.toml"
    path.write_text(config.EXAMPLE.read_text().replace('name = "', 'name = "Node 7, ', 1) + table)
    return config.load(path)


def until(what):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


class Broker:
    """A real mosquitto on one port, which may be stopped and started again; it keeps nothing on disk."""

    def __init__(self, folder, extra=""):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        allowed = "" if "password_file" in extra else "allow_anonymous true\n"
        own = "user root\n" if os.geteuid() == 0 else ""  # it would become one that may not read this folder
        self.config.write_text(f"{own}listener {self.port} 127.0.0.1\n{allowed}{extra}")
        self.process = None

    def start(self):
        words = [program("mosquitto"), "-c", str(self.config)]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers)

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            assert self.process.poll() is None, "mosquitto ended"
            return False
        return True

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait(PATIENCE_S)
            self.process = None


@pytest.fixture
def broker(tmp_path):
    made = Broker(tmp_path)
    made.start()
    yield made
    made.stop()


class Listener:
    """What any other client gets from the broker: the last message and its retain flag by topic."""

    def __init__(self, port):
        self.got, self.retained = {}, set()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("#", 1)
        self.client.loop_start()

    def _take(self, client, userdata, message):
        self.got[message.topic] = message.payload.decode()
        if message.retain:
            self.retained.add(message.topic)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.client.disconnect()
        self.client.loop_stop()


def test_home_assistant_finds_every_value_in_the_state(tmp_path):
    made = site(tmp_path)
    state = mqtt.state_of(example(snapshot={"alarms": (METER_ALARM,)}))
    found = mqtt.discovery(made)
    for topic, content in found.items():
        key = content["value_template"].removeprefix("{{ value_json.").removesuffix(" }}")
        assert key in state and topic.split("/")[0] == "homeassistant" and topic.endswith("/config")
        assert content["expire_after"] >= 30 and content["availability_topic"].endswith("/availability")
        assert "command_topic" not in content, "nothing can be controlled this way"
    assert len({content["unique_id"] for content in found.values()}) == len(found) >= 15
    assert state["problem"] == "ON" and state["alarms"] == "meter_stale" and state["next_job"] == "train-7: ready"
    assert state["pcc_voltage_v"] == 228.4 and state["soc_percent"] == 61.3


# What Home Assistant's documentation of its sensors allows: units and state classes by device class.
DEVICE_CLASSES = {
    "power": ({"W", "kW", "MW"}, {"measurement"}),
    "voltage": ({"V", "mV"}, {"measurement"}),
    "frequency": ({"Hz", "kHz", "MHz", "GHz"}, {"measurement"}),
    "battery": ({"%"}, {"measurement"}),
    "energy": ({"Wh", "kWh", "MWh"}, {"total", "total_increasing"}),
    "weight": ({"kg", "g", "mg", "µg", "oz", "lb", "st"}, {"measurement"}),
}
BINARY_DEVICE_CLASSES = {"problem", "connectivity"}
# Of its MQTT integration: the keys of either kind that we may use; any other is refused with the whole configuration.
KEYS = {"name", "unique_id", "state_topic", "availability_topic", "expire_after", "device", "origin", "device_class",
        "value_template"}  # fmt: skip
SENSOR_KEYS = KEYS | {"unit_of_measurement", "state_class"}


def test_the_discovery_is_what_home_assistant_documents(tmp_path):
    for topic, content in mqtt.discovery(site(tmp_path)).items():
        prefix, kind, node, key, last = topic.split("/")
        assert (prefix, last) == ("homeassistant", "config")
        assert node.replace("_", "").isalnum() and key.replace("_", "").isalnum(), "levels of a discovery topic"
        assert content.keys() <= (SENSOR_KEYS if kind == "sensor" else KEYS), topic
        assert content["name"] and content["device"]["identifiers"] and content["origin"]["name"]
        device_class = content.get("device_class")
        if kind == "binary_sensor":
            assert device_class in BINARY_DEVICE_CLASSES
        elif device_class is None:
            assert not {"unit_of_measurement", "state_class"} & content.keys(), f"{key} is a text"
        else:
            units, state_classes = DEVICE_CLASSES[device_class]
            assert content["unit_of_measurement"] in units and content.get("state_class", min(state_classes)) in (
                state_classes), topic  # fmt: skip


def test_its_energy_dashboard_has_a_counter_for_each_flow(tmp_path):
    state = mqtt.state_of(example())
    flows = {"import": 1234.567, "export": 8.91, "charge": 400, "discharge": 380, "pv": 222, "genset": 1.5}
    assert {name: state[f"total_{name}_kwh"] for name in flows} == flows
    assert mqtt.state_of(example(snapshot={"totals": None}))["total_pv_kwh"] is None


def test_nothing_old_is_published_as_now():
    state = mqtt.state_of(example(fresh=False, age_ms=60_000))
    assert state["state"] == state["bound_by"] == "unknown", "null would be shown as the text None"
    assert state["pcc_import_w"] is None and state["soc_percent"] is None and state["board"] == "ON"
    assert mqtt.state_of(example(pcc_import_w=0))["pcc_import_w"] == 0


def test_a_real_broker_keeps_discovery_sees_the_site_leave_and_come_back(tmp_path, broker):
    made, complaints, seen = site(tmp_path, broker.port), [], [example()]
    base = "forerun/" + mqtt.slug(made.site.name)
    topics = set(mqtt.discovery(made))

    def complain(name, sentence):
        complaints.append(sentence)

    with mqtt.Publisher(made, lambda: seen[0], complain) as publisher:
        with Listener(broker.port) as listener:
            until(lambda: topics <= set(listener.got) and f"{base}/state" in listener.got)
            assert listener.got[f"{base}/availability"] == "online"
            assert json.loads(listener.got[f"{base}/state"])["pcc_import_w"] == 6500
            seen[0] = example(pcc_import_w=-400)
            until(lambda: json.loads(listener.got[f"{base}/state"])["pcc_import_w"] == -400)
        with Listener(broker.port) as later:
            until(lambda: topics | {f"{base}/availability"} <= later.retained)
            assert f"{base}/state" not in later.retained, "a value is never kept"
            publisher._client._sock_close()  # as when a cable is cut: no farewell is sent
            until(lambda: later.got[f"{base}/availability"] == "offline")
            until(lambda: later.got[f"{base}/availability"] == "online")
        broker.stop()
        until(lambda: complaints and complaints[-1])
        assert "127.0.0.1" in complaints[-1] and "still trying" in complaints[-1]
        broker.start()
        until(lambda: complaints[-1] == "")
        with Listener(broker.port) as again:
            until(lambda: topics <= set(again.got) and again.got.get(f"{base}/availability") == "online")
            last = again
            publisher.__exit__(None, None, None)
            until(lambda: last.got[f"{base}/availability"] == "offline")


def test_a_broker_that_refuses_is_named_with_the_keys_to_correct(tmp_path, monkeypatch):
    monkeypatch.setattr(mqtt, "RECONNECT_S", (0.1, 0.2))
    maker = program("mosquitto_passwd", "mosquitto")
    subprocess.run([maker, "-b", "-c", tmp_path / "users", "site", "right"], check=True, capture_output=True)
    broker = Broker(tmp_path, f"password_file {tmp_path}/users\n")
    broker.start()
    (tmp_path / "secret").write_text("wrong\n")
    complaints = {}
    made = site(tmp_path, broker.port, username="site", password_file="secret")
    with mqtt.Publisher(made, example, complaints.__setitem__):
        until(lambda: complaints.get("mqtt.username"))
        assert "refused" in complaints["mqtt.username"] and "mqtt.password_file" in remedy_of("mqtt.username")
        (tmp_path / "secret").unlink()
        until(lambda: complaints.get("mqtt.password_file"))
        assert "secret cannot be read" in complaints["mqtt.password_file"]
        (tmp_path / "secret").write_text("right\n")
        until(lambda: not any(complaints.values()))
    broker.stop()


def test_files_that_cannot_be_read_are_named(tmp_path):
    for more in ({"username": "a", "password_file": "nowhere"}, {"ca_file": "nowhere.pem"}):
        with pytest.raises(Trouble, match="nowhere"):
            mqtt.Publisher(site(tmp_path, **more), example, lambda name, sentence: None)
