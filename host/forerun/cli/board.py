"""A board, and what crosses the serial line to it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from forerun.cli.shared import Json, SitePath, print_json

board_app = typer.Typer(help="Look at a board, or update its firmware over its link.", no_args_is_help=True)
link_app = typer.Typer(help="What crosses the serial line: record, show, replay.", no_args_is_help=True)
Recording = Annotated[Path, typer.Argument(help="The recording.")]


@board_app.command("info")
def board_info(
    port: Annotated[str, typer.Option(help="Serial port of the board; without it, the one in the site file.")] = "",
    baud: Annotated[int, typer.Option(help="Line rate; without --port, the one in the site file.")] = 921600,
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Ask a board who it is and how it does."""
    from forerun import boards, console

    info = boards.board_info(port, baud, site)
    if as_json:
        print_json(info)
    else:
        console.show_report(boards.in_words(info))


@board_app.command("diagrams", short_help="Print the board's state machines as diagrams.")
def board_diagrams(as_json: Json = False) -> None:
    """Print the board's state machines as Mermaid diagrams, from the tables that it runs."""
    from forerun import diagrams

    if as_json:
        print_json(diagrams.mermaid_by_name())
    else:
        print(diagrams.page(), end="")


@board_app.command("release", short_help="Make a signed release of this host's firmware.")
def board_release(
    out: Annotated[Path, typer.Argument(help="The release to write.")],
    board: Annotated[str, typer.Option(help="For which boards: a folder of firmware/boards, or unix.")],
    key: Annotated[Path, typer.Option(help="Private key of the release's maker; made when there is none.")],
    version: Annotated[str, typer.Option(help="What the firmware calls itself; without it, this host's version.")] = "",
    as_json: Json = False,
) -> None:
    """Make a signed release of this host's firmware, for `forerun board update` anywhere."""
    from forerun import __version__, boards

    done = boards.make_release(out, board, version or __version__, key)
    if as_json:
        print_json(done)
    else:
        print(f"{out}: forerun {done['version']} for {board}, {done['bytes']} bytes in {done['files']} files; "
              f"sites take it with --trust {done['trust']}")  # fmt: skip


@board_app.command("update", short_help="Bring another firmware onto a running board.")
def board_update(
    release: Annotated[Path | None, typer.Argument(help="A signed release; without it, this host's firmware.")] = None,
    trust: Annotated[str, typer.Option(help="Public key of the release's maker, 64 hexadecimal digits.")] = "",
    port: Annotated[str, typer.Option(help="Serial port of the board; without it, the one in the site file.")] = "",
    baud: Annotated[int, typer.Option(help="Line rate; without --port, the one in the site file.")] = 921600,
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Bring another firmware onto a running board: on trial, and back to the old one if it does not prove itself."""
    from forerun import boards

    done = boards.update_board(release, trust, port, baud, site, (lambda said: None) if as_json else print)
    if as_json:
        print_json(done)
    else:
        print(f"the board runs {done['now']} (before: {done['before']})")


@link_app.command("record", short_help="Record what passes between a board and a program.")
def link_record(
    file: Recording,
    port: Annotated[str, typer.Option(help="Serial port of the board; without it, the one in the site file.")] = "",
    baud: Annotated[int, typer.Option(help="Line rate; without --port, the one in the site file.")] = 115200,
    site: SitePath = Path("site.toml"),
    seconds: Annotated[float, typer.Option("--for", min=0, help="Stop after so many seconds; 0: run on.")] = 0,
    as_json: Json = False,
) -> None:
    """Stand between a board and whatever program talks to it, and write all that passes to FILE."""
    from forerun import boards

    result = boards.record_link(file, port, baud, site, seconds, as_json=as_json)
    if as_json:
        print_json(result)
    else:
        print(f"{result['host']} frames of the host and {result['board']} of the board are in {file}")


@link_app.command("show")
def link_show(file: Recording, as_json: Json = False) -> None:
    """Print a recording frame by frame; with --json one object a line."""
    from forerun.link import recorder

    for frame in recorder.read(file):
        told = recorder.shown(frame)
        if as_json:
            print_json(told)
        else:
            print(recorder.sentence(told))


@link_app.command("replay", short_help="Give a recording to a session of either side.")
def link_replay(
    file: Recording,
    into: Annotated[str, typer.Option(help="host or board: the side that hears the recording.")] = "host",
    as_json: Json = False,
) -> None:
    """Give a recording to a session of either side, and print what it makes of it."""
    from forerun.errors import WrongUsage
    from forerun.link import recorder

    if into not in ("host", "board"):
        raise WrongUsage(f"--into {into}: it must be host or board")
    result = recorder.replay(file, into, (lambda line: None) if as_json else print)
    if as_json:
        print_json(result)
    else:
        print(json.dumps(result, indent=1))
