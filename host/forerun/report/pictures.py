"""The pictures of a report: SVG elements drawn from the arrays of its document, the same bytes for the same arrays."""

import importlib
import io
import math
import re
from datetime import UTC, datetime

import numpy as np

NOMINAL_V = 230.0
ZOOM_S = (-0.2, 1.0)
BAND = (0.9 * NOMINAL_V, 1.1 * NOMINAL_V)  # EN 50160: 230 V ± 10 %
_COLOURS = {
    "pv": "#e69f00",
    "battery": "#009e73",
    "grid": "#0072b2",
    "genset": "#b2452a",
    "export": "#8cb9da",
    "charge": "#8fd0bb",
    "load": "#111111",
    "without": "#b2452a",
    "with": "#0072b2",
    "soft": "#e9eef2",
}
_NAMES = {
    "pv": "PV",
    "battery": "battery discharges",
    "grid": "grid import",
    "genset": "genset",
    "export": "export",
    "charge": "battery charges",
}


def clock(utc_s: int) -> str:
    """Time of day, UTC."""
    return datetime.fromtimestamp(utc_s, UTC).strftime("%H:%M")


def date(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%d")


def power_svg(document: dict) -> str:
    power = document["power"]
    series = {name: _array(power[name]) / 1000 for name in
              ("load_w", "pcc_import_w", "pv_w", "genset_w", "battery_w")}  # fmt: skip
    above = {"pv": series["pv_w"], "battery": np.clip(series["battery_w"], 0, None), "genset": series["genset_w"],
             "grid": np.clip(series["pcc_import_w"], 0, None)}  # fmt: skip
    below = {"charge": np.clip(series["battery_w"], None, 0), "export": np.clip(series["pcc_import_w"], None, 0)}
    edges = _edges(power)
    figure, axes = _axes("power", 3.6)
    for parts in (above, below):
        floor = np.zeros(len(edges) - 1)
        for name, values in parts.items():
            if np.nanmax(np.abs(values), initial=0) > 0.02:
                axes.stairs(floor + values, edges, baseline=floor, fill=True, color=_COLOURS[name], label=_NAMES[name])
            floor = floor + values
    axes.stairs(series["load_w"], edges, baseline=None, color=_COLOURS["load"], linewidth=1.4, label="load")
    if "site" in document:
        limit_kw = document["site"]["import_limit_w"] / 1000
        axes.axhline(limit_kw, color=_COLOURS["grid"], linewidth=0.8, linestyle=(0, (5, 4)))
        axes.text(edges[0], limit_kw, " import limit", va="bottom", fontsize=8, color=_COLOURS["grid"])
    axes.axhline(0, color="#444", linewidth=0.6)
    axes.set_ylabel("kW")
    axes.margins(y=0.08)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 1.16), ncols=7, frameon=False, fontsize=8, handlelength=1.2)
    _mark_surge(axes, document)
    return _svg(figure, axes, edges, "power", "Power by source over the day")


def soc_svg(document: dict) -> str:
    power, site = document["power"], document["site"]
    edges = _edges(power)
    figure, axes = _axes("soc", 2.0)
    percent = _array(power["soc_permille"]) / 10
    axes.axhspan(0, 100 * site["soc_min"], color=_COLOURS["soft"], linewidth=0)
    axes.axhspan(100 * site["soc_max"], 100, color=_COLOURS["soft"], linewidth=0)
    axes.plot((edges[:-1] + edges[1:]) / 2, percent, color=_COLOURS["battery"], linewidth=1.8)
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of capacity")
    _mark_surge(axes, document)
    return _svg(figure, axes, edges, "soc", "State of charge over the day")


