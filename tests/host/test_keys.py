"""Keys of a board: set, confirmed, changed, lost half-way, damaged and removed, through the desk and a whole board."""

import json
import os
import sys
from pathlib import Path

import cbor2
import pytest

from forerun.commission.desk import Desk
from forerun.errors import Trouble
from forerun.evidence import hashtree
from forerun.link import keys
from forerun_wire import messages as m

sys.path.insert(0, str(Path(__file__).parents[1] / "both"))
from board_bench import Bench, scratch


class DeskBench(Bench):
    """A board in this process, and a desk on its line."""

    def __init__(self, store, keyring=None):
        super().__init__(host=False, store=store)
        self.desk = Desk(os.urandom(8))
        self.desk.session.keyring = keyring or {}
        self.desk.drive(lambda seconds: self.run(self.now_ms + max(1, int(1000 * seconds))), lambda: self.now_ms * 1000)
        self.records = []
        self.deaf = False  # what the board says is lost
        self.said = b""
        self.desk.connect("the bench")

    def _serve_host(self):
        hose, desk = self.hal.link, self.desk
        now_us = self._now_us
        self.said += hose.to_host
        if not self.deaf:
            desk.receive(hose.to_host, now_us)
        hose.to_host = b""
        desk.step(now_us)
        data = desk.outgoing()
        self.said += data
        hose.to_board += data


@pytest.fixture
def store():
    path = scratch()
    yield path
    for name in os.listdir(path):
        os.remove(os.path.join(path, name))
    os.rmdir(path)


@pytest.fixture
def key_file(tmp_path):
    return keys.KeyFile(tmp_path / "site.keys")


def provisioned(store, key_file):
    bench = DeskBench(store)
    assert bench.desk.hello["key_id"] == 0
    made = keys.change(bench.desk, key_file)
    assert bench.desk.hello["key_id"] == made == key_file.ring()[made].id
    return bench


def test_a_key_is_set_and_from_then_on_needed(store, key_file):
    bench = provisioned(store, key_file)
    bench.desk.ask(m.SETTINGS_SET, 6, 14_000)
    assert key_file.path.stat().st_mode & 0o777 == 0o600
    stranger = DeskBench(store)
    assert stranger.desk.ask(m.INFO) and stranger.desk.ask(m.SETTINGS_GET, 6) == [14_000]
    for op, *args in ((m.SETTINGS_SET, 6, 1), (m.SETPOINT, 0, 0, 1000), (m.KEY_SET, bytes(32)), (m.PLAN_CLEAR,)):
        with pytest.raises(Trouble, match="needs a key"):
            stranger.desk.ask(op, *args)
    again = DeskBench(store, key_file.ring())
    again.desk.ask(m.SETTINGS_SET, 6, 13_000)


def test_a_question_is_asked_again_when_its_answer_was_lost_a_command_is_not(store, monkeypatch):
    desk = DeskBench(store).desk
    command, asked = desk.session.command, []

    def lost_at_first(op, *args):
        seq = command(op, *args)
        asked.append(op)
        if asked.count(op) == 1:
            desk.session._end()  # as by a board that says hello anew
            desk.session._lose()
        return seq

    monkeypatch.setattr(desk.session, "command", lost_at_first)
    assert desk.ask(m.SETTINGS_GET, 6) and asked == [m.SETTINGS_GET] * 2
    with pytest.raises(Trouble, match="was lost"):
        desk.ask(m.SETTINGS_SET, 6, 14_000)
    assert asked == [m.SETTINGS_GET] * 2 + [m.SETTINGS_SET]


def test_records_of_a_board_with_a_key_are_authentic(store, key_file):
    bench = provisioned(store, key_file)
    bench.run(bench.now_ms + 2000)
    buffer = bytearray(600)
    count, _, end = bench.board.records.fetch(0, 0, buffer, 0, 600, 20)
    assert count >= 2
    bodies = []
    import io

    stream = io.BytesIO(bytes(buffer[:end]))
    for _ in range(count):
        bodies.append([bench.board.records.store_id, *cbor2.load(stream)])
    tagged = [body for body in bodies if isinstance(body[-1], bytes)]
    assert tagged and [body[6] for body in tagged if body[5] == m.EVENT].count(m.KEY_CHANGED) == 1
    record_key = key_file.record_key(bench.desk.hello["identity"])
    for body in tagged:
        assert hashtree.is_authentic(body, [record_key])
        assert not hashtree.is_authentic([*body[:7], body[7] + 1, *body[8:]], [record_key])


