"""A running board gets another firmware over its link: tried, confirmed, or given up, by the real interpreter."""

import functools
import shutil

import pytest

from forerun import bytecode
from forerun.errors import Trouble
from forerun.link import board_update
from forerun.plant.lockstep import BoardHung
from forerun_board.slots import CONFIRM_S
from forerun_board.twoslot import TwoSlot
from forerun_wire import auth
from forerun_wire import messages as m
from hil.commissioning import desk_on
from hil.rig import Rig

KEY = bytes(range(7, 39))
VERSION = "9.9.9"
CHANGES = {"good": {}, "crashes": {}, "does not load": {"forerun_board/board.py": "import nothing_like_this\n"}}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """image(change) -> Image: the firmware as it is, with another version and one thing broken."""
    folder = tmp_path_factory.mktemp("image")
    library = folder / "lib"
    shutil.copytree(bytecode.compiled_packages().name, library)
    texts = bytecode.shrunk(bytecode.sources())

    @functools.cache
    def make(change: str) -> board_update.Image:
        changed = {"forerun_board/__init__.py": f'__version__ = "{VERSION}"\n', **CHANGES[change]}
        if change == "crashes":
            text = texts["forerun_board/link.py"]
            head = "def send_telemetry(self, values):\n"
            assert head in text
            changed["forerun_board/link.py"] = text.replace(head, head + "        raise ValueError('x')\n")
        place = folder / change
        shutil.copytree(library, place)
        bytecode.compile_to(place, changed)
        return board_update.image_of(place, VERSION, "unix")

    return make


@pytest.fixture
def site(tmp_path):
    """(bench, desk) of a board that holds a key, driving its site."""
    (tmp_path / "flash").mkdir()
    slots = TwoSlot(str(tmp_path / "flash" / "keys"))
    slots.read()
    slots.write(KEY)
    with Rig(tmp_path, host=False) as bench:
        yield bench, connected(bench)


def connected(bench):
    desk = desk_on(bench)
    desk.session.keyring = {auth.key_id(KEY): auth.board_keys(KEY)}
    desk.session.restart()
    assert desk.until(lambda: desk.session.up and desk.session.keyed, 10)
    return desk


def reconnected(desk):
    """After a restart: the board is there again, and its key is used."""
    assert desk.until(lambda: desk.session.up, 30)
    return desk.hello["software"]


def test_a_running_board_is_updated_and_keeps_the_new_firmware(site, image):
    bench, desk = site
    bench.run(20)
    assert desk.hello["software"] == "forerun 0.1.0"
    said = []
    began_s = bench.now_s
    assert board_update.send(desk, image("good"), said.append) == f"forerun {VERSION}"
    print(f"update took {bench.now_s - began_s:.0f} s of the board's time")
    assert said[-2].split()[1] == said[-2].split()[3]
    bench.run(CONFIRM_S + 5)
    assert reconnected(desk) == f"forerun {VERSION}" and desk.ask(m.UPDATE_STATUS)[0] == 0
    bench.bench.power_off()
    bench.run(1)
    bench.bench.power_on()
    desk.hello = {}
    assert desk.until(lambda: desk.hello, 10) and desk.hello["software"] == f"forerun {VERSION}"


@pytest.mark.parametrize("change", ["does not load", "crashes"])
def test_a_firmware_that_cannot_run_gives_way_to_the_one_before(site, image, change):
    bench, desk = site
    bench.run(20)
    try:
        board_update.send(desk, image(change), lambda sentence: None)
        pytest.fail("it was taken for good")
    except Trouble as problem:
        assert change == "does not load" and "went back to forerun 0.1.0" in str(problem)
    except BoardHung as problem:
        assert change == "crashes" and "status 1" in str(problem)
        bench.bench.power_off()  # on a board the watchdog does this
        bench.bench.power_on()
        assert "ValueError: x" in (bench.folder / "board.log").read_text()
    if change == "does not load":
        assert "nothing_like_this" in (bench.folder / "board.log").read_text()
    (bench.folder / "board.log").write_text("")
    assert desk.until(lambda: desk.session.up and desk.hello["software"] == "forerun 0.1.0", 60)
    bench.run(CONFIRM_S + 5)
    assert desk.hello["software"] == "forerun 0.1.0"
    board_update.send(desk, image("good"), lambda sentence: None)


def test_a_firmware_that_nobody_confirms_gives_way_to_the_one_before(site, image):
    bench, desk = site
    bench.run(20)

    class Forgetful:
        """Sends everything, and then is not heard of again."""

        def __getattr__(self, name):
            return getattr(desk, name)

        def ask(self, op, *args):
            if op == m.UPDATE_STATUS:
                raise Trouble("gone")
            return desk.ask(op, *args)

    with pytest.raises(Trouble, match="gone"):
        board_update.send(Forgetful(), image("good"), lambda sentence: None)
    assert reconnected(desk) == f"forerun {VERSION}"
    bench.run(CONFIRM_S - 10)
    assert desk.hello["software"] == f"forerun {VERSION}", "its time is not over"
    bench.run(20)
    assert reconnected(desk) == "forerun 0.1.0"