def plan_svg(plan: dict, import_limit_w: float) -> str:
    """A plan (forerun.dispatch.planning.document): power by source above, state of charge below."""
    edges = np.array([*plan["step_start_utc_s"], plan["step_start_utc_s"][-1] + plan["step_s"][-1]], dtype=float)
    figure, (above, below) = _axes("plan", 4.6, rows=2)
    kw = {name: _array(plan[f"{name}_w"]) / 1000 for name in
          ("load", "pv", "battery", "genset", "pcc_import", "curtail")}  # fmt: skip
    floor = np.zeros(len(edges) - 1)
    for name, values in (("pv", kw["pv"] - kw["curtail"]), ("battery", np.clip(kw["battery"], 0, None)),
                         ("genset", kw["genset"]), ("grid", np.clip(kw["pcc_import"], 0, None))):  # fmt: skip
        if values.max() > 0.02:
            above.stairs(floor + values, edges, baseline=floor, fill=True, color=_COLOURS[name], label=_NAMES[name])
        floor = floor + values
    for base, extra, name in ((kw["load"], np.clip(-kw["battery"], 0, None), "into the battery"),
                              (floor, kw["curtail"], "PV unused")):  # fmt: skip
        if extra.max() > 0.02:
            colour = _COLOURS["battery" if name == "into the battery" else "pv"]
            above.stairs(base + extra, edges, baseline=base, fill=True, facecolor="#ffffff80", edgecolor=colour,
                         hatch="////", linewidth=0, label=name)  # fmt: skip
    above.stairs(kw["load"], edges, baseline=None, color=_COLOURS["load"], linewidth=1.4, label="load")
    above.axhline(import_limit_w / 1000, color=_COLOURS["grid"], linewidth=0.8, linestyle=(0, (5, 4)),
                  label="import limit")  # fmt: skip
    above.set_ylabel("kW")
    above.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, frameon=False, fontsize=8, handlelength=1.2)
    below.plot(edges[1:], _array(plan["soc_permille"]) / 10, color=_COLOURS["battery"], linewidth=1.8)
    below.set(ylim=(0, 100), ylabel="SoC, %")
    return _svg(figure, below, edges, "plan", "The plan: power by source, and state of charge")


def _mark_surge(axes, document: dict) -> None:
    if "surge" in document:
        surge = document["surge"]
        start = surge["start_utc_s"]
        axes.axvspan(start, start + surge["duration_s"], facecolor="none", edgecolor="#555", hatch="///", alpha=0.35,
                     linewidth=0)  # fmt: skip
        axes.annotate(surge["name"], (start, 1), xycoords=("data", "axes fraction"), xytext=(-3, -3), ha="right",
                      va="top", textcoords="offset points", fontsize=8, color="#333")  # fmt: skip


def surge_svg(surge: dict) -> str:
    """Voltage around the load step without and with the controller: the minute, and the second in which it happens."""
    figure, (minute, second) = _axes("surge", 3.0, columns=(2.2, 1))
    at_s = _array(surge["at_s"])
    plays = {"without": _array(surge["without_v"]), "with": _array(surge["with_v"])}
    values = np.concatenate(list(plays.values()))
    low, high = min(BAND[0] - 6, np.nanmin(values) - 4), np.nanmax(values) + 6
    looks = {"without": {"linewidth": 1.6, "linestyle": (0, (6, 2)), "label": "without the controller"},
             "with": {"linewidth": 1.8, "label": "with Forerun"}}  # fmt: skip
    for axes, (first_s, last_s) in ((minute, (at_s[0], at_s[-1])), (second, ZOOM_S)):
        shown = (at_s >= first_s) & (at_s <= last_s)
        axes.axhspan(low, BAND[0], color="#f6dfd8", linewidth=0)
        axes.axhline(BAND[0], color="#8a3a26", linewidth=0.8)
        for name, volts in plays.items():
            axes.plot(at_s[shown], volts[shown], color=_COLOURS[name], **looks[name])
        axes.axvline(0, color="#555", linewidth=0.8, linestyle=":")
        axes.set(xlim=(first_s, last_s), ylim=(low, high), xlabel="seconds from the load step")
    minute.text(at_s[0], BAND[0] - 0.5, f"  EN 50160 lower limit {BAND[0]:.0f} V", va="top", fontsize=8,
                color="#8a3a26")  # fmt: skip
    minute.set_ylabel("V (RMS, phase)")
    minute.legend(loc="upper left", bbox_to_anchor=(0, 1.17), ncols=2, frameon=False, fontsize=8.5)
    return _svg(figure, minute, None, "surge", "Voltage at the PCC around the load step, both ways")


