"""A journal and its keys: copied, put back, looked over."""

from pathlib import Path
from typing import Annotated

import typer

from forerun.cli.shared import Json, SitePath, print_json

store_app = typer.Typer(help="Copy a site's journal and keys, put them back, look them over.", no_args_is_help=True)


@store_app.command("backup")
def store_backup(
    out: Annotated[Path, typer.Option(help="The file to make, like site.tar.gz. It holds the keys: keep it safe.")],
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Copy site file, journal, reports and keys into one file. The site may run meanwhile."""
    from forerun import console
    from forerun.store import backup

    result = backup.backup(site, out)
    if as_json:
        print_json(result)
    else:
        console.show_report(result)


@store_app.command("restore")
def store_restore(
    source: Annotated[Path, typer.Argument(help="A file that `forerun store backup` made.")],
    folder: Annotated[Path, typer.Option("--to", help="Folder for site.toml; nothing in it is replaced.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Put a backup back, after checking all of it."""
    from forerun import console
    from forerun.store import backup

    result = backup.restore(source, folder)
    if as_json:
        print_json(result)
    else:
        console.show_report(result)


@store_app.command("check", short_help="Read all of the journal, and say what is wrong.")
def store_check(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Read all of the journal: damage, missing records, every hourly seal. Exit status 1: something is wrong."""
    from dataclasses import asdict

    from forerun import config, console
    from forerun.store import backup

    verdict = backup.check(Path(config.load(site).store.path))
    if as_json:
        print_json(asdict(verdict))
    else:
        console.show_report(asdict(verdict))
    if verdict.findings:
        raise typer.Exit(1)