def test_interrupted_anywhere_the_old_firmware_runs_and_the_update_goes_on(site, image):
    bench, desk = site
    bench.run(20)
    new = image("good")

    class Cut:
        """A desk whose board loses power at a chunk."""

        def __init__(self, chunk):
            self.left = chunk

        def __getattr__(self, name):
            return getattr(desk, name)

        def ask(self, op, *args):
            self.left -= op == m.UPDATE_CHUNK
            if self.left < 0:
                raise Trouble("cut")
            return desk.ask(op, *args)

    said = []
    for chunk in (0, 1, 60):
        with pytest.raises(Trouble, match="cut"):
            board_update.send(Cut(chunk), new, said.append)
        bench.bench.power_off()
        bench.run(0.5)
        bench.bench.power_on()
        desk.hello = {}
        assert desk.until(lambda: desk.session.up and desk.hello, 30) and desk.hello["software"] == "forerun 0.1.0"
        bench.run(5)
    assert board_update.send(desk, new, said.append) == f"forerun {VERSION}"
    assert any("there already" in sentence for sentence in said)


def test_refused_outside_maintenance_and_with_a_wrong_signature(site, image):
    bench, desk = site
    bench.run(20)
    new = image("good")
    size, digest = len(new.data), new.digest
    begin = (m.UPDATE_BEGIN, size, digest, VERSION, len(new.manifest))
    signature = auth.hmac(desk.session.keys.of(m.COMMISSION), b"update", digest, VERSION.encode())
    with pytest.raises(Trouble, match="needs the maintenance state"):
        desk.ask(*begin, signature)
    desk.ask(m.MAINTENANCE, 600)
    for wrong in (bytes(32), bytes([signature[0] ^ 1]) + signature[1:]):
        with pytest.raises(Trouble, match="not signed with the commission key"):
            desk.ask(*begin, wrong)
    with pytest.raises(Trouble, match="not signed"):
        desk.ask(m.UPDATE_BEGIN, size, digest, "9.9.8", len(new.manifest), signature)
    with pytest.raises(Trouble, match="no update has been begun"):
        desk.ask(m.UPDATE_COMMIT)
    assert desk.ask(*begin, signature)[0] == 0
    with pytest.raises(Trouble, match="another sum"):
        desk.ask(m.UPDATE_CHUNK, 0, new.data[:100], bytes(8))
    with pytest.raises(Trouble, match="0 of"):
        desk.ask(m.UPDATE_COMMIT)
    desk.ask(m.SETPOINT, m.HOLD_BATTERY, 1000, 60_000)
    with pytest.raises(Trouble, match="needs the maintenance state"):
        desk.ask(m.UPDATE_COMMIT)
    stranger = bench.bench.host
    stranger.session.keyring = {}
    stranger.session.restart()
    assert desk.until(lambda: desk.session.up, 10)
    with pytest.raises(Trouble, match="needs a key"):
        desk.ask(m.MAINTENANCE, 600)


def test_a_release_is_read_only_as_it_was_signed(image):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    trusted = key.public_key().public_bytes_raw()
    new = board_update.Image("1.2.3", "pico", {"forerun_board/a.mpy": b"a" * 40, "forerun_wire/b.mpy": b"b" * 50})
    release = board_update.write_release(new, key)
    assert board_update.read_release(release, trusted) == new
    with pytest.raises(Trouble, match="not the trusted one"):
        board_update.read_release(release, bytes(32))
    for at in range(0, len(release), 7):
        with pytest.raises(Trouble):
            board_update.read_release(release[:at] + bytes([release[at] ^ 4]) + release[at + 1 :], trusted)


def test_a_cable_pulled_in_the_middle_of_an_update_leaves_the_site_as_it_was_and_the_rest_is_sent_later(site, image):
    """The board is in its maintenance state meanwhile: the battery at rest, the import as it was."""
    bench, desk = site
    bench.run(20)
    new, carried, pulled = image("good"), [0], []

    def pull(direction, data, now_us):
        carried[0] += len(data) if direction == "down" else 0
        if carried[0] > len(new.data) // 2 and not pulled:
            pulled.append(now_us)
        return b"" if pulled and now_us < pulled[0] + 25_000_000 else data

    bench.bench.link_filter = pull
    with pytest.raises(Trouble):
        board_update.send(desk, new, lambda sentence: None)
    bench.run(26)
    assert desk.until(lambda: desk.session.up, 10) and desk.hello["software"] == "forerun 0.1.0"
    assert abs(bench.site.inverter.power_w) < 50 and abs(bench.site.pcc_import_w - 6_000) < 50
    said = []
    assert board_update.send(desk, new, said.append) == f"forerun {VERSION}"
    assert any("there already" in sentence for sentence in said)
    bench.held.assert_held(ramp=True, over_s=0.5)
