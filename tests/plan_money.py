"""The least money that a site can be run for, by an exact mixed-integer programme that shares nothing with the code
under test but the words of its question: no penalties, every limit a wall. For sites on which all of them can be kept.
"""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import bmat, diags, eye, lil_matrix

from forerun.dispatch.dispatcher import Plan, Situation, Storage


def money(storage: Storage, asked: Situation, plan: Plan) -> float:
    """What a plan's powers cost, less the worth of what they leave stored; limits are checked elsewhere."""
    kwh = asked.step_s / 3.6e6
    on = plan.genset_w > 0
    total = float(kwh * np.clip(plan.pcc_import_w, 0, None) @ _row(asked.energy_price_per_kwh, on))
    total -= float(kwh * np.clip(-plan.pcc_import_w, 0, None) @ _row(asked.export_price_per_kwh, on))
    total += storage.wear_cost_per_kwh * float(kwh @ np.clip(plan.battery_w, 0, None))
    total += storage.demand_charge_per_kw * max(plan.pcc_import_w.max() / 1000, asked.peak_so_far_w / 1000)
    if storage.genset:
        starts = np.count_nonzero(np.diff(on.astype(int), prepend=int(asked.genset_run_s > 0)) > 0)
        total += storage.genset.start_cost * starts + storage.genset.cost_per_kwh * float(kwh @ plan.genset_w)
        total += storage.genset.idle_cost_per_h * float(asked.step_s @ on) / 3600
    return total - asked.stored_value_per_kwh * plan.soc[-1] * storage.capacity_wh / 1000


def least_money(storage: Storage, asked: Situation, limit_s: float = 20.0) -> float:
    """The money of the best plan there is. Prices have to be above 0, and buying dearer than selling."""
    n, hours, one = len(asked.step_s), asked.step_s / 3600, np.ones(len(asked.step_s))
    assert np.all(np.asarray(asked.energy_price_per_kwh) > 0) and np.all(
        _row(asked.energy_price_per_kwh, one) >= _row(asked.export_price_per_kwh, one))  # fmt: skip
    names = ("take", "give", "buy", "sell", "spill", "set", "turns", "cranks", "stored")
    of = {name: number * n for number, name in enumerate(names)}
    size = len(names) * n + 1  # and the peak
    genset, none = storage.genset, 0 * one

    def block(**factors) -> lil_matrix:
        rows = lil_matrix((n, size))
        for name, factor in factors.items():
            columns = slice(of[name], of[name] + n)
            rows[:, columns] = factor if hasattr(factor, "shape") and factor.shape == (n, n) else diags(factor * one)
        return rows

    before = eye(n, k=-1)
    balance = block(buy=1, sell=-1, give=1, take=-1, spill=-1, set=1)
    energy = block(stored=eye(n) - before, take=-hours * storage.efficiency_charge,
                   give=hours / storage.efficiency_discharge)  # fmt: skip
    peak = block(buy=1)
    peak[:, -1] = -1
    first = np.eye(n)[0]
    net_kw = (asked.load_w - asked.pv_w) / 1000
    rules = [(balance, net_kw, net_kw), (energy, *[first * asked.soc * storage.capacity_wh / 1000] * 2),
             (peak, none - np.inf, none)]  # fmt: skip
    least_kw, rated_kw = (genset.min_load * genset.rated_w / 1000, genset.rated_w / 1000) if genset else (0.0, 0.0)
    rules += [
        (block(set=1, turns=-rated_kw), none - np.inf, none),
        (block(set=1, turns=-least_kw), none, none + np.inf),
    ]
    rules += [(block(cranks=1, turns=before - eye(n)), -first * (asked.genset_run_s > 0), none + np.inf)]
    begins = np.cumsum(asked.step_s) - asked.step_s
    for step in range(n):  # a start keeps the set on for its least time
        held = np.flatnonzero((begins > begins[step]) & (begins < begins[step] + (genset.min_run_s if genset else 0)))
        row = lil_matrix((len(held), size))
        row[np.arange(len(held)), of["cranks"] + step] = -1
        row[np.arange(len(held)), of["turns"] + held] = 1
        if len(held):
            rules.append((row, np.zeros(len(held)), np.full(len(held), np.inf)))
    most = {"take": storage.charge_max_w / 1000, "give": storage.discharge_max_w / 1000,
            "buy": storage.import_limit_w / 1000, "sell": storage.export_limit_w / 1000, "spill": asked.pv_w / 1000,
            "set": rated_kw, "turns": float(genset is not None), "cranks": 1.0,
            "stored": storage.soc_max * storage.capacity_wh / 1000}  # fmt: skip
    upper = np.concatenate([*(most[name] * one for name in names), [np.inf]])
    lower = np.zeros(size)
    lower[of["stored"] : of["stored"] + n] = storage.soc_min * storage.capacity_wh / 1000
    lower[-1] = asked.peak_so_far_w / 1000
    price = {"buy": hours * asked.energy_price_per_kwh, "sell": -hours * asked.export_price_per_kwh,
             "give": hours * storage.wear_cost_per_kwh}  # fmt: skip
    if genset:
        price |= {"set": hours * genset.cost_per_kwh, "turns": hours * genset.idle_cost_per_h,
                  "cranks": genset.start_cost * one}  # fmt: skip
    cost = np.concatenate([*(price.get(name, none) for name in names), [storage.demand_charge_per_kw]])
    cost[of["stored"] + n - 1] -= asked.stored_value_per_kwh
    whole = np.zeros(size)
    whole[of["turns"] : of["turns"] + n] = 1
    matrix = bmat([[rows] for rows, _, _ in rules], format="csr")
    low, high = (np.concatenate([rule[at] for rule in rules]) for at in (1, 2))
    found = milp(cost, constraints=LinearConstraint(matrix, low, high), bounds=Bounds(lower, upper), integrality=whole,
                 options={"time_limit": limit_s, "mip_rel_gap": 1e-6})  # fmt: skip
    assert found.status == 0, found.message
    return float(found.fun)


def _row(price, like: np.ndarray) -> np.ndarray:
    return np.full(len(like), float(price)) if np.ndim(price) == 0 else np.asarray(price, dtype=float)
