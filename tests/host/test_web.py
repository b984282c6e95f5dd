"""The HTTP side of a running site: who may do what, controls in two steps, and everything a client can do wrong."""

import http.client
import json
import os
import socket
import stat
import urllib.parse

import pytest

from forerun.compute.load import Announcement
from forerun.errors import Trouble, WrongUsage
from forerun.web.access import Person, Sessions, Tokens, WrongTokens
from forerun.web.server import WebServer
from site_web import SETPOINT, Client, Page, job, running_site, site_file, until

# ---- who may look


@pytest.mark.parametrize("path", ["snapshot", "live", "alarms", "plan", "forecast", "jobs", "carbon", "health",
                                  "controls", "reports", "session", "events"])  # fmt: skip
def test_nothing_is_told_without_a_token(site, path):
    for client in (Client(site.server.url), Client(site.server.url, Cookie="forerun-session=guess")):
        status, answer, headers = client.ask("GET", f"/api/v1/{path}")
        assert status == 401 and set(answer) == {"error"} and headers["WWW-Authenticate"] == "Bearer"


def test_a_reader_sees_and_changes_nothing(site):
    seen = site.read.ask("GET", "/api/v1/snapshot")[1]
    assert seen["site"] == "Demo node" and seen["live"] is None
    assert seen["alarms"][0]["name"] == "board_silent" and seen["alarms"][0]["remedy"]
    for path in ("alarms", "plan", "forecast", "jobs", "carbon", "live"):
        assert site.read.ask("GET", f"/api/v1/{path}")[1] == seen[path]
    for method, path, body in (("POST", "controls", {"change": SETPOINT}), ("POST", "controls/x/confirm", None),
                               ("DELETE", "controls/x", None),
                               ("POST", "reports", {"first": "2026-05-01", "last": "2026-05-01"})):  # fmt: skip
        status, answer, _ = site.read.ask(method, f"/api/v1/{path}", body)
        assert status == 403 and "role operate" in answer["error"], path


def test_an_operator_does_not_commission(site):
    change = {"action": "maintenance", "hold_s": 60}
    status, answer, _ = site.operate.ask("POST", "/api/v1/controls", {"change": change})
    assert status == 403 and "role commission" in answer["error"]
    assert site.commission.ask("POST", "/api/v1/controls", {"change": change})[0] == 202


def test_wrong_tokens_are_counted_and_right_ones_never_held_up(site):
    wrong = Client(site.server.url, "wrong")
    answers = [wrong.ask("GET", "/api/v1/live") for _ in range(12)]
    assert answers[0][0] == 401 and answers[-1][0] == 401
    assert 0 < int(answers[-1][2]["Retry-After"]) <= 60 and "wait" in answers[-1][1]["error"]
    assert wrong.ask("POST", "/api/v1/session", {"token": "wrong"})[2]["Retry-After"]
    assert site.read.ask("GET", "/api/v1/live")[0] == 200
    for header in ("Basic YTpi", "Bearer", "Bearer ", "garbage"):
        assert Client(site.server.url, Authorization=header).ask("GET", "/api/v1/live")[0] == 401


def test_tokens_are_kept_as_hashes_for_their_owner_alone(tmp_path):
    tokens = Tokens(tmp_path / "tokens")
    secret = tokens.make("anna", "operate", 1.0)
    assert stat.S_IMODE(os.stat(tokens.path).st_mode) == 0o600
    assert secret not in tokens.path.read_text() and len(secret) >= 43
    assert Tokens(tokens.path).holder(secret) == Person("anna", "operate", tokens.people()[0].sha256, 1)
    with pytest.raises(WrongUsage, match="already"):
        tokens.make("anna", "read", 1.0)
    for name, role in (("", "read"), ("a\n", "read"), ("bob", "root")):
        with pytest.raises(WrongUsage):
            tokens.make(name, role, 1.0)
    tokens.revoke("anna")
    assert tokens.holder(secret) is None
    with pytest.raises(WrongUsage, match="has no token"):
        tokens.revoke("anna")
    for content in ("", "{", '{"version": 1, "tokens": [{"name": "x"}]}', '{"version": 9, "tokens": []}'):
        tokens.path.write_text(content)
        with pytest.raises(Trouble, match="or delete it"):
            tokens.holder(secret)


