"""`forerun commission keys …`: the board's key from its first to its last."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from forerun.commission.console import Json, Person, SitePath, show
from forerun.errors import Trouble, WrongUsage

app = typer.Typer(help="The board's key: provision, rotate, confirm, recover.", no_args_is_help=True)


@app.command("provision")
def keys_provision(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Give a board without a key its first one. It crosses the line in the open, once: stand beside the cable."""
    _change_key(site, as_json, first=True)


@app.command("rotate", short_help="Give a board that has a key another one.")
def keys_rotate(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Give a board that has a key another one; the old one opens nothing from then on."""
    _change_key(site, as_json, first=False)


@app.command("confirm", short_help="Finish or drop a change of key that was interrupted.")
def keys_confirm(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Finish or drop a change of key that was interrupted, by what the board says."""
    _with_keys(site, as_json, lambda desk, keys: keys.settle(desk.hello["identity"], desk.hello["key_id"])
               or "no change of a key was left half-way")  # fmt: skip


@app.command("status", short_help="Which key the board holds, and what opens it here.")
def keys_status(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Which key the board holds, by its id, and what this host's key file can do with it."""
    _with_keys(site, as_json, lambda desk, keys: "")


@app.command("recover", short_help="Take the key away from a board, on site.")
def keys_recover(
    port: Annotated[str, typer.Option(help="Serial port of the board's MicroPython prompt, on its USB.")],
    yes: Annotated[bool, typer.Option("--yes", help="The board may be stopped, and its key be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Take the key away from a board whose maintenance contact was closed at its start; then provision anew."""
    from forerun.commission.flashing import remove_keys

    Person(as_json).agrees(yes, "--yes", "The board stands with its maintenance contact closed.", "Remove its key?")
    removed = remove_keys(port)
    show({"port": port, "removed": removed}, as_json,
          f"{', '.join(removed) or 'no key file'} removed: open the contact, reset the board, then "
          "forerun commission keys provision")  # fmt: skip


@app.command("export", short_help="Write a key file with the keys of one role.")
def keys_export(
    out: Annotated[Path, typer.Argument(help="The key file to write.")],
    role: Annotated[str, typer.Option(help="operate or commission.")] = "operate",
    site: SitePath = Path("site.toml"),
    as_json: Json = False,
) -> None:
    """Write a key file with the keys of one role alone, for the host that runs the site."""
    from forerun.link import keys

    if role not in keys.ROLES:
        raise WrongUsage(f"--role {role}: it must be one of {', '.join(keys.ROLES)}")
    keys.KeyFile(keys.path_of(site)).export(role, out)
    show({"role": role, "key_file": str(out)}, as_json, f"{out} can {role}; put it beside the other host's site file")


def _with_keys(site: Path, as_json: bool, act: Callable) -> None:
    """Connect with the keys of the site, have `act(desk, keys)` say what it did, and show how things stand."""
    from forerun import config
    from forerun.commission.desk import open_desk
    from forerun.link import keys

    checked, held = config.load(site), keys.KeyFile(keys.path_of(site))
    with open_desk(checked.link.port, checked.link.baud, held.ring()) as desk:
        said = act(desk, held)
        result = {**keys.status(held, desk.hello), "said": said}
    able = f"{result['key_file']} can {' and '.join(result['roles'])}" if result["roles"] else "no key here fits it"
    holds = f"{result['board']} holds key {result['key_id']:06x}: {able}" if result["key_id"] else (
        f"{result['board']} holds no key: everybody on the line may command it")  # fmt: skip
    show(result, as_json, f"{said}\n{holds}" if said else holds)


def _change_key(site: Path, as_json: bool, *, first: bool) -> None:
    from forerun import config
    from forerun.commission.steps import Steps
    from forerun.link import keys
    from forerun.store.sitekey import keep_record_key

    store, steps = config.load(site).store.path, Steps(site, writes=True)

    def act(desk, held) -> str:
        if first and desk.hello["key_id"]:
            raise Trouble("the board holds a key already: `forerun commission keys rotate` changes it")
        if not first and not desk.hello["key_id"]:
            raise Trouble("the board holds no key: `forerun commission keys provision` sets the first one")
        made = keys.change(desk, held)
        keep_record_key(Path(store), held.record_key(desk.hello["identity"]))
        steps.record("keys", True, time.time(), board=desk.hello["identity"], key_id=made)
        return f"key {made:06x} is in force; keep a copy of {held.path} where only you get at it"

    _with_keys(site, as_json, act)
