"""`forerun commission …`: each step with flags alone, or with a few questions at a terminal."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from forerun.commission.console import Json, Person, SitePath, end, number, progress, show, table
from forerun.commission.keys_cli import app as keys_app
from forerun.console import tell
from forerun.errors import Trouble, WrongUsage

app = typer.Typer(
    help="From a bare board and a box of wires to a sealed site: flash, scan, selftest, calibrate, seal.",
    short_help="From a bare board to a sealed site, step by step.",
    no_args_is_help=True,
)
app.add_typer(keys_app, name="keys")
FIRMWARE_LINK_BAUD = 115200
MOST_W = 1_000_000  # as the site file allows (forerun.sections)


@app.command(short_help="Put the firmware on a board, and hear it say hello.")
def flash(
    port: Annotated[str, typer.Option(help="Port of its MicroPython prompt; without it, the one plugged in.")] = "",
    kind: Annotated[str, typer.Option("--board", help="Which board it has to be; without it, what it is.")] = "",
    link: Annotated[str, typer.Option(help="Serial port of its link, to hear it; without it, the site file's.")] = "",
    site: SitePath = Path("site.toml"),
    maintenance: Annotated[
        bool, typer.Option("--maintenance", help="The site does without this board: flash it though it controls.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put the firmware on a board, compare it there, and hear it say hello; not while it controls a site."""
    from forerun import config
    from forerun.commission import flashing
    from forerun.commission.steps import Steps

    flashing.known(kind)
    steps = Steps(site, writes=True)
    port = port or flashing.only_board()
    lines = {port: FIRMWARE_LINK_BAUD}
    if link:
        lines[link] = FIRMWARE_LINK_BAUD
    away = ""
    if not link and site.exists():
        known = config.load(site).link
        link, away = (known.port, "") if Path(known.port).exists() else ("", known.port)
        lines |= {link: known.baud} if link else {}
    if not maintenance:
        for path, baud in lines.items():
            if Path(path).exists() and (said := flashing.live_board(path, baud)):
                raise Trouble(f"{said}; make the site independent of it, then flash with --maintenance")
    board = flashing.who(port)
    kind = flashing.kind_of(board, kind)
    if not as_json:
        print(f"{port}: {board['machine']} {board['identity']}, MicroPython {board['version']}")
    with progress(as_json) as note:
        sums = flashing.flash(port, kind, board, note)
        note("waiting for its hello")
        heard = flashing.hello(link, lines[link], board) if link else None
    result = steps.record("flash", True, time.time(), port=port, board=kind, found=board, files=sums, hello=heard)
    unheard = f"its link {away} is not there" if away else "its link is not known yet (--link)"
    said = f"{heard['identity']} runs {heard['software']}" if heard else unheard
    show(result, as_json, f"{len(sums)} files are on the board, compared by their sums; {said}; "
         "next: forerun commission scan")  # fmt: skip


@app.command()
def scan(
    port: Annotated[str, typer.Option(help="Serial port on the Modbus line; the board must not be on it meanwhile.")],
    site: SitePath = Path("site.toml"),
    baud: Annotated[int, typer.Option(help="Try this line rate only; 0: all of them.")] = 0,
    units: Annotated[str, typer.Option(help="Unit ids to try.")] = "1-247",
    name: Annotated[str, typer.Option(help="Name of the site.")] = "",
    link: Annotated[str, typer.Option(help="Serial port of the board's link.")] = "",
    import_limit_w: Annotated[str, typer.Option(help="What the feeder may carry, in W.")] = "",
    export_limit_w: Annotated[str, typer.Option(help="What may be fed in, in W.")] = "",
    pcc_meter: Annotated[int, typer.Option(min=0, max=247, help="Unit of the meter at the PCC; 0: by its name.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing site file.")] = False,
    as_json: Json = False,
) -> None:
    """Find what is on the Modbus line, and propose a site file."""
    from forerun.commission import scan as scanning
    from forerun.commission.line import SerialLine
    from forerun.commission.steps import Steps
    from forerun.config import load
    from forerun.sections import BAUD_RATES

    if baud and baud not in BAUD_RATES:
        raise WrongUsage(f"--baud {baud}: it must be one of {', '.join(map(str, BAUD_RATES))}")
    ids, steps, person = _units(units), Steps(site, writes=True), Person(as_json)
    limit = number(0, MOST_W)
    for flag, given in (("--import-limit-w", import_limit_w), ("--export-limit-w", export_limit_w)):
        if given:
            person.ask(given, flag, "", means=limit)  # refused before the line is asked, not after
    existing = load(site) if site.exists() and not force else None
    with SerialLine(port, baud or scanning.RATES[0]) as line, progress(as_json) as note:
        found = scanning.scan(line, (baud,) if baud else scanning.RATES, ids, note)
    if existing:
        found.problems += scanning.compare(found, existing)
    result = {"baud": found.baud, "devices": [asdict(device) for device in found.devices],
              "problems": [{"cause": cause, "sentence": text} for cause, text in found.problems]}  # fmt: skip
    if not as_json:
        _show_devices(found)
    if existing is None and not found.problems:
        answers = {
            "name": person.ask(name, "--name", "Name of the site", site.absolute().parent.name or "site"),
            "link": person.ask(link, "--link", "Serial port of the board's link", "/dev/ttyACM0"),
            "import_limit_w": person.ask(import_limit_w, "--import-limit-w", "Import limit in W", "15000", limit),
            "export_limit_w": person.ask(export_limit_w, "--export-limit-w", "Export limit in W", "10000", limit),
        }
        _write_proposal(site, found, _pcc_meter(person, found, pcc_meter), answers)
        result["site_file"] = str(site)
    passed = not found.problems
    steps.record("scan", passed, time.time(), port=port, **result)
    after = f"{site} is {'as found' if existing else 'written'}: look it over, then forerun commission selftest"
    show(result, as_json, after if passed else "")
    end(passed)