def test_a_revoked_token_ends_its_sessions_and_sessions_end(tmp_path):
    now = [0.0]
    tokens = Tokens(tmp_path / "tokens")
    sessions = Sessions(tokens, lambda: now[0])
    person = tokens.holder(tokens.make("anna", "read", 0))
    cookie, _ = sessions.begin(person)
    other, _ = sessions.begin(person)
    assert sessions.of(cookie).person == person and sessions.of("guess") is None
    now[0] = 13 * 3600
    assert sessions.of(cookie) is None
    tokens.revoke("anna")
    now[0] = 0
    assert sessions.of(other) is None


def test_only_wrong_tokens_of_the_last_minute_count():
    now = [0.0]
    wrong = WrongTokens(lambda: now[0])
    assert [wrong.wait_s("a") for _ in range(10)] == [0.0] * 10
    assert wrong.wait_s("a") == 60 and wrong.wait_s("b") == 0
    now[0] = 61
    assert wrong.wait_s("a") == 0


# ---- the page's session


def test_a_session_is_a_strict_cookie_and_a_csrf_token(site):
    page = Page(site, site.tokens["operate"])
    for flag in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert flag.lower() in page.cookie.lower()
    assert page.who["role"] == "operate" and page.ask("GET", "/api/v1/session")[1] == page.who
    wish = {"change": {"action": "clear"}}
    assert page.client.ask("POST", "/api/v1/controls", wish)[0] == 403
    assert "reload the page" in page.client.ask("POST", "/api/v1/controls", wish, X_CSRF_Token="guess")[1]["error"]
    assert page.ask("POST", "/api/v1/controls", wish, Origin="http://evil.example")[0] == 403
    assert page.ask("POST", "/api/v1/controls", wish, Origin=site.server.url)[0] == 202
    assert page.ask("DELETE", "/api/v1/session")[0] == 204
    assert page.ask("GET", "/api/v1/session")[0] == 401
    assert Client(site.server.url).ask("POST", "/api/v1/session", {"token": site.tokens["read"]},
                                       Origin="http://evil.example")[0] == 403  # fmt: skip


# ---- what a client can do wrong


def test_malformed_bodies_get_a_sentence(site):
    for body, status in ((b"{", 422), (b"\xff\xfe", 422), (b"", 422), (b"null", 422), (b"[[[[", 422), (b"1e999", 422),
                         (b'{"change": {"action": "explode"}}', 422), (b'{"change": {"action": "setpoint"}}', 422),
                         (b"[" * 60_000, 400)):  # fmt: skip
        found, answer, _ = site.operate.ask("POST", "/api/v1/controls", body)
        assert found == status and set(answer) == {"error"} and "Traceback" not in answer["error"], body[:20]
    for change in ({**SETPOINT, "value_w": 2.5}, {**SETPOINT, "value_w": "2000"}, {**SETPOINT, "value_w": True},
                   {**SETPOINT, "lease_s": 0}, {**SETPOINT, "lease_s": 90_000}, {**SETPOINT, "mode": "max"},
                   {**SETPOINT, "more": 1}, {**SETPOINT, "value_w": 90_000}, {**job(), "start_utc_s": 5.0},
                   {**job(), "duration_s": 0.0},
                   {**SETPOINT, "mode": "hold_pcc", "value_w": 13_000}):  # fmt: skip
        status = site.operate.ask("POST", "/api/v1/controls", {"change": change})[0]
        cannot = change.get("value_w") in (90_000, 13_000) or change.get("start_utc_s") == 5.0
        assert status == (409 if cannot else 422), change  # 409: the form is right
    assert site.operate.ask("POST", "/api/v1/controls", {"change": {"action": "cancel", "job": "none"}})[0] == 404
    assert site.operate.ask("GET", "/api/v1/controls")[1]["waiting"] == []


