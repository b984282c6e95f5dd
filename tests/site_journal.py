"""A site's journal for tests: meter records with PV, grid, battery and genset, sealed by the hour."""

import math
from pathlib import Path

from forerun import config
from forerun.evidence import hashtree
from forerun.store.journal import Journal
from forerun.store.sitekey import key_path, signing_key
from forerun_wire import messages

START = 1_704_067_200  # 2024-01-01T00:00Z
STEP_S = 900
STORE = b"12345678"


def write(path: Path, count: int, change=None) -> None:
    """`count` + 1 interval records. change(index, record) -> what to write instead: a list of records, each a dict."""
    key = signing_key(key_path(path))
    registers, soc = [1000] * 6, 500
    with Journal(path) as journal:
        for index in range(count + 1):
            utc_s = START + STEP_S * index
            record = {"utc_s": utc_s, "number": index, "uptime_s": utc_s - START, "registers": list(registers),
                      "soc": soc, "quality": 0}  # fmt: skip
            for item in change(index, record) if change else [record]:
                if isinstance(item, tuple):
                    journal.append((utc_s * 1_000_000), "board" if item[0] == "record" else "host", *item)
                else:
                    put(journal, **item)
            if index % 4 == 3:
                hashtree.seal(journal, key, utc_s * 1_000_000)
            registers, soc = step(registers, soc, index)
        hashtree.seal(journal, key, utc_s * 1_000_000)


def put(journal: Journal, utc_s: int, number: int, uptime_s: int, registers: list, soc: int, quality: int) -> None:
    fields = [1, uptime_s, 0, messages.INTERVAL, STEP_S, *registers, 9000, 229_000, soc, quality, 0]
    journal.append(utc_s * 1_000_000, "board", "record", [STORE, number, *fields])


def step(registers: list[int], soc: int, index: int) -> tuple[list[int], int]:
    hour = index * STEP_S / 3600 % 24
    pv = max(0, int(3000 * math.sin((hour - 6) / 12 * math.pi)))
    genset = 400 if 18 <= hour < 19 else 0
    load = 1500 + index % 7 * 13
    from_grid = 600 if 3 <= hour < 5 and soc < 600 else 0
    battery = from_grid or (min(1000, pv - load) if pv > load and soc < 900 else -700 if soc > 200 and pv == 0 else 0)
    net = load + battery - pv - genset
    gains = (max(0, net), max(0, -net), max(0, battery), max(0, -battery), pv, genset)
    stored = battery * 0.95 if battery > 0 else battery / 0.95
    return [old + gain for old, gain in zip(registers, gains, strict=True)], soc + round(stored / 80)


def site_file(folder: Path, reporting: str = "") -> Path:
    """The example site with its journal in `folder`; reporting: what stands in its last section instead."""
    path = folder / "site.toml"
    text = config.EXAMPLE.read_text()
    path.write_text(text[: text.index("[reporting]")] + f"[reporting]\n{reporting}\n" if reporting else text)
    return path
