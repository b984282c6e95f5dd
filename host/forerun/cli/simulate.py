"""A day, a year and surges, played on an emulated site."""

from pathlib import Path
from typing import Annotated

import typer

from forerun.cli.shared import Json, SitePath, print_json

app = typer.Typer()


@app.command(short_help="Play one site-day, with the controller and without it.")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("out/demo"),
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same report, byte for byte.")] = 1,
    realtime: Annotated[
        int, typer.Option(min=0, max=3600, help="Play so many seconds around the surge by the wall clock instead.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Play one site-day, with and without the controller, MicroPython in the loop."""
    from forerun.simulate import demo as player

    if realtime:
        result = player.play_realtime(out, seed, realtime, quiet=as_json)
    else:
        result = player.play_day(out, seed, quiet=as_json)
    if as_json:
        print_json(result)


@app.command(short_help="Play a year of a site four ways, and compare them.")
def simulate(
    site: SitePath = Path("site.toml"),
    year: Annotated[int, typer.Option(min=1970, max=2100, help="The calendar year that weather and load are laid on.")]
    = 2019,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same year.")] = 1,
    years: Annotated[int, typer.Option(min=200, max=100_000, help="Drawn years, for outages and what else varies.")]
    = 400,
    sizes: Annotated[str, typer.Option(help="Other sizes to play, kWp x kWh, like 20x60,120x250.")] = "",
    out: Annotated[Path, typer.Option(help="File for the picture.")] = Path("out/year.svg"),
    as_json: Json = False,
) -> None:
    """Play a year of a site four ways: two without a battery, the board alone, and board with planner."""
    from forerun.simulate import play

    result = play.play_year(site, year, seed, years, sizes, out, quiet=as_json)
    if as_json:
        print_json(result)


@app.command(short_help="Play announced load steps on a weak feeder.")
def surge(
    count: Annotated[int, typer.Option(min=50, max=100_000, help="So many announced load steps.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same steps.")] = 1,
    out: Annotated[Path, typer.Option(help="File for the picture of one of them, at 1 ms.")] = Path("out/surge.svg"),
    as_json: Json = False,
) -> None:
    """Play announced load steps on a weak feeder, with and without the announcement: readiness, volts, set starts."""
    from forerun.simulate import play

    result = play.play_surges(count, seed, out, quiet=as_json)
    if as_json:
        print_json(result)
