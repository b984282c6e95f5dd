"""All of a commissioning by the wall clock, from a board with nothing but MicroPython to a sealed site that runs, as a
person at a terminal does it: `python -m tests.bench_commission [interrupted]`, one JSON line a step and one at the end.

With `interrupted` each step is first broken off with Ctrl-C, once for each moment named, and then done.
"""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import tty
from pathlib import Path

from forerun.plant.site import Site
from forerun.simulate import scene
from forerun.simulate.emulated import EmulatedSite

LIMIT_S = 15 * 60
QUESTIONS_MAX = 10
QUIET_S = 0.5  # a line that ends like a question and goes no further for so long is one
QUESTION = re.compile(r"([^\n]*(?:\]|\?|[a-zA-Z])): ?$")
STEP_S = 900
# Seconds after a step's start at which it is broken off.
MOMENTS = {"flash": (2, 6, 11), "scan": (1, 4, 9), "keys": (0.3,), "selftest": (4, 20, 60, 150), "calibrate": (8,),
           "seal": (0.5,)}  # fmt: skip
COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Person:
    """Sits at a terminal and answers what is asked, at once."""

    def __init__(self, folder: Path, answers: dict):
        self.folder, self.answers, self.asked = folder, answers, []

    def does(self, *words: str, ctrl_c_s: float = 0.0) -> tuple[int, str, float]:
        """(exit status, what was on the screen, seconds) of a command; Ctrl-C is pressed after so many seconds."""
        screen, keyboard = pty.openpty()
        tty.setcbreak(keyboard)
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "forerun", *words], cwd=self.folder, stdin=keyboard, stdout=keyboard,
            stderr=keyboard, start_new_session=True,
        )  # fmt: skip
        os.close(keyboard)
        shown, answered, pressed = "", 0, False
        while True:
            if select.select([screen], [], [], QUIET_S)[0]:
                try:
                    shown += os.read(screen, 65536).decode(errors="replace")
                except OSError:  # everybody has closed it
                    break
            elif (found := QUESTION.search(COLOURS.sub("", shown[answered:]))) is not None:
                os.write(screen, self.answer(found[1]).encode() + b"\n")
                answered = len(shown)
            took_s = time.monotonic() - began
            if ctrl_c_s and took_s >= ctrl_c_s and not pressed:
                pressed = True
                os.killpg(process.pid, signal.SIGINT)  # what a terminal does with Ctrl-C
            if took_s > STEP_S:
                process.kill()
        os.close(screen)
        return process.wait(), COLOURS.sub("", shown).replace("\r", ""), time.monotonic() - began

    def answer(self, question: str) -> str:
        self.asked.append(question.strip())
        for words, answer in self.answers.items():
            if words in question:
                return answer() if callable(answer) else answer
        return ""  # as proposed


def main(interrupted: bool = False) -> bool:
    site, _ = scene.new_site(scene.scene(), seed=1)
    site.advance(int(time.time() % scene.DAY_S) * 1_000_000)
    with tempfile.TemporaryDirectory() as place, EmulatedSite(site, bare=True) as emulated:
        return _commission(Path(place), site, emulated, interrupted)


def _commission(folder: Path, site: Site, emulated: EmulatedSite, interrupted: bool) -> bool:
    person = Person(folder, {
        "board's link": emulated.link_path, "nobody work": "y", "Accuracy": "20", "commissioned": "A. Reader",
        "reference show": lambda: f"{site.pcc_import_w:.0f}",
    })  # fmt: skip
    steps = (
        ("flash", "--port", emulated.prompt_path, "--link", emulated.link_path), ("scan", "--port", emulated.path),
        ("keys", "provision"), ("selftest",), ("calibrate",), ("calibrate", "--hold-w", "3000"), ("seal",),
    )  # fmt: skip
    total_s, good = 0.0, True
    for step in steps:
        for moment_s in MOMENTS[step[0]] if interrupted else ():
            kept = list(person.asked)
            status, shown, took_s = person.does("commission", *step, ctrl_c_s=moment_s)
            if status == 0:  # it was done before
                break
            person.asked = kept
            clean = "Traceback" not in shown
            good &= clean
            _tell("broken_off", step=" ".join(step[:1]), after_s=moment_s, status=status, seconds=round(took_s, 1),
                  clean=clean, last=shown.strip().splitlines()[-1:])  # fmt: skip
        else:
            kept = list(person.asked)
            status, shown, took_s = person.does("commission", *step)
        total_s += took_s
        good &= status == 0
        _tell("step", step=" ".join(w for w in step if not w.startswith("/")), status=status, seconds=round(took_s, 1),
              questions=len(person.asked) - len(kept))  # fmt: skip
        if status:
            print(shown, file=sys.stderr)
            break
    status, shown, took_s = person.does("commission", "status", "--json")
    sealed = status == 0 and json.loads(shown)["sealed"]
    status, shown, took_s = person.does("run", "--for", "20", "--json")
    runs = status == 0 and json.loads(shown.strip().splitlines()[-1])["board"] is not None
    good &= sealed and runs and total_s <= LIMIT_S and len(person.asked) <= QUESTIONS_MAX
    _tell("commissioning", seconds=round(total_s, 1), limit_s=LIMIT_S, questions=len(person.asked),
          questions_max=QUESTIONS_MAX, sealed=sealed, runs=runs, good=good)  # fmt: skip
    return good


def _tell(name: str, **figures) -> None:
    print(json.dumps({"bench": name, **figures}), flush=True)


if __name__ == "__main__":
    sys.exit(not main("interrupted" in sys.argv[1:]))
