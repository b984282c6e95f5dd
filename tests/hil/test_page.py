"""The page in Debian's Chromium, over a real board on an emulated site in real time; pictures go to out/page."""

import contextlib
import math
import time
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from browser import SIZES, browser, picture, prefer, resize
from forerun.plant.series import Series
from forerun.plant.site import Site
from forerun.plant.site_config import SiteConfig
from forerun.simulate.emulated import EmulatedSite
from forerun.store.journal import read
from forerun.web.server import WebServer
from site_web import remember, running_site, site_file

PICTURES = Path(__file__).parents[2] / "out" / "page"
AUDIT = (Path(__file__).parent / "page_audit.js").read_text()
# Boxes of the diagram, and how many of their texts would be cut off even with the longest word that may stand there.
BOXES = """
const boxes = [...document.querySelectorAll("#diagram g")].filter((one) => one.querySelector("rect.box"));
const last = boxes.find((one) => one.textContent.startsWith("Battery"))?.querySelector(".sub");
if (last) last.textContent = "100 %, discharges";
const right = (one) => one.getBBox().x + one.getBBox().width;
const wide = (one) => [...one.querySelectorAll("text")].some((each) => right(each) > right(one.firstElementChild));
return [boxes.length, boxes.filter(wide).length];
"""
# Ticks of a pane whose values are small, and whether a job's name stands above the line that fills its pane.
CHART = """
const done = arguments[0];
import("/charts.js").then(({ Chart }) => {
  const place = document.createElement("div"), small = { title: "small", height: 80, low: 0, high: 0.1, series: [] };
  place.style.width = "600px";
  document.body.append(place);
  const line = { kind: "line", colour: "load", times: [0], ends: [7200], values: [10] };
  const marks = [{ start: 0, end: 3600, text: "train" }];
  const full = { title: "full", height: 80, low: 0, high: 10, series: [line], marks };
  new Chart(place, document.createElement("p")).show({ start: 0, end: 7200, timezone: "UTC", label: "", starts: [0],
    read: () => "", rest: "", panes: [small, full] });
  const texts = [...place.querySelectorAll("text")], name = texts.find((one) => one.textContent === "train").getBBox();
  const ticks = texts.filter((one) => one.getAttribute("text-anchor") === "end").map((one) => one.textContent);
  const above = name.y + name.height <= place.querySelector("path.line").getBBox().y + 1;
  place.remove();
  done([ticks, above]);
});
"""
PATIENCE_S = 60


@pytest.fixture(scope="module")
def site(tmp_path_factory, _interpreter):
    """A site with nine remembered days, a running board and a job that is 25 minutes away."""
    folder = tmp_path_factory.mktemp("site")
    loads = [Series(0, 1_000_000, [7000 + 900 * math.sin(second) for second in range(3600)])]
    plant = Site(SiteConfig(start_soc=0.62, meter_noise_w=15.0), loads=loads, pv=Series(0, 3_600_000_000, [4200.0]))
    with EmulatedSite(plant, with_board=True) as emulated:
        path = site_file(folder, emulated.link_path)
        remember(path, 9, time.time())
        with running_site(path) as site:
            until(lambda: site.running.snapshot.live and site.running.snapshot.plan)
            job = {"job": "train-17", "power_w": 5000, "start_utc_s": time.time() + 1500, "duration_s": 5400}
            assert site.operate.ask("POST", "/v1/jobs", job)[0] == 201
            yield site


@pytest.fixture(scope="module")
def page(site):
    """A browser on which an operator is logged in."""
    with browser() as driver:
        log_in(driver, site, "operate")
        yield driver
        said = [entry["message"] for entry in driver.get_log("browser")
                if entry["level"] == "SEVERE" and entry["source"] != "network"]  # fmt: skip
        assert said == [], "no error of the page's code, nothing that its policy forbids"


def until(condition, limit_s: float = PATIENCE_S):
    ends = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.02)
    return found


def wait(driver, condition):
    return WebDriverWait(driver, PATIENCE_S, 0.05).until(lambda _: condition())


def text(driver, name: str) -> str:
    return driver.find_element(By.ID, name).text