def test_an_oversized_body_is_refused_however_it_comes(site):
    for size in (65_537, 8 << 20):
        assert site.operate.ask("POST", "/api/v1/controls", b"x" * size)[0] == 413
    host, port = site.server.address
    line = http.client.HTTPConnection(host, port, timeout=10)
    pieces = (b"x" * 16_384 for _ in range(8))
    line.request("POST", "/api/v1/controls", pieces, {"Authorization": f"Bearer {site.tokens['operate']}"},
                 encode_chunked=True)  # fmt: skip
    answer = line.getresponse()
    assert answer.status == 413 and "larger than" in json.load(answer)["error"]
    line.close()


def raw(site, data: bytes, *, ends: bool = True) -> bytes:
    """What the server answers to these bytes on a line of their own; with `ends`, they are all that comes."""
    with socket.create_connection(site.server.address, timeout=20) as line:
        line.sendall(data)
        if ends:
            line.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := line.recv(65_536):
            answer += piece
        return answer


def test_what_is_no_request_or_no_json_is_answered_and_the_next_one_is_served(site, monkeypatch):
    form = b'--x\r\nContent-Disposition: form-data; name="change"\r\n\r\n{}\r\n--x--\r\n'
    for kind in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain"):
        status, answer, _ = site.operate.ask("POST", "/api/v1/controls", form, Content_Type=kind)
        assert status == 422 and set(answer) == {"error"}, kind
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000):  # fmt: skip
        assert b" 400 " in raw(site, data).split(b"\r\n", 1)[0] + b" ", data[:20]
    head = (f"POST /api/v1/controls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {site.tokens['operate']}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n").encode()  # fmt: skip
    raw(site, head + b"{")  # the browser is gone in the middle of its request
    monkeypatch.setattr("forerun.web.guard.BODY_S", 0.2)
    slow = raw(site, head + b"{", ends=False)
    assert slow.startswith(b"HTTP/1.1 408 ") and b"did not come within" in slow
    assert site.operate.ask("GET", "/api/v1/controls")[1]["waiting"] == [] and site.running.service.jobs == {}


def test_whoever_opens_many_lines_and_asks_nothing_takes_them_from_nobody(site, monkeypatch):
    def open_lines(count):
        return [socket.create_connection(site.server.address, timeout=20) for _ in range(count)]

    def closed(line) -> bool:
        try:
            return line.recv(1) == b""
        except ConnectionError:
            return True

    connections = site.server._server.server_state.connections
    until(lambda: not connections)  # those of tests before: one that ends now makes room for one too many
    monkeypatch.setattr("forerun.web.guard.MOST_LINES", 4)
    lines = open_lines(4)
    until(lambda: len(connections) == 4)
    assert all(closed(line) for line in open_lines(3)), "one too many"
    for line in lines:
        line.close()
    until(lambda: not connections)
    monkeypatch.setattr("forerun.web.guard.HEAD_S", 0.05)
    assert all(closed(line) for line in open_lines(3)), "nothing was asked"
    [half] = open_lines(1)
    half.sendall(b"GET /api/v1/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert half.recv(65_536).startswith(b"HTTP/1.1 401 ")
    half.sendall(b"G")
    while half.recv(65_536):  # fails by its timeout: half a request, the second on its line, holds it no longer
        pass
    half.close()
    page = stream(site)
    next_event(page)
    until(lambda: next_event(page)[0] == "live", 5)
    assert site.read.ask("GET", "/api/v1/live")[0] == 200 and not page.closed, "one that asked goes on"
    page.line.close()


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/nothing", 404), ("GET", "/api/v1/nothing", 404), ("GET", "/api/v2/snapshot", 404),
    ("PUT", "/api/v1/snapshot", 405), ("DELETE", "/", 405), ("TRACE", "/api/v1/live", 405), ("GET", "/docs", 404),
    ("GET", "/page.css/../../app.py", 404), ("GET", "//etc/passwd", 404),
])  # fmt: skip
def test_an_unknown_route_or_method_is_said(site, method, path, status):
    found, answer, _ = site.read.ask(method, path)
    assert found == status and set(answer) == {"error"}


