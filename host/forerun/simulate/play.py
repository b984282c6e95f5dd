"""A year and a set of surges as the commands play them: with progress, table and picture."""

import time
from pathlib import Path

from forerun import config
from forerun.console import progress
from forerun.errors import WrongUsage


def play_year(site_path: Path, year: int, seed: int, drawn: int, sizes: str, picture: Path, *, quiet: bool) -> dict:
    """A year of a site as a JSON-ready document (forerun.simulate.year.simulate), its picture written to `picture`;
    with `sizes`, one such document for each under "sizes", and no picture."""
    from forerun.report import pictures
    from forerun.simulate import year as player

    site = config.load(site_path)
    _try(picture)
    wanted = player.sizes_of(sizes) if sizes else []
    with progress(quiet, f"{year}, four ways") as tick:
        if wanted:
            results = player.sweep(site, wanted, year, seed, drawn, tick)
        else:
            results = [player.simulate(site, year, seed, drawn, tick, pictures.prepare)]
    if wanted:
        if not quiet:
            player.show_sweep(results)
        return {"site": site.site.name, "year": year, "seed": seed, "sizes": results}
    picture.write_text(pictures.year_svg(results[0]))
    if not quiet:
        player.show(results[0])
        print(f"picture: {picture}")
    return results[0] | {"picture": str(picture)}


def play_surges(count: int, seed: int, picture: Path, *, quiet: bool) -> dict:
    """The surge experiment as a JSON-ready document; its picture is written to `picture`. Shows progress and a table
    unless `quiet`."""
    from forerun.report import pictures
    from forerun.simulate import surge

    _try(picture)
    began = time.monotonic()
    with progress(quiet, f"{count} surges, both ways") as tick:
        found = surge.pairs(count, seed, tick)
    result = surge.document(found, seed) | {"picture": str(picture), "seconds": round(time.monotonic() - began, 1)}
    picture.write_text(pictures.surges_svg(surge.exhibit(found), result["pairs"]))
    if not quiet:
        _show_surges(result)
    return result


def _try(picture: Path) -> None:
    """A picture that cannot be written is told of before the long work, not after it."""
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        with open(picture, "a"):
            pass
    except OSError as problem:
        raise WrongUsage(f"--out {picture}: the picture cannot be written there ({problem.strerror})") from problem


_NOTICES = {
    "notice_10_min_or_more": "10 min or more",
    "shorter_notice_ready_before_the_step": "less, ready in time",
    "shorter_notice_too_late": "less, too late",
}


def _show_surges(result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("notice", "surges", "", "below EN 50160", "outside ITIC", "lowest V", "phase A",
                  "set starts", title="announced load steps, the same steps with and without")  # fmt: skip
    for notice, told in result["volts"].items():
        for way in ("with", "without") if told["surges"] else ():
            each = told[way]
            words = _NOTICES[notice]
            table.add_row(*((words, str(told["surges"])) if way == "with" else ("", "")), way,
                          str(each["below_en50160"]), str(each["outside_itic"]), f"{each['lowest_v']:.1f}",
                          f"{each['median_highest_phase_a']:.1f}", str(each["genset_starts"]))  # fmt: skip
    console, early, short = Console(), result["notice_10_min_or_more"], result["shorter_notice"]
    console.print(table)
    if early["surges"]:
        console.print(
            f"Of {early['surges']} with 10 min of notice or more, {early['ready_300_s_ahead']:.1%} were ready 300 s "
            f"ahead; {early['could_not_be_300_s_ahead']} of them could not be: waking up, entering service and "
            "charging take longer than their notice."
        )
    if short["surges"]:
        share = short["ready_as_early_as_possible"]
        console.print(
            f"Of {short['surges']} with less, {share:.1%} were ready as early as physics allows, and "
            f"{short['could_not_be_ready_before_the_step']} could not be ready before the step."
        )
    console.print(f"picture: {result['picture']}; {result['seconds']} s", soft_wrap=True)
