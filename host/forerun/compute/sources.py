"""Where the compute load is read from while it runs: one small interface, and what is done with a source that is bad.

A source gives readings of total power in W with their time; the site's meter is the truth, these only explain it.
"""

import base64
import http.client
import io
import json
import math
import re
import socket
import ssl
import stat
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from forerun import __version__

TIMEOUT_S = 5.0  # without a byte
_WHOLE_ANSWER_S = 10.0
LIST_STALE_S = 600.0
_LARGEST_ANSWER = 1 << 20
_LARGEST_LIST = 1 << 24  # of a thousand jobs a scheduler publishes up to 10 kB each
_LONGEST_SENTENCE = 400
_CODINGS = {"identity": 0, "gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's window bits of what HTTP names so
_TO_DO = {401: "is its authorisation right?", 403: "is its authorisation right?", 404: "is the path right?",
          429: "is it asked too often?", 503: "is it starting or overloaded?",
          **dict.fromkeys((301, 302, 303, 307, 308), "it sends in a circle, or nowhere")}  # fmt: skip
# What a document raises where its shape or its numbers are of a kind that nobody foresaw.
UNFORESEEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class SourceError(Exception):
    """One sentence: which source, what it said instead of a power, what to look at. The source may be asked again."""

    def __init__(self, sentence: str):
        super().__init__(brief(sentence))


def brief(words: str, most: int = _LONGEST_SENTENCE) -> str:
    """On one line and cut to `most` characters: what a server says may be a megabyte of anything."""
    words = "".join(letter if letter.isprintable() else " " for letter in words[: 2 * most])
    words = " ".join(words.split())
    return words if len(words) <= most else f"{words[: most - 1]}…"


@dataclass(frozen=True, slots=True)
class Reading:
    """power_w of everything that the source sees, at utc_s."""

    utc_s: float
    power_w: float


def off(reading: Reading, now_s: float) -> str:
    """What is wrong with the time of a reading that is not of now."""
    late_s = now_s - reading.utc_s
    if late_s < 0:
        return f"its reading is of {-late_s:.6g} s ahead; are both clocks right, and is its time in s?"
    return f"its reading is {late_s:.6g} s old; is it still scraped?"


class Source(Protocol):
    """Anything that can be asked for the load of now. `read` raises SourceError, and nothing else, for a bad answer."""

    name: str

    def read(self) -> Reading: ...


class Prometheus:
    """An instant query to the HTTP API of Prometheus whose answer is one number or several that add up, in W.

    `query` is PromQL, for example `sum(node_hwmon_power_average_watt)`; see https://prometheus.io/docs, HTTP API.
    """

    def __init__(self, url: str, query: str):
        url, self._headers = apart(url)
        self.name = f"Prometheus at {url}"
        self._url = f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"

    def read(self) -> Reading:
        answer = _get_json(self.name, self._url, self._headers)
        if not isinstance(answer, dict) or answer.get("status") != "success":
            said = answer.get("error", "no status") if isinstance(answer, dict) else "no JSON object"
            raise SourceError(f"{self.name} refused the query: {said}")
        data = answer.get("data", {})
        kind, found = data.get("resultType"), data.get("result", [])
        if kind not in ("scalar", "vector"):
            raise SourceError(f"{self.name} answers the query with a {kind}; ask for one value now, without a range "
                              "as [5m] at its end")  # fmt: skip
        series = [({}, found)] if kind == "scalar" else [(item.get("metric", {}), item) for item in found]
        if not series:
            raise SourceError(f"{self.name} knows nothing that matches the query; is the exporter scraped?")
        pairs = []
        for labels, item in series:
            what = self._gauge(labels, item)
            at, value = item if kind == "scalar" else item.get("value")
            pairs.append((_number(self.name, "time", at), _number(self.name, what, value)))
        return Reading(min(at for at, _ in pairs), sum(value for _, value in pairs))

    def _gauge(self, labels: dict[str, str], item) -> str:
        """What to call its value. Raises SourceError for a series whose value, of whatever size, is no power."""
        name = labels.get("__name__", "")
        if "histogram" in item or "le" in labels:
            raise SourceError(f"{self.name} answers the query with a histogram; ask for a gauge in W")
        if name.endswith("_total"):
            raise SourceError(f"{self.name} answers the query with {name}, by its name a counter; ask for how fast it "
                              f"rises, rate({name}[1m]), or for sum({name}) if it is W all the same")  # fmt: skip
        words = ", ".join(f'{key}="{value}"' for key, value in labels.items() if key != "__name__")
        return f"value of {name}{{{words}}}" if labels else "value"


# What a BMC may list beside the server whose power it is a part of: by its PhysicalContext, or its name without one.
_PART = re.compile(r"\b(CPU|GPU|FPGA|Accelerator|ASIC|Memory|Sub-?system|PowerSupply|VoltageRegulator|Rail|Fan"
                   r"|StorageDevice|NetworkingDevice|Backplane|SystemBoard)", re.IGNORECASE)  # fmt: skip

_REDFISH_RESOURCES = "a Power or EnvironmentMetrics resource, or a Sensor in W"


class Redfish:
    """Power that a BMC reports: PowerControl[].PowerConsumedWatts of a chassis' Power resource (DMTF DSP0268), or
    PowerWatts.Reading of its EnvironmentMetrics, or the Reading of a Sensor in W. Several servers in a chassis add up;
    parts of one that are listed beside it (its CPUs, its memory) do not. `clock` gives the time, since the resource
    carries none."""

    def __init__(self, url: str, clock: Callable[[], float], authorisation: str | None = None):
        self._url, self._headers = apart(url)
        self.name, self._clock = f"Redfish at {self._url}", clock
        if authorisation:
            self._headers["Authorization"] = authorisation

    def read(self) -> Reading:
        answer = _get_json(self.name, self._url, self._headers)
        if not isinstance(answer, dict):
            raise SourceError(f"{self.name} answered with no JSON object; name {_REDFISH_RESOURCES}")
        in_watts = answer.get("ReadingUnits") == "W"
        if not in_watts and not {"PowerControl", "PowerWatts"} & answer.keys():
            raise SourceError(f"{self.name}: there is no power in {brief(str(answer.get('@odata.type')), 80)}; name "
                              f"{_REDFISH_RESOURCES}")  # fmt: skip
        if "PowerControl" in answer:
            controls = answer["PowerControl"]
            named = [(item, item.get("PhysicalContext") or item.get("Name") or "") for item in controls]
            whole = [item for item, name in named if not _PART.search(name)]
            read = [(item, item.get("PowerConsumedWatts")) for item in whole or controls]
        else:
            read = [(answer, (answer if in_watts else answer["PowerWatts"] or {}).get("Reading"))]
        # What is absent has no reading, whatever stands there: 0 by some BMCs.
        values = [value for item, value in read if (item.get("Status") or {}).get("State") != "Absent"]
        known = [_number(self.name, "power", value) for value in values if value is not None]
        if not known:
            raise SourceError(f"{self.name} reports no power (null); the host may be off or the sensor absent")
        return Reading(self._clock(), sum(known))


class Replay:
    """A trace (forerun.compute.load.LoadTrace) played at the pace of the clock, over and over from its own start."""

    def __init__(self, name: str, trace, clock: Callable[[], float]):
        self.name, self._trace, self._clock = f"replay of {name}", trace, clock

    def read(self) -> Reading:
        now_s, trace = self._clock(), self._trace
        index = int((now_s - trace.start_utc_s) // trace.step_s) % len(trace.power_w)
        return Reading(now_s, float(trace.power_w[index]))


def document(name: str, where: str, now_s: float, stale_s: float = LIST_STALE_S) -> dict:
    """The JSON object at `where`, a file that somebody rewrites or an http(s) address. Raises SourceError, also for a
    file of more than stale_s ago: whoever should rewrite it does not."""
    if where.startswith(("http://", "https://")):
        where, headers = apart(where)
        found = _get_json(name, where, headers, _LARGEST_LIST)
    else:
        path = Path(where)
        try:
            held = path.stat()
            if not stat.S_ISREG(held.st_mode) or held.st_size > _LARGEST_LIST:  # from a pipe one could wait for ever
                raise SourceError(f"{name}: {where} is no file of at most {_LARGEST_LIST} bytes")
            age_s = now_s - held.st_mtime
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as problem:
            raise SourceError(f"{name}: {where} cannot be read ({problem.strerror})") from problem
        except (ValueError, RecursionError) as problem:
            raise SourceError(f"{name}: {where} is not JSON ({problem})") from problem
        if age_s > stale_s:
            raise SourceError(f"{name}: {where} is {age_s:.0f} s old; is it still written?")
    if not isinstance(found, dict):
        raise SourceError(f"{name}: {where} is not one JSON object")
    return found


def asked(source: Source) -> Reading:
    """What the source says now. Raises SourceError, also for an answer whose shape nobody foresaw."""
    try:
        return source.read()
    except UNFORESEEN as problem:
        raise SourceError(f"{source.name} answered in another form than its interface has ({problem!r})") from problem


class Watched:
    """A source, and a name for everything that can be wrong with what it says.

    `take()` returns a Reading that may be used, or None; each time that trouble begins or ends, `say` gets a sentence:
    stopped (no answer or an old one), repeats (the same value for too long), negative, jumped (more than the site can
    draw), unit (a thousand times what the meter sees). What is doubted is left out, never guessed.
    """

    STALE_S = 120.0
    REPEATS = 60
    UNIT_RATIO = 300.0

    def __init__(self, source: Source, most_w: float, say: Callable[[str, str], None]):
        self.source, self.trouble = source, ""
        self._most_w, self._say = most_w, say
        self._last: Reading | None = None
        self._same = 0

    def take(self, now_s: float, metered_w: float) -> Reading | None:
        """What the source says now; metered_w is the site's own measurement of its load."""
        try:
            reading = asked(self.source)
        except SourceError as problem:
            return self._judged("stopped", str(problem))
        self._same = self._same + 1 if self._last and self._last.power_w == reading.power_w else 1
        self._last = reading
        trouble, words = self._doubt(reading, now_s, metered_w)
        return self._judged(trouble, words) if trouble else self._judged("", "", reading)

    def _doubt(self, reading: Reading, now_s: float, metered_w: float) -> tuple[str, str]:
        power_w, name = reading.power_w, self.source.name
        if not now_s - self.STALE_S <= reading.utc_s <= now_s + self.STALE_S:
            return "stopped", f"{name}: {off(reading, now_s)}"
        if power_w < 0:
            return "negative", f"{name} says {power_w:.6g} W; a load is not below 0"
        ratio = power_w / metered_w if metered_w > 100 and power_w > 0 else 1.0
        if ratio > self.UNIT_RATIO or ratio < 1 / self.UNIT_RATIO:
            return "unit", f"{name} says {power_w:g} W where the meter sees {metered_w:.0f} W; is its unit kW or mW?"
        if power_w > self._most_w:
            return "jumped", f"{name} says {power_w:.6g} W; the site cannot draw more than {self._most_w:.0f} W"
        if self._same >= self.REPEATS:
            return "repeats", f"{name} has said {power_w:.0f} W {self._same} times in a row"
        return "", ""

    def _judged(self, trouble: str, words: str, reading: Reading | None = None) -> Reading | None:
        if trouble != self.trouble:
            self._say(trouble or "back", words or f"{self.source.name} is to be believed again")
            self.trouble = trouble
        return reading


def _number(name: str, what: str, value) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError(value)
        number = float(value)
    except (OverflowError, TypeError, ValueError) as problem:
        raise SourceError(f"{name}: its {what} is {brief(repr(value), 80)}, which is no number") from problem
    if not math.isfinite(number):
        raise SourceError(f"{name}: its {what} is {value!r}; the exporter has no reading")
    return number


def apart(url: str) -> tuple[str, dict[str, str]]:
    """The address without the user and the password in it, which nobody is to read in a message, and the headers that
    show them."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # no address: asking it will say so
        return url, {}
    user, at, place = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    shown = base64.b64encode(urllib.parse.unquote_to_bytes(user)).decode()
    return parts._replace(netloc=place).geturl(), {"Authorization": f"Basic {shown}"}


def _get_json(name: str, url: str, headers: dict[str, str] | None = None, most: int = _LARGEST_ANSWER):
    """The answer to a GET, at most `most` bytes of JSON."""
    if not url.startswith(("http://", "https://")):
        raise SourceError(f"{name}: its address must begin with http:// or https://")
    usual = {"Accept": "application/json", "User-Agent": f"forerun/{__version__}"}
    try:
        request = urllib.request.Request(url, headers={**usual, **(headers or {})})
        status, body = _answer(name, request, most)
    except _Slow as problem:
        words = f"{name} took more than {_WHOLE_ANSWER_S:.0f} s to answer; is it overloaded?"
        raise SourceError(words) from problem
    except (OSError, ValueError, http.client.HTTPException) as problem:
        if isinstance(getattr(problem, "reason", None), ssl.SSLCertVerificationError):  # of most BMCs as delivered
            raise SourceError(f"{name} shows a certificate that this host does not trust ("
                              f"{problem.reason.verify_message}); name a file with it, or with who signed it, in the "
                              "environment variable SSL_CERT_FILE") from problem  # fmt: skip
        raise SourceError(f"{name} does not answer ({problem!r}); is it running?") from problem
    if not 200 <= status < 300 and not _says_why(body):
        raise SourceError(f"{name} answered with status {status}; {_TO_DO.get(status, 'what does its own log say?')}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise SourceError(f"{name} answered with what is not JSON; is it the address of its API?") from problem


class _Slow(OSError):
    """The answer was not there in time."""


class _Hurried(io.RawIOBase):
    """What comes over a connection, headers too, until its time is up: a trickle is never quite silent."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket):
        self._raw, self._sock, self._until_s = raw, sock, time.monotonic() + _WHOLE_ANSWER_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int | None:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise _Slow
        self._sock.settimeout(min(TIMEOUT_S, left_s))
        try:
            return self._raw.readinto(buffer)
        except TimeoutError:
            if left_s < TIMEOUT_S:
                raise _Slow from None
            raise

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock, *args, **kwargs):
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Hurried(self.fp.detach(), sock))


