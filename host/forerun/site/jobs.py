"""The announced jobs of a running site: what is ahead or running, what the board is told, how far they are believed."""

from collections.abc import Sequence

from forerun.compute.announcements import Preparing
from forerun.compute.load import Announcement
from forerun.site.planner import Planner


class Jobs:
    """`ahead`: by name, also those that run. What changes is remembered for the planner's forecast, and comes back as
    bodies of journal entries, from which `recall` makes it again. Times are UTC seconds."""

    def __init__(self, planner: Planner):
        self.ahead: dict[str, Announcement] = {}
        self.preparing = Preparing()  # which of them the board was told of
        self._log, self._trust = planner.job_log, planner.trust

    def change(self, come: Sequence[Announcement], gone: Sequence[Announcement], now_s: int) -> list[list]:
        """Jobs come, or do not come or end now. What is said again is no news."""
        come = [job for job in come if job.job not in self.ahead or not job.repeats(self.ahead[job.job], now_s)]
        bodies = [[job.job, 0.0, job.start_utc_s, 0.0, "0"] for job in gone]
        bodies += [[job.job, job.power_w, job.start_utc_s, job.duration_s, str(job.confidence)] for job in come]
        for body in bodies:
            self.recall(body, now_s)
        return bodies

    def recall(self, body: list, at_s: int) -> None:
        """Take what a journal has of at_s."""
        name, power_w, start_s, duration_s, confidence = body
        if duration_s:
            self.ahead[name] = Announcement(name, power_w, start_s, duration_s, float(confidence))
            self._log.announce(at_s, self.ahead[name])
        else:  # cancelled
            self.ahead.pop(name, None)
            self._log.cancel(at_s, name)

    def drop_over(self, now_s: int) -> None:
        """Forget those that are over."""
        for name in [name for name, job in self.ahead.items() if job.start_utc_s + job.duration_s <= now_s]:
            del self.ahead[name]

    def order(self, now_s: int) -> tuple[int, int, int] | None:
        """What the board has to be told to prepare for now, as Preparing.due."""
        return self.preparing.due([self._trust.believed(job) for job in self.ahead.values()], now_s)

    def look(self, now_s: int, load_w: int) -> list[tuple[str, str, str]]:
        """Whether they come, as the meter has it now: journal bodies of the sources that are doubted from now on, or
        believed again."""
        return self._trust.look(now_s, load_w, self.ahead.values())
