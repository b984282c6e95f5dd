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