def test_a_refused_method_names_all_that_the_path_has(site):
    described = site.read.ask("GET", "/openapi.json")[1]["paths"]
    assert len(described) > 15
    for path, methods in described.items():
        status, answer, headers = site.read.ask("PATCH", path.replace("{", "").replace("}", ""))
        assert status == 405 and set(headers["Allow"].split(", ")) == {method.upper() for method in methods}, path
        assert headers["Allow"] in answer["error"]


@pytest.mark.parametrize("name", [
    "../secret.html", "..%2fsecret.html", "%2e%2e/secret.html", "2026-05-01/../../secret.html", "/etc/passwd",
    "..%5c..%5csecret.html", "link.html", "2026-05-01%2f..%2f..%2fsecret.html", "2026-05-01", "", "%00",
    "....//secret.html", "journal.forerun.key", "../journal.forerun.tokens",
])  # fmt: skip
def test_no_report_name_leads_elsewhere(site, name):
    status, answer, _ = site.read.ask("GET", f"/api/v1/reports/{name}")
    assert status in (404, 422) or answer == site.read.ask("GET", "/api/v1/reports")[1], name
    assert b"secret" not in str(answer).encode() or "error" in answer


def test_a_report_is_listed_and_downloaded_and_may_do_nothing_here(site):
    listed = {file["name"]: file["bytes"] for file in site.read.ask("GET", "/api/v1/reports")[1]["reports"]}
    assert listed["2026-05-01/report.html"] == 15 and "link.html" not in listed
    status, content, headers = site.read.ask("GET", "/api/v1/reports/" + urllib.parse.quote("2026-05-01/report.html"))
    assert (status, content) == (200, b"<h1>report</h1>")
    described = site.read.ask("GET", "/openapi.json")[1]["paths"]["/api/v1/reports/{name}"]["get"]["responses"]["200"]
    assert headers["Content-Type"] in described["content"]
    assert headers["Content-Disposition"] == 'attachment; filename="report.html"'
    assert "sandbox" in headers["Content-Security-Policy"]


def test_a_report_is_made_on_demand_or_says_why_not(site, monkeypatch):
    days = {"first": "2026-05-02", "last": "2026-05-03"}
    status, answer, _ = site.operate.ask("POST", "/api/v1/reports", days)
    assert status == 201
    assert {"2026-05-02_2026-05-03/report.pdf", "2026-05-02_2026-05-03/intervals.csv"} <= {
        file["name"] for file in answer["reports"]}  # fmt: skip
    for first, last in (("2026-05-02", "2026-05-01"), ("2025-01-01", "2026-05-01"), ("1999-12-31", "2000-01-01"),
                        ("9999-12-31", "9999-12-31"), ("0001-01-01", "0001-01-02")):  # fmt: skip
        status, answer, _ = site.operate.ask("POST", "/api/v1/reports", {"first": first, "last": last})
        assert status == 409 and set(answer) == {"error"}, first
    monkeypatch.setattr(site.server.parts.reports, "_making", True)
    assert "being made already" in site.operate.ask("POST", "/api/v1/reports", days)[1]["error"]
    monkeypatch.undo()
    monkeypatch.setattr(site.server.parts.reports, "_site_path", site.running.site_path.with_name("gone.toml"))
    status, answer, _ = site.operate.ask("POST", "/api/v1/reports", days)
    assert status == 503 and "not made" in answer["error"] and "gone.toml: no such file" in answer["error"]


