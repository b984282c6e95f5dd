"""The host of one site, without ports and without clocks: bytes and time in, bytes out, everything through the journal.

reading → journal → forecast → dispatch → plan to the board. The serial edge (`forerun.link.port`), the command line and
the lockstep bench all drive this same class.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from forerun import __version__
from forerun.carbon.intake import DOUBTED, RECORD_KEY
from forerun.compute.load import Announcement
from forerun.config import board_settings
from forerun.dispatch.situation import DispatchInputError
from forerun.errors import Trouble
from forerun.forecast.model import ForecastError
from forerun.sections import SiteFile
from forerun.site import alarms
from forerun.site.history import History
from forerun.site.jobs import Jobs
from forerun.site.lookback import LookBack
from forerun.site.planner import Planner
from forerun.site.record_times import RecordTimes
from forerun.site.settings import SettingsExchange
from forerun.site.witness import Witness
from forerun.store.journal import RECORD, Journal, JournalError, read
from forerun_wire import messages
from forerun_wire.host import HostSession

POINTS_PER_FRAME = 24  # 24 points of at most 13 bytes stay below the smallest frame a board may advertise
MOST_WAITING = 16  # commands without a reply; a board that is behind gets no further plan, and then the latest one
APART_US = 2_000_000  # between two plans and two preparations: the board records each, and has room for other records
COMMIT_AGAIN_US = 5_000_000
TIME_S = 900  # how often the board is told the time of day; zones change their clocks on quarter hours
CELL_AT = messages.INFO_FIELDS.index("cell_decic")
CLOCK = "clock"
LOAD_UNKNOWN = sum(1 << messages.FAULTS.index(name) for name in ("pcc_meter", "inverter"))
CLOCK_PATIENCE_US = 3_000_000  # records wait so long for the first comparison of the clocks
JOB = "job"
CONTROL = "control"
PLAN = "plan"
PLAN_REFUSED = "plan_refused"  # [why]
PLAN_MISSED = "plan_missed"  # [plan_id, planned and measured SoC in permille]
LINK = "link"
SOURCE = "source"


class Service:
    """One site's host. Times are microseconds of any monotonic clock; `utc_offset_us` turns them into UTC.

    `say(sentence)` receives what an operator should read. `latest` is the last telemetry by field name, `planner` has
    the plan in force; `forerun.site.snapshot` shows them, and nothing of it is ever reported: reports come from the
    journal alone. With `key` (the site's Ed25519 private key) the journal is sealed every hour; `keyring`
    ({key id: Keys}) is what this host can command boards with that hold a key.
    """

    def __init__(
        self,
        site: SiteFile,
        journal: Journal,
        *,
        nonce: bytes,
        utc_offset_us: int = 0,
        history: History | None = None,
        key=None,
        record_keys: Sequence[bytes] = (),
        commitments: Sequence[bytes] = (),
        keyring: dict | None = None,
        say: Callable[[str], None] = lambda sentence: None,
    ):
        self.site, self.journal, self.say = site, journal, say
        self.utc_offset_us = utc_offset_us
        self.session = HostSession(site.site.name, f"forerun {__version__}", nonce)
        self.session.keyring = keyring or {}
        self.planner = Planner(site, history)
        self.latest: dict[str, int] = {}
        self.latest_us: int | None = None
        self.lookback = LookBack()
        self.store_problem = ""  # why the journal takes nothing now
        self.refusal = alarms.Refusal()
        self.board: dict | None = None
        self.replies: dict[int, tuple[int, list]] = {}
        self.witness = Witness(journal, key, record_keys, commitments)
        self._times = RecordTimes()
        self._jobs = Jobs(self.planner)
        self.jobs, self.preparing = self._jobs.ahead, self._jobs.preparing
        self._plan_id = 0
        self._replan_at_s = 0
        self._planned_us = self._prepared_us = -APART_US
        self._tell_time_at_s = 0
        self._settings = SettingsExchange()
        self._info_asked = -1
        self._heartbeat_us = 0
        self._owed = False  # records wait for a disk that takes nothing
        self._commit_again_us = 0
        self._missed = False  # a record found no room in the journal: it has to come again
        self._asked_for_records = False
        self._heard_hello_us = 0
        self._told: list[str] = []
        self._read_journal()

    # ---- what the edge calls

    def receive(self, data: bytes, now_us: int) -> None:
        """Take what came from the board."""
        self.session.receive(data, len(data), _ms(now_us))
        self._handle_events(now_us)

    def step(self, now_us: int) -> None:
        """Do what is due: timers of the session, plans, preparations."""
        heartbeats = self.session.heartbeat_count
        self.session.tick(_ms(now_us))
        if self.session.heartbeat_count != heartbeats:
            self._heartbeat_us = now_us  # the session counts milliseconds; the clock wants better
        if not self._asked_for_records and self.session.up and now_us - self._heard_hello_us >= CLOCK_PATIENCE_US:
            self._asked_for_records = True
            self._acknowledge()
        self._handle_events(now_us)
        self._seal(now_us)
        now_s = self._utc_s(now_us)
        if self._times.known and self.session.up and self._ready(self._prepared_us, now_us):
            order = self._jobs.order(now_s)
            if order is not None:
                self._prepared_us = now_us
                self.session.command(messages.PREPARE, *order)
        if self.session.up and now_s >= self._tell_time_at_s:
            self._tell_time(now_s)
        if self._plannable and now_s >= self._replan_at_s and self._ready(self._planned_us, now_us):
            self._replan(now_us)

    def outgoing(self) -> bytes:
        """Everything that waits for the line."""
        data = b""
        while True:
            piece = bytes(self.session.outgoing(1024))
            if not piece:
                return data
            self.session.sent(len(piece))
            data += piece

    def next_deadline_us(self, now_us: int) -> int:
        """When `step` has something to do at the latest."""
        due_us = now_us + 1000 * self.session.next_deadline_ms(_ms(now_us))
        if self._plannable and not self._behind:
            replan_us = max(now_us, self._replan_at_s * 1_000_000 - self.utc_offset_us, self._planned_us + APART_US)
            due_us = min(due_us, replan_us)
        return due_us

    def link_up(self, now_us: int) -> None:
        """The port was opened again."""
        self.session.tick(_ms(now_us))

    def link_down(self, now_us: int) -> None:
        """The port is gone; what was measured so far is committed."""
        self._journal(now_us, LINK, ["down"])
        self._commit()

    def announce(self, job: Announcement, now_us: int) -> None:
        """A scheduler says that load will come: remembered in the journal, planned for and prepared at once."""
        self.change_jobs([job], [], now_us)

    def cancel(self, job: Announcement, now_us: int) -> None:
        """The job will not come, or ends now: remembered, and planned without it from now on."""
        self.change_jobs([], [job], now_us)

    def change_jobs(self, come: Sequence[Announcement], gone: Sequence[Announcement], now_us: int) -> None:
        """Several jobs come, or do not come or end now: remembered, and one plan for all of it. What is said again is
        no news."""
        bodies = self._jobs.change(come, gone, self._utc_s(now_us))
        for body in bodies:
            self._journal(now_us, JOB, body)
        if bodies:
            self._commit()
            self._replan_at_s = 0
            self.step(now_us)

    def note_source(self, name: str, trouble: str, words: str, now_us: int) -> None:
        """What is wrong with a source of the compute load, or that it is `back`: remembered in the journal."""
        self._journal(now_us, SOURCE, [name, trouble, words])

    def reconfigure(self, site: SiteFile, now_us: int) -> None:
        """Go on with another site file: the board gets its settings, and the plan is made anew."""
        self.site = site
        self.planner.configure(site)
        self._journal(now_us, LINK, ["site file read again"])
        self._commit()
        self._replan_at_s = self._tell_time_at_s = 0
        if self.session.up:
            self._ask_settings()

    def clock_stepped(self, by_us: int, now_us: int) -> None:
        """This host's clock was set: what it dates from now on is not what it dated before."""
        self._journal(now_us, LINK, ["clock stepped", by_us])
        self._times.tell_again()
        self.planner.clock_stepped()
        self.preparing.clock_stepped(by_us / 1e6)
        self._commit()
        self._replan_at_s = self._tell_time_at_s = 0
        self.say(f"this host's clock was set by {by_us / 1e6:+.1f} s; the report will name it")

    def note_control(self, body: list, now_us: int) -> bool:
        """Remember a step of a control; False while the disk does not take it (then it waits with the rest)."""
        self._journal(now_us, CONTROL, body)
        return self._commit()

    def command(self, op: int, *args: int) -> int:
        """Sequence number of a command; its (code, results) appear in `replies`. Raises Trouble without a board."""
        seq = self.session.command(op, *args)
        if seq is None:
            raise Trouble("no board is connected, so nothing was sent; `forerun board info` says whether it answers")
        return seq

    # ---- events of the session

    def _handle_events(self, now_us: int) -> None:
        records, to_say = 0, []
        while (event := self.session.event()) is not None:
            name = event[0]
            if name == "record":
                records += self._on_record(event, now_us, to_say)
            elif name == "telemetry":
                self.latest = messages.fields_named(messages.TELEMETRY_FIELDS, event[1])
                self.latest_us = now_us
                self._look_for_jobs(now_us)
            elif name == "clock":
                self._on_clock(event, now_us)
            elif name == "hello":
                self._on_hello(event[1], now_us)
            elif name == "reply":
                self._on_reply(*event[1:5], now_us)
            elif name == "failed":
                self.replies[event[1]] = (messages.BUSY, ["the link was lost before the board answered"])
            elif name == "lost":
                self._journal(now_us, LINK, ["lost"])
                self.say("the board is silent; it carries its plan on and keeps its records; trying to reach it")
            elif name in ("mismatch", "refused") and self.refusal.take(event, now_us):
                self.say(": ".join(self.refusal.standing))
        self._told += to_say
        if records or (self._owed and now_us >= self._commit_again_us):
            self._owed = True
            self._settle(now_us)

    def _settle(self, now_us: int) -> None:
        """Put records on disk and only then acknowledge them and say what they say; a full disk is tried again."""
        self._commit_again_us = now_us + COMMIT_AGAIN_US
        if not self._commit():
            return
        self._owed = False
        if self._missed:
            self._missed = False
            self.session.restart()  # what found no room is sent again
        elif self.board is not None and self.session.up:
            self._acknowledge()
        for sentence in self._told:
            self.say(sentence)
        self._told.clear()

    def _on_hello(self, hello: dict, now_us: int) -> None:
        self.refusal.end()
        same_boot = self.board is not None and self.board["nonce"] == hello["nonce"]
        self.board = hello
        if not same_boot:
            self._times.begin(hello["boot_count"])
            self.latest = {}
        self.preparing.forget()
        self._planned_us = self._prepared_us = -APART_US
        self._bind(now_us)
        self._journal(now_us, LINK, ["up", hello["identity"], hello["software"], hello["boot_count"]])
        self._commit()
        # Records before the clock is compared would have no UTC but that of their arrival.
        self._asked_for_records, self._heard_hello_us = self._times.known, now_us
        if self._times.known:
            self._acknowledge()
        self._times.tell_again()
        if odd_keys := alarms.of_keys(hello["key_id"], bool(self.session.keyring), self.session.keyed):
            self.say(odd_keys)
        self._ask_settings()
        self._replan_at_s = self._tell_time_at_s = 0
        self.say(f"board {hello['identity']} is connected (boot {hello['boot_count']}, {hello['software']})")

    def _acknowledge(self) -> None:
        self.session.acknowledge(self.journal.on_disk(self.board["identity"], self.board["store_id"]) or 0)

    def _tell_time(self, now_s: int) -> None:
        """Quiet hours and billing windows are those of people: the board is told the second of the local day."""
        self._tell_time_at_s = (now_s // TIME_S + 1) * TIME_S
        local = datetime.fromtimestamp(now_s, ZoneInfo(self.site.reporting.timezone))
        self.session.command(messages.SITE_TIME, (60 * local.hour + local.minute) * 60 + local.second)

    def _on_clock(self, event: tuple, now_us: int) -> None:
        _, _, rx_s, rx_us, tx_s, tx_us = event[:6]
        board_us = rx_s * 1_000_000 + rx_us
        if not self._times.observe(self._heartbeat_us, board_us, tx_s * 1_000_000 + tx_us, now_us):
            return
        if (news := self._times.news(board_us, now_us, self.utc_offset_us)) is not None:
            self._journal(now_us, CLOCK, news)
            self._commit()  # after a power cut it is all that dates what this boot still keeps
        if not self._asked_for_records:
            self._asked_for_records = True
            self._acknowledge()

    def _on_reply(self, seq: int, op: int, code: int, results: list, now_us: int) -> None:
        if self._settings.awaits(seq) and code == messages.DONE:
            if changed := self._settings.told(seq, results):
                self.session.command(messages.SETTINGS_SET, *changed)
                self._journal(now_us, LINK, ["settings", changed])
        elif seq == self._info_asked and code == messages.DONE:
            cell_c = results[CELL_AT] / 10 if len(results) > CELL_AT else None
            if self.planner.feel(cell_c):
                self._replan_at_s = 0
        elif code != messages.DONE:
            sentence = results[0] if results else messages.CODES[min(code, len(messages.CODES) - 1)]
            self.say(f"the board refused {dict(messages.OPS).get(op, op)}: {sentence}")
            self._journal(now_us, LINK, ["refused", op, code, str(sentence)])
        self.replies[seq] = (code, results)
        while len(self.replies) > 256:
            del self.replies[next(iter(self.replies))]

    def _ask_settings(self) -> None:
        self._settings.ask(board_settings(self.site), self.session.command)

    def _on_record(self, event: tuple, now_us: int, to_say: list[str]) -> int:
        """1 when something came that has to be acknowledged; adds to `to_say` what a person should read of it."""
        _, number, boot_count, uptime_s, uptime_ms, kind, body = event
        if self._missed:
            return 0
        uptime_us = uptime_s * 1_000_000 + uptime_ms * 1000
        if (news := self._times.arrived(boot_count, uptime_us, now_us + self.utc_offset_us)) is not None:
            self._journal(now_us, CLOCK, news)
        utc_us, half_us = self._times.utc_us(boot_count, uptime_us, self.utc_offset_us)
        fields = [boot_count, uptime_s, uptime_ms, kind, *body]
        identity, store_id = self.board["identity"], self.board["store_id"]
        try:
            new = self.journal.append_record(utc_us, identity, store_id, number, fields, half_us)
        except JournalError as problem:
            self.say(str(problem))
            self._missed = True
            return 1
        if new and not self._is_doubted(number, fields, now_us):
            self._learn(utc_us // 1_000_000, kind, body)
            if kind == messages.EVENT:
                to_say.append(f"board: {alarms.sentence(*body[:3])}")
        return 1

    def _bind(self, now_us: int) -> None:
        for digest in self.witness.unbound():
            self._journal(now_us, RECORD_KEY, {"sha256": digest})

    def _is_doubted(self, number: int, fields: list, now_us: int) -> bool:
        """Whether a record stays in the journal with a doubt about it that keeps it out of every figure."""
        body = [self.board["store_id"], number, *fields]
        reason = self.witness.doubt(body)
        if reason:
            self._journal(now_us, DOUBTED, {"store_id": body[0], "record": number, "reason": reason})
            self.say(f"record {number} is doubted: {reason}; see host/CARBON.md")
        return bool(reason)

    def _seal(self, now_us: int) -> None:
        try:
            if self.witness.seal(now_us + self.utc_offset_us):
                self._commit()
        except JournalError as problem:
            self.say(str(problem))

    # ---- what is known

    def _read_journal(self) -> None:
        """Pick up where the last run ended: clocks of earlier boots, intervals, jobs still ahead."""
        for entry in read(self.journal.path):
            kind = getattr(entry, "kind", None)
            if kind == CLOCK:
                self._times.recall(entry.body, entry.utc_us)
            elif kind == RECORD:
                self._learn(entry.utc_us // 1_000_000, entry.body[5], entry.body[6:])
            elif kind == JOB:
                self._jobs.recall(entry.body, entry.utc_us // 1_000_000)
            elif kind == PLAN:
                self._plan_id = entry.body[0]
            elif kind == SOURCE:
                self.planner.trust.recall(*entry.body[:2], entry.utc_us // 1_000_000)
            elif kind == RECORD_KEY:
                self.witness.recall(entry.body["sha256"])

    def _learn(self, utc_s: int, kind: int, body: list) -> None:
        """What a record says, for whoever looks and for the planner."""
        self.lookback.learn(utc_s, kind, body)
        if self.planner.learn(utc_s, kind, body):
            self._replan_at_s = 0

    def _look_for_jobs(self, now_us: int) -> None:
        """Whether announced jobs come, as the meter has it; what changes for a source is remembered and planned for."""
        if self.latest["faults"] & LOAD_UNKNOWN:
            return
        for news in self._jobs.look(self._utc_s(now_us), self.latest["load_w"]):
            self._journal(now_us, SOURCE, list(news))
            self._commit()
            self.say(news[-1])
            self._replan_at_s = 0

    @property
    def clock_uncertainty_us(self) -> int | None:
        """Half width of what is known of the board's clock now; None before it was compared."""
        if not self._times.known or not self.latest:
            return None
        return self._times.half_us(self.latest["uptime_s"] * 1_000_000 + self.latest["uptime_ms"] * 1000)

    # ---- planning

    @property
    def _plannable(self) -> bool:
        """Whether the board's clock and the battery's state of charge are known."""
        return self._times.known and bool(self.latest) and not self.latest["faults"] & messages.FAULT_BATTERY

    @property
    def _behind(self) -> bool:
        return self.session.waiting > MOST_WAITING

    def _ready(self, last_us: int, now_us: int) -> bool:
        """Whether the board can take one more after the one of last_us."""
        return now_us >= last_us + APART_US and not self._behind

    def _replan(self, now_us: int) -> None:
        now_s = self._utc_s(now_us)
        self._planned_us = now_us
        period_s = self.site.plan.period_s
        self._replan_at_s = (now_s // period_s + 1) * period_s
        self._jobs.drop_over(now_s)
        self._tell_if_missed(now_us)
        try:
            self.planner.make(now_s, self.latest["soc_permille"] / 1000, self.latest["load_w"], self.jobs.values())
        except (DispatchInputError, ForecastError) as problem:
            # The board carries the plan that it has to its end, then falls to its commissioned behaviour.
            self._journal(now_us, PLAN_REFUSED, [str(problem)])
            self._commit()
            self.say(f"no new plan, the one before stays in force: {problem}")
            return
        self._plan_id = (self._plan_id + 1) % 65536
        made, plan = self.planner.made, self.planner.plan
        self._journal(now_us, PLAN, [self._plan_id, made.start_s, made.basis, list(plan.relaxed)])
        self._commit()
        self._send_plan(made.start_s)
        self._info_asked = self.session.command(messages.INFO)  # the cells' temperature, for the next one

    def _tell_if_missed(self, now_us: int) -> None:
        """A battery that is far from where the plan in force has it by now is told of; the next plan begins where the
        battery is."""
        measured = self.latest["soc_permille"]
        planned = self.planner.missed(self._utc_s(now_us), measured)
        if planned is not None:
            self._journal(now_us, PLAN_MISSED, [self._plan_id, planned, measured])
            self.say(alarms.of_charge(measured, planned))

    def _send_plan(self, start_s: int) -> None:
        start_uptime_s = self._times.board_us(start_s * 1_000_000 - self.utc_offset_us) // 1_000_000
        points = self.planner.points(max(0, -start_uptime_s))  # the board may be younger than the running step
        for first in range(0, len(points), POINTS_PER_FRAME):
            flat = [number for point in points[first : first + POINTS_PER_FRAME] for number in point]
            self.session.command(messages.PLAN_POINTS, self._plan_id, first, *flat)
        self.session.command(messages.PLAN_COMMIT, self._plan_id, len(points), max(0, start_uptime_s))

    # ---- small things

    def _utc_s(self, now_us: int) -> int:
        return (now_us + self.utc_offset_us) // 1_000_000

    def _journal(self, now_us: int, kind: str, body: list | dict) -> None:
        try:
            self.journal.append(now_us + self.utc_offset_us, "host", kind, body)
        except JournalError as problem:
            self.say(str(problem))

    def _commit(self) -> bool:
        """True when everything appended is on disk; a full disk is said, and nothing is acknowledged meanwhile."""
        try:
            self.journal.commit()
        except JournalError as problem:
            self.store_problem = str(problem)
            self.say(str(problem))
            return False
        self.store_problem = ""
        return True


def _ms(now_us: int) -> int:
    return now_us // 1000 & 0x3FFFFFFF

