"""Who may command a board: sealed frames, forged, replayed, cut and downgraded ones; keys set and confirmed."""

import binascii

from forerun_wire import auth, messages
from forerun_wire.board import TRIES_A_SECOND
from forerun_wire.framing import FrameQueue
from lane import Chance, vectors
from wire_world import Board, Host, World

KEY = bytes(range(100, 132))
OTHER = bytes(range(50, 82))
NONCES = binascii.unhexlify("0011223344556677") + binascii.unhexlify("fffefdfcfbfaf9f8")


def keyed(roles=(messages.OPERATE, messages.COMMISSION), key=KEY, **options):
    """A world in which the board has a key, and the host the keys of these roles."""
    world = World(board=Board(), host=Host(**options))
    world.board.session.keys = auth.board_keys(KEY)
    role_keys = {role: auth.derive(key, role) for role in roles}
    if roles:
        world.host.session.keyring = {auth.key_id(KEY): auth.Keys(role_keys, auth.key_id(KEY))}
    return world.connect()


def roles_of(world):
    """Spies on the roles with which commands are executed."""
    seen = []
    tell = world.board.session._tell

    def spy(event):
        if event[0] == "command":
            seen.append((event[2], event[4]))
        tell(event)

    world.board.session._tell = spy
    return seen


def frame(payload, schema):
    queue = FrameQueue(512)
    at = queue.reserve()
    queue.buffer[at + 1 : at + 1 + len(payload)] = payload
    queue.commit(at + 1 + len(payload), messages.seed_of(schema))
    return bytes(queue.outgoing(512))


def give(world, payload):
    """This payload reaches the board."""
    line = frame(payload, world.board.session.schema)
    world.board.session.receive(line, len(line), world.now_ms)
    world.board.run(world.now_ms)