@app.command(short_help="Test the site through its board: link to contacts.")
def selftest(
    site: SitePath = Path("site.toml"),
    yes: Annotated[bool, typer.Option("--yes", help="Battery and contacts may move: nobody works there.")] = False,
    without: Annotated[
        list[str] | None, typer.Option(help="A contact that this site lacks: genset, trip or tie.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Test the site through its board, from link to contacts: value, limit, result, what to do. About five minutes."""
    from forerun import config
    from forerun.commission import contacts
    from forerun.commission import selftest as testing
    from forerun.commission.desk import open_desk
    from forerun.commission.steps import Steps, digest
    from forerun.link.keys import keyring

    checked = config.load(site)
    steps = Steps(site, writes=True)
    lacking = tuple(without or ())
    if strange := [name for name in lacking if name not in contacts.NAMES]:
        raise WrongUsage(f"--without {strange[0]}: it must be one of {', '.join(contacts.NAMES)}")
    moved = [contacts.MOVES[name] for name in contacts.wanted(checked) if name not in lacking]
    Person(as_json).agrees(
        yes, "--yes", "; ".join([f"The battery will move by ±{testing.step_w(checked)} W", *moved]) + ".",
        "Does nobody work on the installation?")  # fmt: skip
    taken = tuple(device["unit"] for device in steps.done.get("scan", {}).get("devices", []))
    with open_desk(checked.link.port, checked.link.baud, keyring(site)) as desk:
        checks = testing.selftest(desk, checked, time.time(), taken, (lambda check: None) if as_json else _show_check,
                                  lacking)  # fmt: skip
        identity = desk.hello["identity"]
    passed = all(check.passed for check in checks)
    result = steps.record("selftest", passed, time.time(), board=identity, site_file_sha256=digest(site),
                          checks=testing.as_dicts(checks), without=list(lacking))  # fmt: skip
    failed = "the board holds the battery at 0 W until all checks pass: mend what failed, and start again"
    show(result, as_json, "all passed; next: forerun commission calibrate, or seal" if passed else failed)
    end(passed)


@app.command(short_help="Compare a measurement with a reference instrument.")
def calibrate(
    site: SitePath = Path("site.toml"),
    quantity: Annotated[str, typer.Option(help="What is compared, a name of the telemetry.")] = "pcc_import_w",
    reference: Annotated[str, typer.Option(help="What the reference shows now, in the quantity's unit.")] = "",
    accuracy: Annotated[str, typer.Option(help="Its accuracy, ±, in the same unit; told once.")] = "",
    hold_w: Annotated[int, typer.Option(help="Power at which the battery is held meanwhile, > 0 discharges.")] = 0,
    anew: Annotated[bool, typer.Option("--anew", help="Forget this quantity's earlier readings.")] = False,
    as_json: Json = False,
) -> None:
    """Compare a measurement with a reference instrument; call it once for each reading, at different powers.

    Without --reference, and with nobody to ask, it holds the battery for five minutes, to read the reference.
    """
    from forerun import config
    from forerun.commission import calibrate as calibration
    from forerun.commission.desk import open_desk
    from forerun.commission.steps import Steps
    from forerun.link.keys import keyring

    if quantity not in calibration.QUANTITIES:
        raise WrongUsage(f"--quantity {quantity}: it must be one of {', '.join(calibration.QUANTITIES)}")
    checked, steps, person = config.load(site), Steps(site, writes=True), Person(as_json)
    unit = calibration.QUANTITIES[quantity]
    if not reference:
        with open_desk(checked.link.port, checked.link.baud, keyring(site)) as desk:
            desk.lease(hold_w, calibration.HOLD_S)
            desk.wait(calibration.SETTLE_S)
        if not person.there:
            show({"held_w": hold_w, "for_s": calibration.HOLD_S}, as_json,
                  f"the battery is held at {hold_w} W for {calibration.HOLD_S} s: read the reference now")  # fmt: skip
            return
    asked = f"What does the reference show for {quantity} now, in {unit}"
    shown = person.ask(reference, "--reference", asked, means=number())
    before = steps.done.get("calibrate", {})
    known = before.get("accuracies", {})
    told = accuracy or known.get(quantity, "")
    half_width = person.ask(told, "--accuracy", f"Accuracy of the reference, ± {unit}", means=number(0))
    with open_desk(checked.link.port, checked.link.baud, keyring(site)) as desk:
        reading = calibration.capture(desk, quantity, hold_w, shown, half_width)
    readings = {name: list(kept) for name, kept in before.get("readings", {}).items()}
    readings[quantity] = [] if anew else readings.get(quantity, [])
    readings[quantity].append(asdict(reading))
    try:
        made = calibration.fit([calibration.Reading(**one) for one in readings[quantity]])
    except ValueError:
        raise Trouble(f"the board reads 0 {unit} for {quantity}: put a load on it and compare again") from None
    fits = {**before.get("fits", {}), quantity: made.as_dict()}
    passed = all(one["passed"] for one in fits.values())
    result = steps.record("calibrate", passed, time.time(), readings=readings, fits=fits,
                          accuracies={**known, quantity: f"{half_width:g}"})  # fmt: skip
    offset = ""
    if made.offset_uncertainty is not None:
        offset = f", offset {made.offset:+.1f} ± {made.offset_uncertainty:.1f} {unit}"
    show(result, as_json, f"{quantity}: gain {made.gain:.4f} ± {made.gain_uncertainty:.4f}{offset} (k = 2), "
          f"{made.readings} readings; " + ("go on with another load, or seal" if made.passed else
          f"more than {calibration.GAIN_MAX:.0%} off: check CT ratio and class of the meter"))  # fmt: skip
    end(made.passed)


@app.command(short_help="Check that all agrees, and sign the report.")
def seal(
    site: SitePath = Path("site.toml"),
    by: Annotated[str, typer.Option(help="Who commissioned the site.")] = "",
    key: Annotated[Path | None, typer.Option(help="Ed25519 key, PEM; made beside the site file if missing.")] = None,
    as_json: Json = False,
) -> None:
    """Check that board and site file agree, and sign the commissioning report: JSON, HTML, PDF beside the site file."""
    from forerun import config
    from forerun.commission import seal as sealing
    from forerun.commission.desk import open_desk
    from forerun.commission.steps import Steps, write_whole
    from forerun.link.keys import keyring
    from forerun_wire import messages

    checked, steps = config.load(site), Steps(site, writes=True)
    if problem := sealing.undone(steps):  # said without asking the board
        raise Trouble(problem)
    with open_desk(checked.link.port, checked.link.baud, keyring(site)) as desk:
        settings, hello = desk.settings(), desk.hello
        info = messages.fields_named(messages.INFO_FIELDS, desk.ask(messages.INFO))
    objection = sealing.objection(checked, steps, settings, hello["identity"])
    if objection:
        raise Trouble(objection)
    who = Person(as_json).ask(by, "--by", "Who commissioned this site")
    board = {"identity": hello["identity"], "software": hello["software"], "interpreter": info["interpreter"],
             "store_id": hello["store_id"].hex(), "settings_crc": info["settings_crc"]}  # fmt: skip
    content = sealing.report(checked, steps, settings, board, who, time.time())
    document = sealing.sign(content, sealing.load_key(key or site.with_suffix(".key.pem")))
    paths = {form: site.with_suffix(f".commissioning.{form}") for form in ("json", "html", "pdf")}
    write_whole(paths["json"], json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    write_whole(paths["html"], sealing.page(document))
    write_whole(paths["pdf"], sealing.pdf(document))
    result = steps.record(
        "seal", True, time.time(), report_sha256=document["report_sha256"], board=hello["identity"],
        public_key=document["signature"]["public_key"], files={name: str(path) for name, path in paths.items()},
    )  # fmt: skip
    show(result, as_json, f"sealed: {paths['pdf']}; monitoring plan {document['report_sha256'][:16]}…; "
          f"next: forerun run --site {site}")  # fmt: skip


@app.command(short_help="Which steps are done, and what comes next.")
def status(site: SitePath = Path("site.toml"), as_json: Json = False) -> None:
    """Which steps are done, whether the seal still holds, and what comes next."""
    from forerun.commission.steps import STEPS, Steps

    steps = Steps(site)
    broken = _broken_seal(steps)
    following = steps.next() or ("seal" if broken else "")
    result = {"site_file": str(site), "steps": steps.done, "next": following, "sealed": not following,
              "problem": broken}  # fmt: skip
    if not as_json:
        table("step", "when", "result", rows=[
            (step, steps.done.get(step, {}).get("utc", ""), _word(steps.done.get(step))) for step in STEPS
        ])  # fmt: skip
    show(result, as_json, broken or (f"next: forerun commission {following}" if following else "sealed"))


def _broken_seal(steps) -> str:
    """Why an existing seal does not hold, '' otherwise."""
    from forerun.commission import seal as sealing
    from forerun.commission.steps import digest

    done = steps.done.get("seal")
    if not done:
        return ""
    path = steps.site_path.with_suffix(".commissioning.json")  # wherever that folder is by now
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return f"{path} cannot be read: seal again"
    if problem := sealing.verify(document, done.get("public_key", "")):
        return f"{path} must not be believed, {problem}: seal again"
    if not steps.site_path.exists() or document["report"]["site_file_sha256"] != digest(steps.site_path):
        return f"{steps.site_path} was changed after the seal: run `forerun commission selftest` and `seal` again"
    return ""


# ---- small things


def _pcc_meter(person: Person, found, wanted: int) -> int:
    """Unit of the meter at the PCC: the one `wanted`, 0 for none, the only one, or what a person says."""
    from forerun.commission.scan import meters_by_role

    meters = [str(device.unit) for device in found.of("meter")]

    def there(text: str) -> int:
        if text.strip() not in meters:
            raise ValueError(f"a meter answers at {', '.join(meters)}")
        return int(text)

    if len(meters) == 1 and not wanted:
        return int(meters[0])
    guess = meters_by_role(found)["pcc_meter_unit"]
    return person.ask(str(wanted or ""), "--pcc-meter", "Unit of the meter at the PCC", str(guess), there)


def _write_proposal(site: Path, found, pcc_meter: int, answers: dict) -> None:
    from forerun import config
    from forerun.commission.scan import CYCLE_MS, meters_by_role, proposal
    from forerun.commission.steps import write_whole

    inverter = found.of("inverter")[0]
    values = {
        "site": {"name": answers["name"]},
        "link": {"port": answers["link"], "baud": FIRMWARE_LINK_BAUD},
        "bus": {"baud": found.baud, "inverter_unit": inverter.unit, **meters_by_role(found, pcc_meter)},
        "limits": {name: round(answers[name]) for name in ("import_limit_w", "export_limit_w")},
        "safety": {"cycle_ms": CYCLE_MS[found.baud]},
    }
    if inverter.power_max_w:
        values["limits"] |= {"charge_max_w": inverter.power_max_w, "discharge_max_w": inverter.power_max_w}
    if inverter.capacity_wh:
        values["battery"] = {"capacity_wh": inverter.capacity_wh}
    draft = site.with_name(site.name + ".proposal")
    write_whole(draft, proposal(config.EXAMPLE.read_text(), values))
    try:
        config.load(draft)  # refused with the key's own sentence, and the site file left as it was
        draft.replace(site)
    finally:
        draft.unlink(missing_ok=True)


def _units(text: str) -> list[int]:
    """1-20,31 -> [1, …, 20, 31]. Raises WrongUsage."""
    ids: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            ids += range(int(first), int(last or first) + 1)
    except ValueError:
        ids = []
    if not ids or min(ids) < 1 or max(ids) > 247:
        raise WrongUsage(f"--units {text}: it must be numbers and ranges from 1 to 247, like 1-20,31")
    return ids


def _show_devices(found) -> None:
    if found.devices:
        table("unit", "kind", "maker", "model", "serial", "SunSpec models", rows=[
            (str(d.unit), d.kind, d.maker, d.model, d.serial, ", ".join(map(str, d.models))) for d in found.devices
        ])  # fmt: skip
        print(f"line rate {found.baud} baud")
    for _, sentence in found.problems:
        tell(f"problem: {sentence}", 9)


def _show_check(check) -> None:
    mark = "passed" if check.passed else "FAILED"
    tell(f"{mark}  {check.name}: {check.measured} (limit {check.limit})", 8)
    if not check.passed:
        tell(f"        {check.advice}", 8)


def _word(done: dict | None) -> str:
    return "–" if done is None else "passed" if done["passed"] else "FAILED"