def surges_svg(exhibit: dict, pairs: list[dict]) -> str:
    """One announced step at 1 ms, volts and amperes; and the lowest voltage of every step over its notice, both ways
    (forerun.simulate.surge.exhibit, and the pairs of forerun.surge.document)."""
    figure, ((volts, amperes), (every, early)) = _axes("surges", 6.4, rows=2, columns=(1, 1), apart=True)
    at_s = _array(exhibit["at_s"])
    shown = (at_s >= ZOOM_S[0]) & (at_s <= ZOOM_S[1])
    for way in ("without", "with"):
        look = {"color": _COLOURS[way], "linewidth": 1.8, "label": f"{way} the announcement"}
        volts.plot(at_s[shown], _array(exhibit[f"{way}_v"])[shown], **look)
        amperes.plot(at_s[shown], _array(exhibit[f"{way}_a"])[shown], **look)
        every.scatter([pair["notice_s"] / 60 for pair in pairs], [pair[f"{way}_v"] for pair in pairs], s=9,
                      color=_COLOURS[way], linewidths=0)  # fmt: skip
    words = f"a step of {exhibit['job_w'] / 1000:.0f} kW, told {exhibit['notice_s'] / 60:.0f} min ahead"
    for axes, unit in ((volts, "V (RMS, phase)"), (amperes, "A (phase, import)")):
        axes.axvline(0, color="#555", linewidth=0.8, linestyle=":")
        axes.set(xlim=ZOOM_S, xlabel=f"seconds from {words}", ylabel=unit)
    volts.legend(loc="upper left", bbox_to_anchor=(0, 1.2), ncols=2, frameon=False, fontsize=8.5)
    every.set(xscale="log", xlabel="minutes of notice, every step of the experiment", ylabel="lowest V at 1 ms")
    every.set_xticks([1, 2, 5, 10, 20, 60], ["1", "2", "5", "10", "20", "60"])
    for axes in (volts, every):
        low = min(BAND[0] - 6, axes.get_ylim()[0])
        axes.set_ylim(bottom=low)
        axes.axhspan(low, BAND[0], color="#f6dfd8", linewidth=0, zorder=0)
        axes.text(0.99, BAND[0] - 0.4, f"EN 50160: {BAND[0]:.0f} V ", transform=axes.get_yaxis_transform(), va="top",
                  ha="right", fontsize=8, color="#8a3a26")  # fmt: skip
    ready = [pair for pair in pairs if pair["lead_s"] is not None]
    early.scatter([pair["possible_lead_s"] / 60 for pair in ready], [pair["lead_s"] / 60 for pair in ready], s=9,
                  color=_COLOURS["with"], linewidths=0)  # fmt: skip
    ends = early.get_xlim()
    early.plot(ends, ends, color="#555", linewidth=0.8, linestyle=":")
    early.axhline(5, color="#555", linewidth=0.8, linestyle=(0, (5, 4)))
    early.set(xlabel="best possible lead, minutes", ylabel="ready so many minutes ahead")
    return _svg(figure, volts, None, "surges", "Announced load steps with and without the announcement")


_PARTS = {"energy": "#0072b2", "demand": "#56b4e9", "diesel": "#b2452a", "genset_starts": "#d98b73",
          "battery_wear": "#009e73", "carbon": "#55606b"}  # fmt: skip


def year_svg(result: dict) -> str:
    """A year's cases beside each other (forerun.simulate.year): cost by component, import, diesel hours, emissions."""
    names = list(result["cases"])
    cases = [result["cases"][name] for name in names]
    figure, panels = _axes("year", 3.4, columns=(1.7, 1, 1, 1), apart=True)
    floor = np.zeros(len(cases))
    for part, colour in _PARTS.items():
        values = np.array([case["cost_parts"][part] for case in cases])
        if values.max() > 0:
            panels[0].bar(names, values, bottom=floor, color=colour, label=part.replace("_", " "))
        floor = floor + values
    earned = np.array([case["cost_parts"]["export"] for case in cases])
    panels[0].bar(names, earned, color=_COLOURS["export"], label="export")
    panels[0].scatter(names, [case["cost"] for case in cases], color="#111", s=16, zorder=3, label="in all")
    panels[0].axhline(0, color="#444", linewidth=0.6)
    panels[0].legend(loc="upper right", frameon=False, fontsize=7)
    panels[0].set_title(f"cost, {result['currency']} a year", fontsize=9)
    for axes, key, words in ((panels[1], "import_kwh", "grid import, kWh"), (panels[2], "diesel_h", "diesel, h"),
                             (panels[3], "co2e_kg", "kg CO2e")):  # fmt: skip
        bars = axes.bar(names, [case[key] for case in cases], color=["#9aa5ad"] * (len(cases) - 1) + ["#009e73"])
        axes.bar_label(bars, [f"{case[key]:,.0f}" for case in cases], fontsize=7.5)
        axes.set_title(words, fontsize=9)
    return _svg(figure, panels[0], None, "year", "A year of the site, four ways")