def log_in(driver, site, role: str) -> None:
    driver.get(site.server.url)
    wait(driver, lambda: driver.find_element(By.ID, "token").is_displayed())
    driver.find_element(By.ID, "token").send_keys(site.tokens[role], Keys.ENTER)
    wait(driver, lambda: text(driver, "voltage") not in ("", "–"))
    wait(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "#next svg, #carbon svg")[1:])


def fill(driver, **values: str) -> None:
    for name, value in values.items():
        field = driver.find_element(By.CSS_SELECTOR, f"#control-form [name={name}]")
        if field.tag_name == "select":
            Select(field).select_by_value(value)
        else:
            field.clear()
            field.send_keys(value)
    driver.find_element(By.CSS_SELECTOR, "#control-form button").click()
    wait(driver, lambda: driver.find_element(By.ID, "confirm").is_displayed())


def leased(site) -> bool:
    return site.running.snapshot.live.lease_ms > 0


def overflow_px(driver) -> int:
    return driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")


def test_a_wrong_token_is_said_and_nothing_is_shown(site):
    with browser("phone") as driver:
        driver.get(site.server.url)
        wait(driver, lambda: driver.find_element(By.ID, "token").is_displayed())
        driver.find_element(By.ID, "token").send_keys("wrong", Keys.ENTER)
        wait(driver, lambda: "not known" in text(driver, "login-problem"))
        assert not driver.find_element(By.ID, "app").is_displayed()
        picture(driver, PICTURES / "login-phone.png")
        driver.find_element(By.ID, "token").clear()
        log_in(driver, site, "read")
        assert overflow_px(driver) <= 0, "nothing is cut off on a phone"
        assert not driver.find_element(By.ID, "control-card").is_displayed(), "a reader has no controls"
        texts = "[...document.querySelectorAll('#diagram text')].filter((one) => one.textContent)"
        sizes = driver.execute_script(f"return {texts}.map((one) => one.getBoundingClientRect().height)")
        assert len(sizes) >= 15 and min(sizes) >= 10, "the diagram is readable on a phone"
        resize(driver, 320, 700, phone=True)
        wait(driver, lambda: driver.execute_script(BOXES) == [5, 0])
        assert overflow_px(driver) <= 0, "nor on the narrowest one (WCAG 2.1, 1.4.10)"
        resize(driver, *SIZES["phone"], phone=True)
        picture(driver, PICTURES / "phone-light.png")
        prefer(driver, color_scheme="dark")
        picture(driver, PICTURES / "phone-dark.png")


def test_live_values_move_and_say_how_old_they_are(page, site):
    seen = set()
    until(lambda: seen.add(text(page, "import")) or len(seen) >= 4)
    shown_w = lambda: 1000 * float(text(page, "import").replace("−", "-"))  # noqa: E731
    until(lambda: abs(shown_w() - site.running.snapshot.live.pcc_import_w) < 40)
    assert text(page, "age") == "live"
    until(lambda: "PV gives 4.2 kW" in text(page, "flow-words"))  # the board asks the PV meter less often
    assert "the servers take" in text(page, "flow-words")
    until(lambda: grid_words(site) in text(page, "flow-words"))
    for import_w, said in ((3000, "The grid gives 3.0 kW;"), (-3000, "The grid takes 3.0 kW;"), (50, "gives 0.1 kW"),
                           (49, "Nothing is exchanged with the grid;"), (-49, "Nothing is exchanged")):  # fmt: skip
        assert said in in_words(page, import_w)
    widths = [float(line.get_attribute("stroke-width"))
              for line in page.find_elements(By.CSS_SELECTOR, ".s-pv.flow, .s-genset.flow")]  # fmt: skip
    assert sorted(widths)[1] > 5 and min(widths) == 0, "a lead is as wide as its power"


def grid_words(site) -> str:
    """What the page should say of the exchange with the grid now."""
    import_w = site.running.snapshot.live.pcc_import_w
    if abs(import_w) < 50:
        return "Nothing is exchanged with the grid"
    return f"The grid {'gives' if import_w > 0 else 'takes'} {abs(import_w) / 1000:.1f} kW"