def test_a_key_is_changed_under_the_seal_of_the_old_one(store, key_file):
    bench = provisioned(store, key_file)
    old = key_file.ring()
    first = bytes.fromhex(next(iter(key_file.boards.values()))["key"])
    bench.said = b""
    keys.change(bench.desk, key_file)
    second = bytes.fromhex(next(iter(key_file.boards.values()))["key"])
    assert first != second and second not in bench.said, "it does not cross the line as it is"
    bench.desk.ask(m.SETTINGS_SET, 6, 12_000)
    late = DeskBench(store, old)
    with pytest.raises(Trouble, match="needs a key"):
        late.desk.ask(m.SETTINGS_SET, 6, 1)


def test_a_change_that_was_cut_short_leaves_one_key_in_force_on_both_sides(store, key_file):
    bench = DeskBench(store)
    ask = bench.desk.ask

    def cut(op, *args):
        if op == m.KEY_CONFIRM:
            raise Trouble("the cable was pulled")
        return ask(op, *args)

    bench.desk.ask = cut
    with pytest.raises(Trouble, match="cable"):
        keys.change(bench.desk, key_file)
    again = DeskBench(store)
    assert again.desk.hello["key_id"] == 0, "not confirmed, so not in force"
    reread = keys.KeyFile(key_file.path)
    assert "has none" in reread.settle(again.desk.hello["identity"], 0) and reread.boards == {}

    def deaf(op, *args):
        bench.deaf = op == m.KEY_CONFIRM
        return ask(op, *args)

    bench = again
    ask, bench.desk.ask = bench.desk.ask, deaf
    with pytest.raises(Trouble):
        keys.change(bench.desk, reread)
    reread = keys.KeyFile(key_file.path)
    after = DeskBench(store, reread.ring())
    assert after.desk.hello["key_id"] and "in force" in reread.settle(after.desk.hello["identity"],
                                                                      after.desk.hello["key_id"])  # fmt: skip
    after.desk.ask(m.SETTINGS_SET, 6, 11_000)


def test_a_damaged_key_file_on_the_board_lets_nobody_in_until_it_is_removed(store, key_file):
    provisioned(store, key_file)
    for name in ("keys.0", "keys.1"):
        if os.path.exists(f"{store}/{name}"):
            with open(f"{store}/{name}", "r+b") as file:
                file.write(b"\xff" * 4)
    bench = DeskBench(store, key_file.ring())
    with pytest.raises(Trouble, match="needs a key"):
        bench.desk.ask(m.SETTINGS_SET, 6, 1)
    with pytest.raises(Trouble, match="recover"):
        keys.change(bench.desk, key_file)
    for name in ("keys.0", "keys.1"):  # what `forerun commission keys recover` does on the board's prompt
        if os.path.exists(f"{store}/{name}"):
            os.remove(f"{store}/{name}")
    bench = DeskBench(store)
    keys.change(bench.desk, keys.KeyFile(key_file.path))
    bench.desk.ask(m.SETTINGS_SET, 6, 10_000)


def test_an_operator_may_set_power_and_no_limits(store, key_file, tmp_path):
    provisioned(store, key_file)
    key_file.export("operate", tmp_path / "other.keys")
    told = json.loads((tmp_path / "other.keys").read_text())
    whole = next(iter(key_file.boards.values()))["key"]
    assert whole not in json.dumps(told) and (tmp_path / "other.keys").stat().st_mode & 0o777 == 0o600
    bench = DeskBench(store, keys.keyring(tmp_path / "other.toml"))
    bench.desk.ask(m.SETPOINT, 0, 0, 1000)
    with pytest.raises(Trouble, match="role 2"):
        bench.desk.ask(m.SETTINGS_SET, 6, 1)
    assert keys.status(keys.KeyFile(tmp_path / "other.keys"), bench.desk.hello)["roles"] == ["operate"]


def test_a_key_file_that_others_can_read_or_that_is_none_is_refused(key_file):
    key_file.boards["b"] = {"key": "00" * 32}
    key_file.save()
    key_file.path.chmod(0o640)
    with pytest.raises(Trouble, match="chmod 600"):
        keys.KeyFile(key_file.path)
    key_file.path.chmod(0o600)
    key_file.path.write_text('{"version": 1, "boards": {"b": {"key": "zz"}}}')
    with pytest.raises(Trouble, match="backup"):
        keys.KeyFile(key_file.path)
    assert keys.keyring(key_file.path.with_name("none.toml")) == {}
