"""A month of the emulated site through the journal to the report: the energy of independent meters balances."""

import math
import struct
from decimal import Decimal

import numpy as np

import site_journal
from forerun import config
from forerun.carbon import factors
from forerun.plant.devices import inverter_bank
from forerun.plant.series import Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig
from forerun.report import statement
from forerun.store.journal import Journal, read

DAYS, STEP_S, S = 30, 900, 1_000_000
WSET_ENA = 40403  # SunSpec 704, counted from 40000 with the default models


def month(seed: int):
    """(step, totals) of the plant every 15 min, its battery moved by a slow wave."""
    rng = np.random.default_rng(seed)
    hour = np.arange(DAYS * 24) % 24
    pv = np.clip(9000 * np.sin((hour - 6) / 12 * np.pi), 0, None) * rng.uniform(0.3, 1, DAYS * 24)
    load = Series(0, STEP_S * S, 4000 + 3000 * rng.random(DAYS * 96))
    site = Site(SiteConfig(start_soc=0.5), loads=[load], pv=Series(0, 3600 * S, pv), seed=seed)
    bank = inverter_bank(site)
    for step in range(DAYS * 96 + 1):
        site.advance(step * STEP_S * S)
        yield step, site.totals()
        bank.write(WSET_ENA, struct.pack(">HHi", 1, 1, int(2000 * math.sin(step / 9))))


def test_the_balance_of_a_month_is_within_half_a_percent_and_shown(tmp_path):
    path = tmp_path / "journal.forerun"
    with Journal(path) as journal:
        for step, totals in month(seed=1):
            names = ("import_wh", "export_wh", "charge_wh", "discharge_wh", "pv_wh", "genset_wh")
            registers = [int(getattr(totals, name)) for name in names]
            utc_s = site_journal.START + STEP_S * step
            for name, wh in (("it_wh", totals.load_wh - totals.unserved_wh), ("cooling_wh", 0), ("other_wh", 0)):
                journal.append(utc_s * S, "host", "submeter", [name, int(wh)])
            site_journal.put(journal, utc_s, step, STEP_S * step, registers, round(1000 * totals.soc), 0)
    site = config.load(site_journal.site_file(tmp_path))
    end_utc_s = site_journal.START + DAYS * 86_400
    document = statement.statement(site, list(read(path)), factors.load(), site_journal.START, end_utc_s)
    residual = Decimal(document["results"]["residual"]["value"])
    assert residual <= Decimal("0.005"), residual
    assert len(document["intervals"]["rows"]) == DAYS * 96
    assert abs(Decimal(document["storage"]["residual_g"])) <= Decimal("0.001")
    # The books of the battery hold about what the plant has in it: they use one efficiency for all powers.
    stored_wh = Decimal(str(totals.soc)) * site.battery.capacity_wh
    assert abs(Decimal(document["storage"]["closing_wh"]) - stored_wh) <= site.battery.capacity_wh * Decimal("0.05")
    print(f"residual {residual}")