def in_words(page, import_w: int) -> str:
    """The page's sentence on the powers when so much is imported and the servers take it."""
    live = {"pcc_import_w": import_w, "pv_w": 0, "genset_w": 0, "active_power_w": 0, "load_w": import_w}
    return page.execute_async_script(
        "import('/diagram.js').then((diagram) => arguments[1](diagram.inWords(arguments[0])))", live
    )


def test_forecast_plan_readiness_and_carbon_are_shown(page, site):
    wait(page, lambda: "ready" in text(page, "jobs"))
    assert "train-17" in text(page, "jobs") and "5.0 kW" in text(page, "jobs")
    assert "import up to" in text(page, "next-read") and " of 12 kW, state of charge" in text(page, "next-read")
    assert len(page.find_elements(By.CSS_SELECTOR, "#next .band")) == 2
    assert "import limit 12 kW" in page.find_element(By.ID, "next").text
    chart = page.find_element(By.CSS_SELECTOR, "#next svg")
    chart.send_keys(Keys.ARROW_RIGHT)
    assert "load" in text(page, "next-read") and "import" in text(page, "next-read")
    page.find_element(By.CSS_SELECTOR, "#next-table summary").click()
    assert len(wait(page, lambda: page.find_elements(By.CSS_SELECTOR, "#next-table tr"))) >= 24
    assert "kg CO₂e" in text(page, "carbon-read")
    assert page.find_elements(By.CSS_SELECTOR, "#carbon rect.f-grid, #carbon rect.f-pv")
    assert "not sealed" in text(page, "health") and "connected" in text(page, "health")


def test_a_control_is_done_only_after_its_confirmation(page, site):
    fill(page, mode="discharge", power="1.5", minutes="5")
    assert "For 5 min from your confirmation: battery discharges at 1.5 kW" in text(page, "confirm-will")
    assert page.switch_to.active_element.get_attribute("id") == "confirm-no", "Enter cancels"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait(page, lambda: not page.find_element(By.ID, "confirm").is_displayed())
    assert not leased(site) and site.server.parts.controls.waiting() == []
    fill(page, mode="discharge", power="1.5", minutes="5")
    picture(page, PICTURES / "confirm-light.png")
    page.find_element(By.ID, "confirm-yes").click()
    wait(page, lambda: not page.find_element(By.ID, "confirm").is_displayed())
    until(lambda: leased(site) and abs(site.running.snapshot.live.setpoint_w - 1500) < 50)
    wait(page, lambda: "operateer" in text(page, "control-told") and "1.5 kW for 5 min" in text(page, "control-told"))
    assert "lease" in text(page, "soc-words")
    page.find_element(By.ID, "tab-clear").click()
    page.find_element(By.CSS_SELECTOR, "#control-form button").click()
    wait(page, lambda: page.find_element(By.ID, "confirm").is_displayed())
    page.find_element(By.ID, "confirm-yes").click()
    until(lambda: not leased(site))
    steps = [entry.body[0] for entry in read(site.running.journal.path) if entry.kind == "control"]
    assert steps == ["asked", "withdrawn", "asked", "confirmed", "done", "asked", "confirmed", "done"]


