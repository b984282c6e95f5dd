"""Recordings of the line: written, shown, replayed into either side; no key in them."""

import os
import sys
from pathlib import Path

import pytest

from forerun.errors import Trouble
from forerun.link import keys, recorder
from forerun_wire import messages as m

sys.path.insert(0, str(Path(__file__).parents[1] / "both"))
from board_bench import scratch
from host.test_keys import DeskBench


class RecordedBench(DeskBench):
    recording = None

    def _serve_host(self):
        hose = self.hal.link
        heard = hose.to_host
        before = len(hose.to_board)
        super()._serve_host()
        if self.recording is not None:
            self.recording.note(self._now_us, recorder.BOARD, heard)
            self.recording.note(self._now_us, recorder.HOST, bytes(hose.to_board[before:]))


@pytest.fixture
def recorded(tmp_path):
    """(file of a session in which a key is set, a setting refused, a setpoint given; that key)"""
    store, path = scratch(), tmp_path / "line.rec"
    RecordedBench.recording = recorder.Recording(path, 1_790_000_000_000_000, "a port", 115200)
    try:
        bench = RecordedBench(store)
        key_file = keys.KeyFile(tmp_path / "site.keys")
        keys.change(bench.desk, key_file)
        bench.desk.ask(m.SETPOINT, 0, 1234, 1000)
        with pytest.raises(Trouble):
            bench.desk.ask(m.SETTINGS_SET, 6, 10**9)
        bench.run(bench.now_ms + 3000)
    finally:
        RecordedBench.recording.close()
        RecordedBench.recording = None
    for name in os.listdir(store):
        os.remove(f"{store}/{name}")
    os.rmdir(store)
    return path, bytes.fromhex(next(iter(key_file.boards.values()))["key"])


def test_a_recording_is_shown_frame_by_frame_and_holds_no_key(recorded):
    path, key = recorded
    told = [recorder.shown(frame) for frame in recorder.read(path)]
    kinds = {line["kind"] for line in told}
    assert kinds >= {"hello", "heartbeat", "clock", "command", "reply", "sealed", "telemetry"} and "broken" not in kinds
    inner = [line["inner"] for line in told if line["kind"] == "sealed"]
    assert {"op": "setpoint", "arguments": [0, 1234, 1000]}.items() <= next(
        one for one in inner if one.get("op") == "setpoint"
    ).items()
    assert any(one.get("code") == "out_of_range" for one in inner)
    sentences = [recorder.sentence(line) for line in told]
    assert key not in path.read_bytes() and not any(key.hex() in sentence for sentence in sentences)
    assert any("key_set" in sentence for sentence in sentences)
    assert [line["at_s"] for line in told] == sorted(line["at_s"] for line in told)


def test_it_is_replayed_into_either_side(recorded):
    path, _ = recorded
    lines = []
    host = recorder.replay(path, "host", lines.append)
    assert host["events"]["hello"] >= 2 and host["events"]["telemetry"] >= 2 and host["events"]["clock"] >= 8
    assert host["counts"]["bad_crc"] == 0 and len(lines) == sum(host["events"].values())
    board = recorder.replay(path, "board")
    assert board["events"]["host"] >= 1 and board["events"]["heartbeat"] >= 8


def test_a_torn_recording_is_shown_up_to_its_tear_and_another_file_is_refused(recorded, tmp_path):
    path, _ = recorded
    count = len(list(recorder.read(path)))
    path.write_bytes(path.read_bytes()[:-5])
    assert len(list(recorder.read(path))) == count - 1
    other = tmp_path / "other"
    other.write_bytes(b"text, not a recording")
    with pytest.raises(Trouble):
        list(recorder.read(other))
    with pytest.raises(Trouble, match="there already"):
        recorder.Recording(path, 0, "", 0)
    with pytest.raises(Trouble):
        list(recorder.read(tmp_path / "nothing"))
