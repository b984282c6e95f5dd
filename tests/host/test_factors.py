"""The factor table: complete, sourced, and refused when it is not."""

import pytest

from forerun.carbon import factors
from forerun.errors import Trouble


def test_every_factor_says_where_it_comes_from():
    table = factors.load()
    assert table.version and len(table.factors) > 20
    for item in table.factors.values():
        assert item.source and item.licence and item.unit and item.scope and item.region and item.gwp_set
        assert item.valid_from <= item.valid_until and item.value >= 0
        assert "IEA" not in item.source.split()
    assert str(table.factors["diesel-b7"].value) == "2.57082"
    assert table.of_scope("scope 2, location-based", "NO").id == "grid-NO-2024"
    assert table.of_scope("scope 2, market-based", "DE") is None


ROW = """
[[factor]]
id = "a"
value = "1"
unit = "g/kWh"
gas_basis = "CO2e"
gwp_set = "AR5"
scope = "test"
region = "world"
valid_from = 2024-01-01
valid_until = 2024-12-31
source = "here"
licence = "ours"
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROW.replace('source = "here"', ""), "factor a lacks source"),
        (ROW.replace('"here"', '" "'), "factor a lacks source"),
        (ROW + ROW, "factor a is there twice"),
        (ROW + 'colour = "red"\n', "factor a has unknown colour"),
        ("[[factor", "not a factor table"),
    ],
)
def test_a_table_with_a_fault_is_refused(tmp_path, text, said):
    path = tmp_path / "factors.toml"
    path.write_text(text)
    with pytest.raises(Trouble, match=said):
        factors.load(path)


def test_validity_is_in_whole_days_of_utc():
    item = factors.load().factors["grid-NO-2024"]
    assert item.valid_at(1_704_067_200) and not item.valid_at(1_704_067_199)
    assert item.valid_at(1_735_689_599) and not item.valid_at(1_735_689_600)