def test_a_second_operator_sees_who_is_at_it_and_is_refused(page, site):
    other = site.person("second")
    asked = other.ask("POST", "/api/v1/controls", {"change": {"action": "clear"}})[1]
    wait(page, lambda: "second asked for the end of the lease" in text(page, "control-told"))
    page.find_element(By.ID, "tab-setpoint").click()
    page.find_element(By.CSS_SELECTOR, "#control-form button").click()
    wait(page, lambda: "second asked for the end of the lease" in text(page, "toast"))
    assert not page.find_element(By.ID, "confirm").is_displayed()
    other.ask("DELETE", f"/api/v1/controls/{asked['id']}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_holds_and_every_field_has_a_name(page, scheme):
    prefer(page, color_scheme=scheme, reduced_motion="reduce")
    background = page.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
    assert (background == "rgb(13, 20, 26)") == (scheme == "dark")
    assert page.execute_script(AUDIT) == {"faint": [], "nameless": []}
    assert page.execute_script("return getComputedStyle(document.querySelector('.dash')).animationName") == "none"
    picture(page, PICTURES / f"desktop-{scheme}.png")


def test_the_keyboard_reaches_everything_and_the_theme_stays(page):
    page.find_element(By.ID, "theme").send_keys(Keys.ENTER)
    assert page.execute_script("return document.documentElement.dataset.theme") == "light"
    page.refresh()
    wait(page, lambda: text(page, "voltage") not in ("", "–"))
    assert page.execute_script("return document.documentElement.dataset.theme") == "light"
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("class") == "skip"
    for _ in range(40):
        page.switch_to.active_element.send_keys(Keys.TAB)
        if page.switch_to.active_element.get_attribute("id") == "tab-setpoint":
            break
    else:
        pytest.fail("the controls are not reached by Tab")
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.switch_to.active_element.get_attribute("id") == "tab-clear"
    resize(page, 800, 900)
    assert overflow_px(page) <= 0


def test_maintenance_holds_the_battery_and_a_vanished_port_is_told(tmp_path, _interpreter):
    with contextlib.ExitStack() as plant:
        emulated = plant.enter_context(EmulatedSite(Site(SiteConfig(start_soc=0.6)), with_board=True))
        port = tmp_path / "port"  # a name of its own: the number of a closed pseudo-terminal is given to the next comer
        port.symlink_to(emulated.link_path)
        with running_site(site_file(tmp_path, port)) as site, browser("phone") as phone:
            until(lambda: site.running.snapshot.live and site.running.snapshot.plan)
            phone.get(site.server.url)
            wait(phone, lambda: phone.find_element(By.ID, "token").is_displayed())
            phone.find_element(By.ID, "token").send_keys(site.tokens["read"], Keys.ENTER)
            wait(phone, lambda: text(phone, "age") == "live")
            for hold_s in (60, 0):
                change = {"change": {"action": "maintenance", "hold_s": hold_s}}
                asked = site.commission.ask("POST", "/api/v1/controls", change)[1]
                done = site.commission.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")
                assert done[0] == 200 and done[1]["state"] == "done", done
                until(lambda held=hold_s > 0: leased(site) == held)
                until(lambda held=hold_s > 0: (site.running.snapshot.live.state == "maintenance") == held)
            port.unlink()
            plant.close()
            until(lambda: "board_silent" in [alarm["name"] for alarm in site.read.ask("GET", "/api/v1/alarms")[1]])
            asked = site.operate.ask("POST", "/api/v1/controls", {"change": {"action": "clear"}})[1]
            status, answer, _ = site.operate.ask("POST", f"/api/v1/controls/{asked['id']}/confirm")
            assert status == 503 and answer["error"]
            wait(phone, lambda: text(phone, "state") == "The board is silent" and "s old" in text(phone, "age"))
            wait(phone, lambda: text(phone, "flow-words").startswith("Last known, "))
            assert "Last known values" in text(phone, "gauges-old") and not text(phone, "offline")
            wait(phone, lambda: "board is silent" in text(phone, "alarms") and "What to do" in text(phone, "alarms"))
            for scheme in ("light", "dark"):
                prefer(phone, color_scheme=scheme)
                assert phone.execute_script(AUDIT) == {"faint": [], "nameless": []}, "what is old can still be read"
            picture(phone, PICTURES / "board-silent-phone-dark.png")
            site.server.__exit__()
            wait(phone, lambda: text(phone, "state") == "No connection to the host")
            assert "connects again by itself" in text(phone, "offline") and overflow_px(phone) <= 0
            picture(phone, PICTURES / "no-connection-phone-dark.png")
            with WebServer(site.running, *site.server.address):
                wait(phone, lambda: "log in again" in text(phone, "login-problem"))  # sessions ended with the server


def test_ticks_differ_and_the_name_of_a_job_lies_on_no_line(page):
    ticks, above = page.execute_async_script(CHART)
    assert ticks == ["0.00", "0.05", "0.10", "0", "5", "10"] and above
