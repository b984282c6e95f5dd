"""Faults that come together, drawn at random; `make soak` plays hundreds of them."""

import pytest

from hil import storms


@pytest.mark.parametrize("seed", (2, 11, 29))
def test_a_site_holds_its_rules_under_faults_that_come_together_and_comes_back(tmp_path, _interpreter, seed):
    storm = storms.draw(seed)
    print(storm)
    storms.play(tmp_path, storm)