class _Http(http.client.HTTPConnection):
    response_class = _Response


class _Https(http.client.HTTPSConnection):
    response_class = _Response


class _OpenHttp(urllib.request.HTTPHandler):
    def http_open(self, request):
        return self.do_open(_Http, request)


class _OpenHttps(urllib.request.HTTPSHandler):
    def https_open(self, request):
        return self.do_open(_Https, request)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A few are followed, over HTTP only; the authorisation for one server is shown to no other."""

    max_redirections = 3

    def redirect_request(self, request, answer, code, message, headers, url):
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"it sends to {url}, which is no HTTP")
        there = super().redirect_request(request, answer, code, message, headers, url)
        if there is not None and (there.type, there.host) != (request.type, request.host):
            there.remove_header("Authorization")
        return there


_OPENER = urllib.request.build_opener(_OpenHttp, _OpenHttps, _Redirects)


def _answer(name: str, request: urllib.request.Request, most: int) -> tuple[int, bytes]:
    """(status, body). Raises OSError, ValueError, HTTPException or SourceError; the body of a refusal may break off."""
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return answer.status, _read(name, answer, most)
    except urllib.error.HTTPError as refusal:
        with refusal:
            try:
                return refusal.code, _read(name, refusal, most)
            except (OSError, ValueError, http.client.HTTPException):
                return refusal.code, b""


def _read(name: str, answer, most: int) -> bytes:
    """The body, in whatever pieces it comes; some BMCs and proxies compress it unasked. Raises SourceError for one that
    is too long."""
    coding = (answer.headers.get("Content-Encoding") or "identity").strip().lower()
    if coding not in _CODINGS:
        raise SourceError(f"{name} answered in the coding {brief(coding, 40)}; let it answer plainly")
    opened = zlib.decompressobj(_CODINGS[coding]) if _CODINGS[coding] else None
    body = bytearray()
    while piece := answer.read1(65_536):
        try:
            body += opened.decompress(piece, most + 1) if opened else piece
        except zlib.error as problem:
            raise SourceError(f"{name} answered with what is no {coding}") from problem
        if len(body) > most:
            raise SourceError(f"{name} answered with more than {most} bytes; narrow the query")
    return bytes(body)


def _says_why(body: bytes) -> bool:
    """Prometheus explains a refusal in the body; what a BMC or Kubernetes writes there is no answer to the question."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("status") == "error"