def test_every_answer_carries_the_security_headers(site):
    for client, path in ((site.read, "/"), (site.read, "/page.js"), (site.read, "/api/v1/live"), (site.read, "/no"),
                         (Client(site.server.url), "/api/v1/live")):  # fmt: skip
        headers = client.ask("GET", path)[2]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] in ("no-store", "no-cache")
        assert "Server" not in headers


def test_the_page_holds_no_inline_code_and_asks_nobody_else(site):
    for path in ("/", "/page.css", "/page.js", "/diagram.js", "/charts.js", "/controls.js", "/reports.js"):
        status, content, _ = Client(site.server.url).ask("GET", path)
        text = content.decode()
        assert status == 200 and "style=" not in text and "onclick" not in text and "eval(" not in text
        assert "https://" not in text and "http://" not in text.replace("http://www.w3.org/2000/svg", ""), path


# ---- many pages


def stream(site) -> http.client.HTTPResponse:
    line = http.client.HTTPConnection(*site.server.address, timeout=20)
    line.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {site.tokens['read']}"})
    answer = line.getresponse()
    answer.line = line
    return answer


def next_event(answer) -> tuple[str, dict]:
    name, data = "", None
    while data is None:
        text = answer.readline().decode().rstrip("\n")
        if text.startswith("event: "):
            name = text[7:]
        elif text.startswith("data: "):
            data = json.loads(text[6:])
    return name, data


def test_pages_are_told_what_changes(site):
    pages = [stream(site) for _ in range(3)]
    for page in pages:
        name, everything = next_event(page)
        assert name == "parts" and everything["site"]["timezone"] == "UTC" and everything["alarms"]
        assert next_event(page)[0] == "live"
    site.operate.ask("POST", "/v1/jobs", {k: v for k, v in job("told").items() if k != "action"})
    for page in pages:
        until(lambda page=page: [one["job"] for one in next_event(page)[1].get("jobs", ())] == ["told"])
        page.line.close()
    site.operate.ask("DELETE", "/v1/jobs/told")


def test_one_page_too_many_is_told(site, monkeypatch):
    until(lambda: len(site.server.parts.stream) == 0)
    monkeypatch.setattr("forerun.web.routes.MOST_VIEWERS", 1)
    page = stream(site)
    next_event(page)
    status, answer, _ = site.read.ask("GET", "/api/v1/events")
    assert status == 503 and "close one" in answer["error"]
    page.line.close()


def test_a_revoked_token_ends_its_stream(site, monkeypatch):
    monkeypatch.setattr("forerun.web.stream.CHECK_S", 0.05)
    site.person("leaver", "read")
    token = site.server.parts.tokens.make("leaver2", "read", 0)
    line = http.client.HTTPConnection(*site.server.address, timeout=20)
    line.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {token}"})
    answer = line.getresponse()
    next_event(answer)
    site.server.parts.tokens.revoke("leaver2")
    answer.read()  # it ends
    line.close()


def test_a_port_in_use_is_said_at_once(site):
    with pytest.raises(Trouble, match=r"cannot be served \(Address already in use\)"):
        WebServer(site.running, "127.0.0.1", site.server.address[1])


def test_jobs_that_were_journalled_are_there_after_a_restart(tmp_path):
    path = site_file(tmp_path)
    with running_site(path) as site:
        wanted = {k: v for k, v in job("kept").items() if k != "action"}
        assert site.operate.ask("POST", "/v1/jobs", wanted)[0] == 201
        for name in ("reader", "operateer", "commissioner"):
            site.server.parts.tokens.revoke(name)
    with running_site(path) as site:
        assert [one["job"] for one in site.read.ask("GET", "/v1/jobs")[1]["jobs"]] == ["kept"]
        assert isinstance(site.running.service.jobs["kept"], Announcement)
