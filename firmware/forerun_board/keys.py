"""The board's key: kept in two slots, changed in two steps. In memory only where there is one, or one is being set."""

from forerun_board.twoslot import TwoSlot
from forerun_wire import auth
from forerun_wire import messages as m

LOCKED_ID = 0xFFFFFF


def load(store):
    """The keys of this board. What is there but cannot be read locks the board: it does not let everybody in."""
    kept = TwoSlot(store + "/keys").read()
    if kept is None or len(kept) != auth.KEY_BYTES:
        return auth.Keys({}, LOCKED_ID)
    return auth.board_keys(kept)


def execute(board, op, args):
    """(code, results) of KEY_SET and KEY_CONFIRM. The new key is in force after the reply to the latter."""
    session = board.session
    if not args or not isinstance(args[0], bytes):
        return m.MALFORMED, ["key_set takes a key, key_confirm a proof"]
    if op == m.KEY_SET:
        key = args[0]
        if len(key) != auth.KEY_BYTES:
            return m.MALFORMED, ["a key has %d bytes" % auth.KEY_BYTES]
        if session.keys is not None:
            key = auth.wrapped(key, session.keys.of(m.COMMISSION), session.nonces())
        board.pending_key = key
        return m.DONE, [auth.proof(key, session.nonces(), b"board")]
    key = board.pending_key
    if key is None or not auth.equal(auth.proof(key, session.nonces(), b"host"), args[0]):
        return m.WRONG_STATE, ["the key that was set is another one: set it again"]
    slots = TwoSlot(board.hal.store + "/keys")
    slots.read()
    slots.write(key)
    board.pending_key = None
    board.new_keys = auth.board_keys(key)
    return m.DONE, []