class NodePower:
    """idle_w and full_w of the nodes, fitted as they run: metered load on utilisation 0–1, older samples fading.

    Recursive least squares with forgetting. What is forgotten leaves the figures as they are with the weight that they
    began with: of a load that does not move only its own power is learnt, for however long. Before it has moved, the
    commissioned figures hold. Shape: Fan, Weber, Barroso, ISCA 2007.
    """

    FORGET = 0.999
    SAMPLES = 3.3  # as many the commissioned figures count for

    def __init__(self, idle_w: float, full_w: float):
        self._weights = [idle_w, full_w - idle_w]
        self._known = (self.SAMPLES, 0.0, self.SAMPLES)  # of the two, with what they share between them

    @property
    def idle_w(self) -> float:
        """Power at utilisation 0."""
        return self._weights[0]

    @property
    def full_w(self) -> float:
        """Power at utilisation 1."""
        return self._weights[0] + self._weights[1]

    def power_w(self, utilisation: float) -> float:
        """What the meter is expected to see."""
        return self._weights[0] + self._weights[1] * utilisation

    def learn(self, utilisation: float, metered_w: float) -> None:
        """One sample; one that cannot be (outside 0–1, below 0 W, no number) is left out."""
        if not (0 <= utilisation <= 1 and 0 <= metered_w < math.inf):
            return
        begun = (1 - self.FORGET) * self.SAMPLES
        idle, shared, slope = (self.FORGET * known for known in self._known)
        idle, shared, slope = idle + begun + 1, shared + utilisation, slope + begun + utilisation**2
        error, size = metered_w - self.power_w(utilisation), idle * slope - shared**2
        self._weights[0] += (slope - shared * utilisation) / size * error
        self._weights[1] += (idle * utilisation - shared) / size * error
        self._known = idle, shared, slope