def carbon_svg(hours: list[dict]) -> str:
    figure, (above, below) = _axes("carbon", 3.6, rows=2)
    starts = np.array([hour["start_utc_s"] // 3600 * 3600 for hour in hours], dtype=float)
    floor = np.zeros(len(hours))
    for name, key in (("pv", "pv_wh"), ("battery", "battery_wh"), ("grid", "grid_wh"), ("genset", "genset_wh")):
        kwh = np.array([hour[key] for hour in hours]) / 1000
        if kwh.max() > 0:
            above.bar(starts, kwh, 3000, bottom=floor, align="edge", color=_COLOURS[name], label=_NAMES[name])
        floor = floor + kwh
    above.set_ylabel("kWh of load")
    above.legend(loc="upper left", bbox_to_anchor=(0, 1.3), ncols=4, frameon=False, fontsize=8, handlelength=1.2)
    below.bar(starts, [float(hour["load_g"]) / 1000 for hour in hours], 3000, align="edge", color="#55606b")
    below.set_ylabel("kg CO2e")
    edges = np.array([starts[0], starts[-1] + 3600])
    return _svg(figure, below, edges, "carbon", "Load by source and emissions by hour")


def _edges(power: dict) -> np.ndarray:
    return power["start_utc_s"] + power["step_s"] * np.arange(len(power["load_w"]) + 1, dtype=float)


def _array(values: list) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def prepare() -> None:
    """Import what draws, most of a second, while there is nothing else to do."""
    importlib.import_module("matplotlib.figure")
    importlib.import_module("matplotlib.backends.backend_svg")


def _axes(name: str, height: float, rows: int = 1, columns: tuple[float, ...] = (1,), apart: bool = False):
    """A figure and its axes, which share an axis where they stand in line, unless each is `apart`."""
    from matplotlib.figure import Figure  # a second of import that no other command should pay

    figure = Figure(figsize=(9.2, height), layout="constrained")
    across, beside = rows > 1 and not apart, rows == 1 and not apart
    axes = figure.subplots(rows, len(columns), sharex=across, sharey=beside, width_ratios=columns)
    for part in np.atleast_1d(axes).flat:
        part.spines[["top", "right"]].set_visible(False)
        part.grid(axis="y", color="#dddddd", linewidth=0.6)
        part.set_axisbelow(True)
        part.tick_params(labelsize=8.5)
    figure.set_label(name)
    return figure, axes


def _svg(figure, axes, edges: np.ndarray | None, name: str, label: str) -> str:
    """The picture as an SVG element whose bytes depend on nothing but the picture."""
    from matplotlib import rc_context

    if edges is not None:
        axes.set_xlim(edges[0], edges[-1])
        span_s = edges[-1] - edges[0]
        unit_s, words = (86_400, date) if span_s > 2 * 86_400 else (3600, clock)
        every_s = unit_s * max(1, math.ceil(span_s / unit_s / 13))
        ticks = np.arange(math.ceil(edges[0] / every_s), math.floor(edges[-1] / every_s) + 1) * every_s
        axes.set_xticks(ticks, [words(int(tick)) for tick in ticks])
        axes.set_xlabel("UTC", fontsize=8.5)
    out = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # one page, several pictures: names would clash
    svg = re.sub(r' width="[0-9.]+pt"| height="[0-9.]+pt"', "", svg, count=2)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
