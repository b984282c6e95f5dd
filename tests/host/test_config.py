"""The site file: the example loads, and whatever is wrong is said in one sentence with file, key, value and range."""

import re
from decimal import Decimal

import pytest

from forerun import config, sections
from forerun_wire.messages import FALLBACKS, SETTINGS

TEXT = config.EXAMPLE.read_text()


def written(tmp_path, text: str):
    path = tmp_path / "site.toml"
    path.write_text(text)
    return path


def refusal(path) -> str:
    with pytest.raises(config.ConfigError) as refused:
        config.load(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: "), message
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_the_example_loads():
    site = config.load(config.EXAMPLE)
    assert site.limits.import_limit_w == 15_000
    assert site.tariff.energy_price_per_kwh[7] == Decimal("1.10")
    assert len(site.tariff.energy_price_per_kwh) == 24
    assert site.carbon.diesel_kg_per_litre == Decimal("2.57082")
    assert site.store.path == str(config.EXAMPLE.parent / "journal.forerun")


def test_one_price_for_all_hours_and_an_absolute_store_path(tmp_path):
    text = re.sub(r"energy_price_per_kwh = \[.*?\]", "energy_price_per_kwh = 0.25", TEXT, flags=re.S)
    site = config.load(written(tmp_path, text.replace('"journal.forerun"', '"/var/lib/forerun/j"')))
    assert site.tariff.energy_price_per_kwh == Decimal("0.25")
    assert site.store.path == "/var/lib/forerun/j"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("import_limit_w = 15000", "import_limit_w = -1",
         "limits.import_limit_w = -1; it must be a whole number from 0 to 1000000"),
        ("import_limit_w = 15000", "import_limit_w = 1500.5",
         "limits.import_limit_w = 1500.5; it must be a whole number from 0 to 1000000"),
        ("import_limit_w = 15000", 'import_limit_w = "15 kW"',
         'limits.import_limit_w = "15 kW"; it must be a whole number from 0 to 1000000'),
        ("import_limit_w = 15000", "import_limit_w = true",
         "limits.import_limit_w = true; it must be a whole number from 0 to 1000000"),
        ("import_limit_w = 15000", "",
         "limits.import_limit_w is missing; it must be a whole number from 0 to 1000000"),
        ("import_limit_w = 15000", "import_limt_w = 15000",
         "limits.import_limt_w is not a known key; the nearest one is limits.import_limit_w"),
        ("[limits]", "[limit]", "limit is not a known section; the nearest one is limits"),
        ("[site]", "site = 3\n[extra]", "extra is not a known section"),
        ("soc_max = 0.95", "soc_max = nan", "limits.soc_max = NaN; it must be a number from 0 to 1"),
        ("soc_max = 0.95", "soc_max = 0.05", "limits.soc_min = 0.1; it must be below limits.soc_max = 0.05"),
        ("soc_reserve = 0.20", "soc_reserve = 0.99",
         "battery.soc_reserve = 0.99; it must be from limits.soc_min to limits.soc_max, 0.1 to 0.95"),
        ('fallback = "self_consumption"', 'fallback = "sleep"',
         'safety.fallback = "sleep"; it must be one of idle, self_consumption'),
        ("baud = 115200", "baud = 9601", "bus.baud = 9601; it must be one of 9600, 19200, 38400, 57600, 115200"),
        ("pv_meter_unit = 3", "pv_meter_unit = 2", "bus.pv_meter_unit = 2; it must differ from bus.pcc_meter_unit"),
        ("0.62, ", "", "tariff.energy_price_per_kwh has 23 values; it must be a number from -100000 to 100000, or a "
         "list of 24 such, one per hour of the UTC day"),
        ("0.62, ", '"dear", ', 'tariff.energy_price_per_kwh holds "dear"; it must be a number'),
        ("grid_valid_from = 2024-01-01", "grid_valid_from = 2025-01-01",
         "carbon.grid_valid_until = 2024-12-31; it must not be before carbon.grid_valid_from = 2025-01-01"),
        ("grid_valid_from = 2024-01-01", 'grid_valid_from = "2024"',
         'carbon.grid_valid_from = "2024"; it must be a date'),
        ('port = "/dev/ttyACM0"', 'port = ""', 'link.port = ""; it must be text in quotes'),
        ("import_margin_w = 300", "import_margin_w = 10000\n[limits.more]", "limits.more is not a known key"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_key_and_range(tmp_path, old, new, said):
    assert old in TEXT
    assert refusal(written(tmp_path, TEXT.replace(old, new, 1))).startswith(said)


def test_what_is_no_readable_toml_file(tmp_path):
    assert refusal(tmp_path / "none.toml").startswith("no such file; ")
    assert "is a folder" in refusal(tmp_path)
    assert "at line 2" in refusal(written(tmp_path, "[site]\nname = \n"))
    path = tmp_path / "latin.toml"
    path.write_bytes(b'[site]\nname = "Sm\xf8la"\n')
    assert refusal(path) == "line 2 is not UTF-8 text; save the file as UTF-8"
    path.write_text("\ufeff" + config.EXAMPLE.read_text(), encoding="utf-8")
    assert config.load(path).site == config.load(config.EXAMPLE).site, "some editors begin a file with a mark"


def test_every_setting_of_the_board_gets_a_value_in_its_range(tmp_path):
    text = TEXT.replace("cycle_ms = 50", "cycle_ms = 40").replace("stale_s = 3", "stale_s = 2.5")
    text = text.replace('"self_consumption"   #', '"idle" #').replace("soc_max = 0.95", "soc_max = 0.9")
    settings = config.board_settings(config.load(written(tmp_path, text)))
    by_name = {name: settings[key] for key, name, *_ in SETTINGS}
    assert set(settings) == {key for key, *_ in SETTINGS}
    for key, name, _, low, high, _ in SETTINGS:
        assert type(settings[key]) is int and low <= settings[key] <= high, name
    chosen = {"cycle_ms": 40, "stale_ms": 2500, "fallback": 0, "soc_max_permille": 900, "import_limit_w": 15_000}
    assert {name: by_name[name] for name in chosen} == chosen


def test_what_the_site_file_allows_is_what_the_board_allows():
    scale = {"_permille": ("", 1000), "_ms": ("_s", 1000)}
    keys = {}
    for section in (sections.BusSection, sections.LimitsSection, sections.SafetySection, sections.FunctionsSection,
                    sections.SensorsSection):
        for key in section.__dataclass_fields__.values():
            name = f"bus_{key.name}" if key.name == "baud" else key.name
            keys[name] = key
    not_in_file = {"interval_s", "telemetry_ms", "records_keep"}
    for _, name, _, low, high, default in SETTINGS:
        if name in not_in_file:
            continue
        found, factor = keys.get(name), 1
        for suffix, (other, times) in scale.items():
            if found is None and name.endswith(suffix):
                found, factor = keys.get(name.removesuffix(suffix) + other), times
        assert found is not None, name
        allowed = found.metadata
        if allowed["one_of"] is not None:
            offered = [FALLBACKS.index(item) if isinstance(item, str) else item for item in allowed["one_of"]]
            assert (min(offered), max(offered)) == (low, high), name
            continue
        assert (allowed["low"] * factor, allowed["high"] * factor) == (low, high), name
        if not isinstance(found.default, type(config.dataclasses.MISSING)):
            assert found.default * factor == default, name


def test_a_time_zone_that_nobody_knows_is_refused(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(config.EXAMPLE.read_text().replace("Europe/Oslo", "Europe/Olso"))
    with pytest.raises(config.ConfigError, match=r'reporting\.timezone = "Europe/Olso"'):
        config.load(path)
