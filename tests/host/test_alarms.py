"""Every event of the board reads as a sentence; one that this host does not know still shows its numbers."""

from forerun.site import alarms
from forerun_wire import messages as m


def test_every_event_has_words_of_its_own():
    for code, name in m.EVENTS:
        words = alarms.sentence(code, 8, 12_000)
        assert "{" not in words and name not in words and len(words.split()) >= 4, words


def test_a_changed_setting_is_named_with_its_unit():
    assert alarms.sentence(m.SETTINGS_CHANGED, 6, 12_000) == "the board's import_limit_w is now 12000 W"
    assert alarms.sentence(m.SETTINGS_CHANGED, 999, 1) == "the board's setting 999 is now 1"


def test_an_event_of_a_newer_board_is_shown_as_it_came():
    assert alarms.sentence(200, 3, 4) == "event 200, value 3, limit 4"


TRIP = 1  # bit of the telemetry's faults, for any trip
DOOR = 2


def standing(events, faults):
    raised = alarms.Raised()
    for at_s, (code, value) in enumerate(events):
        raised.take(at_s, code, value, 0)
    return [alarm.name for alarm in raised.standing(100, faults)]


def test_each_trip_is_told_by_its_own_name_and_ends_with_it():
    for code in range(m.TRIPPED_EMERGENCY_STOP, m.TRIPPED_OVER_TEMPERATURE + 1):
        name, cause = dict(m.EVENTS)[code], code - m.TRIPPED_EMERGENCY_STOP + 1
        for faults in (TRIP, None):  # None: the board is silent
            assert standing([(code, 1)], faults) == [name]
        assert standing([(code, 1)], 0) == [], "the bit is gone, whatever became of the event"
        assert standing([(code, 1), (m.TRIP_CLEARED, cause)], 0) == []


def test_a_door_that_was_shut_but_not_reset_is_still_the_door():
    assert standing([(m.TRIPPED_DOOR, 1)], TRIP) == standing([(m.TRIPPED_DOOR, 1)], TRIP | DOOR) == ["tripped_door"]


def test_one_trip_ends_while_another_stands():
    events = [(m.TRIPPED_EMERGENCY_STOP, 1), (m.TRIPPED_OVER_VOLTAGE, 1), (m.TRIP_CLEARED, 4)]
    assert standing(events, TRIP) == ["tripped_emergency_stop"]


def test_a_trip_whose_event_never_came_is_told_all_the_same():
    assert standing([], TRIP) == ["tripped"] and standing([], TRIP | DOOR) == ["tripped_door"]
    assert standing([], 0) == standing([], None) == []


def test_a_board_of_another_host_is_told_when_that_lasts_and_of_another_version_at_once():
    refusal = alarms.Refusal()
    occupied = ("refused", m.REFUSED_OCCUPIED, "Node 7 is connected to this board: stop it first")
    assert [refusal.take(occupied, second * 1_000_000) for second in range(8)] == [False] * 5 + [True, False, False]
    assert refusal.standing == (occupied[-1], alarms.OCCUPIED)
    refusal.end()
    assert not refusal.take(occupied, 9_000_000) and refusal.standing == ()
    assert refusal.take(("mismatch", "another schema"), 9_000_000)
    assert "flash" in refusal.standing[1] and not refusal.take(("mismatch", "another schema"), 9_500_000)