def test_hmac_is_that_of_rfc_4231():
    assert binascii.hexlify(auth.hmac(auth.blocks(b"\x0b" * 20), b"Hi ", b"There")) == (
        b"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    )
    assert binascii.hexlify(auth.hmac(auth.blocks(b"Jefe"), b"what do ya want for nothing?")) == (
        b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_golden_sealed_frames_open_with_their_key():
    keys = auth.board_keys(KEY)
    found = 0
    for case in vectors():
        if case["schema"] == messages.SCHEMA_HASH and case.get("value", [0])[0] == messages.SEALED:
            _, role, counter, tag, inner = case["value"]
            sender = 0x80 if inner[1] == messages.REPLY else 0
            assert keys.good(role, sender, NONCES, counter, inner, tag), case["name"]
            assert not keys.good(role, 0x80 - sender, NONCES, counter, inner, tag)
            assert not keys.good(3 - role, sender, NONCES, counter, inner, tag)
            assert not auth.board_keys(OTHER).good(role, sender, NONCES, counter, inner, tag)
            found += 1
    assert found == 4


def test_a_board_without_a_key_obeys_everybody():
    world = World().connect()
    seen = roles_of(world)
    world.replied(world.host.session.command(messages.SETTINGS_SET, 6, 1))
    assert seen == [(messages.SETTINGS_SET, messages.COMMISSION)]


def test_commands_have_the_role_of_the_key_that_sealed_them():
    for roles, expected in (
        ((), messages.READ),
        ((messages.OPERATE,), messages.OPERATE),
        ((messages.OPERATE, messages.COMMISSION), messages.COMMISSION),
    ):
        world = keyed(roles)
        seen = roles_of(world)
        for op in (messages.INFO, messages.SETTINGS_SET):
            world.replied(world.host.session.command(op, 6, 1))
        assert seen == [(messages.INFO, min(expected, messages.OPERATE)), (messages.SETTINGS_SET, expected)], roles
        assert world.host.session.counts()["refused"] == 0


def test_records_are_freed_only_by_whom_may_operate():
    world = keyed(())
    world.board.store(range(1, 60))
    world.run(2000)
    assert world.host.disk == list(range(1, 60)), "whoever is there may read"
    assert world.board.stored == list(range(1, 60)), "but nothing goes"
    world = keyed((messages.OPERATE,))
    world.board.store(range(1, 60))
    world.acknowledged(5000)


def test_a_key_of_another_board_is_not_even_tried():
    world = World(board=Board(), host=Host())
    world.board.session.keys = auth.board_keys(KEY)
    world.host.session.keyring = {auth.key_id(OTHER): auth.board_keys(OTHER)}
    world.connect()
    assert not world.host.session.keyed
    world.replied(world.host.session.command(messages.INFO))
    assert world.board.counts()["refused"] == 0


def test_over_a_bad_line_sealed_commands_execute_once_and_in_order():
    for seed in (3, 4):
        world = World(seed, lose=8, double=6, spoil=9)
        world.board.session.keys = auth.board_keys(KEY)
        world.host.session.keyring = {auth.key_id(KEY): auth.board_keys(KEY)}
        world.connect(20000)
        seqs = [world.host.session.command(messages.SETPOINT, 0, i, 1000) for i in range(40)]
        for seq in seqs:
            world.replied(seq, 60000)
        assert [args[1] for _, args in world.board.executed] == list(range(40)), seed
        assert world.board.counts()["refused"] == 0


def forged(chance, world, recorded):
    """One attempt of somebody who has heard everything on the line, and has no key."""
    what = chance.below(7)
    inner = bytes(binascii.unhexlify("8603")) + bytes([chance.below(24)]) + binascii.unhexlify("02001927101a000f4240")
    role = chance.below(4)
    payload = bytearray(recorded[chance.below(len(recorded))])
    if what == 0:
        payload[chance.below(len(payload))] ^= 1 << chance.below(8)
    elif what == 1:
        payload = payload[: 1 + chance.below(len(payload))]
    elif what == 2:
        pass  # replayed as it was
    elif what == 3:
        return inner  # without any seal
    else:
        tag = chance.bytes(8) if what < 6 else bytes(payload[4:12])
        scratch = bytearray(100)
        fields = (role, chance.below(100), tag, inner)
        payload = scratch[: messages.encode(scratch, 0, messages.SEALED, fields)]
    return bytes(payload)


def forge(seed, count):
    """Commands with power that were executed after `count` attempts; each second somebody with the key commands too."""
    world = keyed()
    chance = Chance(seed)
    recorded = []
    put = world.host.session._put

    def record(payload):
        recorded.append(payload)
        return put(payload)

    world.host.session._put = record
    for i in range(10):
        world.replied(world.host.session.command(messages.SETPOINT, 0, i, 1000))
    # The attacker may also take part in the handshake: the same host begins anew, in a session of other nonces.
    world.host.session.restart()
    world.connect(3000)
    world.host.session._put = put
    seen = roles_of(world)
    for i in range(count):
        give(world, forged(chance, world, recorded))
        if i % 10 == 9:
            world.now_ms = (world.now_ms + 1000) & 0x3FFFFFFF
            world.board.session._heard_ms = world.now_ms
        if len(seen) > 64:
            del seen[:32]
        assert not [op for op, role in seen if role > messages.READ], (seed, i)
        world.board.session._queue.sent(1 << 20)
    return world


def test_no_forged_replayed_cut_or_downgraded_frame_is_believed():
    world = forge(21, 3000)
    assert world.board.counts()["refused"] > 1000
    assert "forged" in world.board.events or world.board.session._untold > 0


def test_a_session_heard_before_cannot_be_played_again():
    """Everything that a host ever said, its hello too, once more: the board's nonce has changed meanwhile."""
    world = World()
    world.board.session.keys = auth.board_keys(KEY)
    world.host.session.keyring = {auth.key_id(KEY): auth.board_keys(KEY)}
    said = []
    receive = world.board.session.receive

    def listen(data, count, now_ms):
        said.append(bytes(data[:count]))
        receive(data, count, now_ms)

    world.board.session.receive = listen
    world.connect()
    for i in range(5):
        world.replied(world.host.session.command(messages.SETPOINT, 0, i, 1000))
    assert len(world.board.executed) == 5
    again = list(said)
    world.host = Host(b"host-002")
    world.connect()
    seen = roles_of(world)
    for data in again:
        receive(data, len(data), world.now_ms)
        world.board.run(world.now_ms)
    assert not [op for op, role in seen if role > messages.READ]


def test_a_reply_in_the_open_is_not_taken_for_that_of_a_sealed_command():
    world = keyed()
    world.board.answers = False
    seq = world.host.session.command(messages.SETPOINT, 0, 1, 1000)
    world.run(100)
    line = frame(world.board.session._payload(messages.REPLY, (seq, 0)), world.board.session.schema)
    world.host.session.receive(line, len(line), world.now_ms)
    world.host.run(world.now_ms)
    assert seq not in world.host.replies and world.host.session.counts()["refused"] == 1
    world.board.session.reply(seq, messages.OUT_OF_RANGE, "no")
    world.replied(seq)
    assert world.host.replies[seq] == (messages.SETPOINT, messages.OUT_OF_RANGE, ["no"])


def test_guessing_is_slow_told_and_does_not_lock_out_who_has_the_key():
    world = keyed()
    world.run(1100)
    calls = []
    keys = world.board.session.keys
    good = keys.good

    def count(*args):
        calls.append(1)
        return good(*args)

    keys.good = count
    scratch = bytearray(60)
    guess = bytes(scratch[: messages.encode(scratch, 0, messages.SEALED, (1, 1, bytes(8), b"\x83\x03\x00\x01"))])
    for _ in range(500):
        give(world, guess)
    assert len(calls) == TRIES_A_SECOND
    world.run(100)
    assert world.board.events.count("forged") == 1
    seq = world.host.session.command(messages.SETPOINT, 0, 1, 1000)
    assert world.replied(seq, 3000) <= 2500


def test_a_key_is_set_and_confirmed_in_two_steps():
    nonces = NONCES
    assert auth.wrapped(auth.wrapped(OTHER, auth.board_keys(KEY).of(messages.COMMISSION), nonces),
                        auth.board_keys(KEY).of(messages.COMMISSION), nonces) == OTHER  # fmt: skip
    assert auth.proof(KEY, nonces, b"board") != auth.proof(KEY, nonces, b"host")
    assert auth.key_id(KEY) != auth.key_id(OTHER) and 0 < auth.key_id(KEY) < 1 << 24


def test_two_hosts_the_second_is_refused_politely_until_the_first_is_gone():
    world = World().connect()
    world.run(500)
    second = Host(b"host-two")
    second.session.identity = "another host"
    told = []
    for _ in range(400):
        second.session.tick(world.now_ms)
        data = bytes(second.session.outgoing(500))
        second.session.sent(len(data))
        world.board.session.receive(data, len(data), world.now_ms)
        world.step()
        told = [event for event in world.board.events if event == "host"]
    assert len(told) == 1 and world.host.session.up and "lost" not in world.host.names()
    assert "refused" not in world.host.names(), "what is meant for the other one"
    data = frame_to(second, world)
    assert data == ("refused", messages.REFUSED_OCCUPIED, "host is connected to this board: stop it first")
    world.host = second
    assert world.until(lambda: second.session.up) <= 5000


def frame_to(second, world):
    """What the second host hears when it asks."""
    second.session._request_hello(world.now_ms)
    data = bytes(second.session.outgoing(500))
    second.session.sent(len(data))
    world.board.session.receive(data, len(data), world.now_ms)
    data = bytes(world.board.session.outgoing(500))
    second.session.receive(data, len(data), world.now_ms)
    return second.session.event()
