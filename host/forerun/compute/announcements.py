"""The compute–energy interface: what is taken of a job that a scheduler announces (docs/announcements.md)."""

from forerun.compute.load import Announcement, AnnouncementError
from forerun.sections import SiteFile

LONGEST_AHEAD_S = 14 * 86_400
LONGEST_S = 366 * 86_400


def taken(job: Announcement, now_s: float, most_w: float) -> Announcement:
    """The job as it is planned for: one whose start has passed is shortened to what is left. Raises AnnouncementError
    for a job that is over, starts more than two weeks ahead, lasts for more than a year, or draws more than the site
    can."""
    end_s = job.start_utc_s + job.duration_s
    if end_s <= now_s:
        raise AnnouncementError(f"announced job {job.job!r}: it was over {now_s - end_s:.0f} s ago")
    if job.start_utc_s > now_s + LONGEST_AHEAD_S:
        raise AnnouncementError(f"announced job {job.job!r}: it starts more than 14 days ahead; is start_utc_s in s?")
    if job.duration_s > LONGEST_S:
        raise AnnouncementError(f"announced job {job.job!r}: it lasts more than 366 days; is duration_s in s?")
    if job.power_w > most_w:
        raise AnnouncementError(
            f"announced job {job.job!r}: {job.power_w:.8g} W is more than the site's {most_w:.0f} W"
        )
    if job.start_utc_s < now_s:
        return Announcement(job.job, job.power_w, now_s, end_s - now_s, job.confidence)
    return job


def most_w(site: SiteFile) -> float:
    """No job draws more than grid, battery and set could give together."""
    return float(site.limits.import_limit_w + site.limits.discharge_max_w + site.genset.rated_w)
