"""Controls of a running site over HTTP: asked, confirmed by a second step, done once, and all of it in the journal."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from forerun.store.journal import JournalError, read
from forerun.web.access import Person
from forerun.web.control import CONFIRM_S, Clear, Controls, Maintenance, Refused, Setpoint
from site_web import SETPOINT, Page, job, until


def audit(site) -> list[list]:
    return [entry.body for entry in read(site.running.journal.path) if entry.kind == "control"]


def test_nothing_happens_before_the_confirmation_and_the_journal_has_every_step(site):
    before = len(audit(site))
    status, asked, _ = site.operate.ask("POST", "/api/v1/controls", {"change": job("steps")})
    assert status == 202 and asked["state"] == "asked" and "4.0 kW more load" in asked["will"][0]
    assert site.running.service.jobs == {}
    assert 29 <= asked["confirm_until_utc_s"] - asked["asked_utc_s"] <= 30
    status, done, _ = site.operate.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")
    assert status == 200 and done["state"] == "done" and list(site.running.service.jobs) == ["steps"]
    again = site.operate.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")
    assert again[:2] == (200, done), "a confirmation that is sent again does nothing again"
    steps = audit(site)[before:]
    assert [(body[0], body[2], body[3], body[4]) for body in steps] == [
        (event, "operateer", "operate", "127.0.0.1") for event in ("asked", "confirmed", "done")]  # fmt: skip
    assert all("job steps of 4.0 kW" in body[5] for body in steps)
    asked = site.operate.ask("POST", "/api/v1/controls", {"change": {"action": "cancel", "job": "steps"}})[1]
    assert site.operate.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")[0] == 200
    assert site.running.service.jobs == {}
    last = site.read.ask("GET", "/api/v1/controls")[1]["last"]
    assert last["by"] == "operateer" and last["what"] == "job steps cancelled"


def test_two_operators_at_once_are_told_of_each_other(site):
    eva, tom = site.person("eva"), site.person("tom")
    asked = eva.ask("POST", "/api/v1/controls", {"change": job("both")})[1]
    status, answer, _ = tom.ask("POST", "/api/v1/controls", {"change": {**job("both"), "power_w": 1.0}})
    assert status == 409 and "UTC" in answer["error"]
    assert "eva asked for the announcement of a job at 20" in answer["error"]
    for method, path in (("POST", f"{asked['id']}/confirm"), ("DELETE", asked["id"])):
        status, answer, _ = tom.ask(method, f"/api/v1/controls/{path}")
        assert status == 403 and "eva asked for this" in answer["error"]
    assert tom.ask("POST", "/api/v1/controls", {"change": job("another")})[0] == 202, "another subject is free"
    assert eva.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")[0] == 200
    status, answer, _ = tom.ask("POST", "/api/v1/controls", {"change": job("both"), "seen": 0})
    assert status == 409 and "eva changed this at 20" in answer["error"]
    seen = tom.ask("GET", "/api/v1/controls")[1]["last"]["number"]
    mine = tom.ask("POST", "/api/v1/controls", {"change": job("both"), "seen": seen})
    assert mine[0] == 202 and tom.ask("DELETE", f"/api/v1/controls/{mine[1]['id']}")[1]["state"] == "withdrawn"
    assert tom.ask("POST", f"/api/v1/controls/{mine[1]['id']}/confirm")[0] == 410
    eva.ask("DELETE", "/v1/jobs/both")


def at_once(*calls):
    """The answers to calls that begin at the same moment."""
    with ThreadPoolExecutor(len(calls)) as pool:
        ready = threading.Barrier(len(calls))

        def one(call):
            ready.wait()
            return call()

        return list(pool.map(one, calls))


def test_of_many_at_the_same_moment_one_is_heard_and_what_he_confirms_is_done_once(site):
    wishes = {f"op{number}": site.person(f"op{number}") for number in range(6)}
    answers = at_once(*(lambda who=who: who.ask("POST", "/api/v1/controls", {"change": job("race")})
                        for who in wishes.values()))  # fmt: skip
    assert sorted(answer[0] for answer in answers) == [202, 409, 409, 409, 409, 409]
    asked = next(answer[1] for answer in answers if answer[0] == 202)
    assert all(asked["asked_by"] in answer[1]["error"] for answer in answers if answer[0] == 409)
    path = f"/api/v1/controls/{asked['id']}/confirm"
    answers = at_once(*[lambda: wishes[asked["asked_by"]].ask("POST", path)] * 6)
    assert [answer[0] for answer in answers] == [200] * 6
    until(lambda: [body[0] for body in audit(site) if body[1] == asked["id"]] == ["asked", "confirmed", "done"])
    assert list(site.running.service.jobs) == ["race"] and site.server.parts.controls.last.by == asked["asked_by"]


def test_a_page_that_goes_away_before_confirming_changes_nothing(site):
    page = Page(site, site.tokens["operate"])
    asked = page.ask("POST", "/api/v1/controls", {"change": job("gone")})[1]
    del page
    assert site.running.service.jobs == {}
    controls = site.server.parts.controls
    clock, controls._clock = controls._clock, lambda: time.time() + CONFIRM_S + 1
    try:
        status, answer, _ = site.operate.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")
    finally:
        controls._clock = clock
    assert status == 410 and "expired" in answer["error"] and site.running.service.jobs == {}


def test_a_browser_that_goes_in_the_middle_of_a_confirmation_leaves_it_whole(site):
    asked = site.operate.ask("POST", "/api/v1/controls", {"change": job("midway")})[1]
    request = (f"POST /api/v1/controls/{asked['id']}/confirm HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
               f"Authorization: Bearer {site.tokens['operate']}\r\n\r\n")  # fmt: skip
    with socket.create_connection(site.server.address) as line:
        line.sendall(request.encode())
    until(lambda: audit(site)[-1][0] == "done")
    assert [body[0] for body in audit(site) if body[1] == asked["id"]] == ["asked", "confirmed", "done"]
    done = site.operate.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")
    assert done[0] == 200 and done[1]["state"] == "done" and list(site.running.service.jobs) == ["midway"]
    site.operate.ask("DELETE", "/v1/jobs/midway")


def test_a_control_without_a_board_fails_with_a_sentence(site):
    asked = site.operate.ask("POST", "/api/v1/controls", {"change": SETPOINT})[1]
    assert any("board is silent" in sentence for sentence in asked["will"])
    status, answer, _ = site.operate.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")
    assert status == 503 and "no board is connected" in answer["error"]
    assert audit(site)[-1][0] == "failed" and "no board" in audit(site)[-1][6]
    again = site.operate.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")
    assert again[0] == 200 and again[1]["state"] == "failed"


def test_a_disk_that_takes_nothing_stops_controls_that_cannot_be_recorded(site, monkeypatch):
    asked = site.operate.ask("POST", "/api/v1/controls", {"change": job("full")})[1]

    def full(*_):
        raise JournalError("the disk is full; free space")

    monkeypatch.setattr(site.running.journal, "commit", full)
    status, answer, _ = site.operate.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")
    assert status == 503 and "journal cannot take it" in answer["error"]
    assert site.running.service.jobs == {}
    until(lambda: "journal_blocked" in [alarm["name"] for alarm in site.read.ask("GET", "/api/v1/alarms")[1]])
    monkeypatch.undo()
    site.operate.ask("POST", "/api/v1/controls", {"change": {"action": "clear"}})
    assert [body[0] for body in audit(site) if body[1] == asked["id"]] == ["asked", "confirmed", "failed"]


def test_requests_have_a_table_and_an_end():
    now = [100.0]
    controls = Controls(lambda: now[0])
    anna, otto = (Person(name, "operate", name, 0) for name in ("anna", "otto"))
    wish = Setpoint(action="setpoint", mode="hold_battery", value_w=1, lease_s=1)
    with pytest.raises(Refused, match="commission"):
        controls.ask(anna, Maintenance(action="maintenance", hold_s=1), (), None)
    first = controls.ask(anna, wish, (), None)
    second = controls.ask(anna, wish, (), None)
    with pytest.raises(Refused, match="withdrawn"):
        controls.confirm(anna, first.id)
    now[0] += CONFIRM_S - 1
    with pytest.raises(Refused, match="anna asked"):
        controls.ask(otto, Clear(action="clear"), (), None)
    now[0] += 1
    with pytest.raises(Refused, match="expired"):
        controls.confirm(anna, second.id)
    third = controls.ask(otto, Clear(action="clear"), (), None)
    assert controls.confirm(otto, third.id)[1] == Clear(action="clear")
    assert controls.finish(third.id, "").state == "done" and controls.last.number == 1
    assert controls.confirm(otto, third.id)[1] is None
    for _ in range(500):
        controls.ask(anna, wish, (), None)
    assert len(controls._requests) == 200
