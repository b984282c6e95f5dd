"""Sites and situations that plans are tested and measured on: one to work out by hand, and drawn ones."""

import numpy as np

from forerun.dispatch.dispatcher import Genset, Plan, Situation, Storage, Surge, plan_steps

PLAIN = Storage(
    capacity_wh=10_000,
    efficiency_charge=1.0,
    efficiency_discharge=1.0,
    charge_max_w=5_000,
    discharge_max_w=5_000,
    soc_min=0.0,
    soc_max=1.0,
    soc_reserve=0.0,
    import_limit_w=10_000,
    export_limit_w=10_000,
)
DIESEL = Genset(rated_w=20_000, min_load=0.3, min_run_s=1800, start_cost=5.0, idle_cost_per_h=2.0, cost_per_kwh=0.5)


def hours(n: int) -> np.ndarray:
    return np.full(n, 3600.0)


def situation(load_w, pv_w=None, price=1.0, soc=0.5, **more) -> Situation:
    n = len(load_w)
    return Situation(hours(n), np.array(load_w), np.zeros(n) if pv_w is None else np.array(pv_w), price, soc, **more)


def random_case(seed: int) -> tuple[Storage, Situation]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    capacity_wh = float(rng.uniform(500, 200_000))
    soc_min, soc_max = rng.uniform(0, 0.4), rng.uniform(0.5, 1)
    storage = Storage(
        capacity_wh,
        *rng.uniform(0.7, 1, 2),
        *rng.choice([0.0, 5000.0, 30_000.0], 2),
        soc_min,
        soc_max,
        rng.uniform(soc_min, soc_max),
        float(rng.choice([0.0, 3000.0, 15_000.0])),
        float(rng.choice([0.0, 10_000.0])),
        float(rng.choice([0.0, 0.3])),
        float(rng.choice([0.0, 60.0])),
        DIESEL if seed % 3 == 1 else None,
    )
    stretches = rng.uniform((0, 60, 0), (n * 900, 7200, 60_000), (seed % 3, 3))
    surges = tuple(Surge(*stretch) for stretch in stretches)
    return storage, Situation(
        step_s=rng.choice([300.0, 900.0, 3600.0], n),
        load_w=rng.uniform(-2000, 40_000, n),
        pv_w=rng.uniform(0, 50_000, n) * rng.integers(0, 2, n),
        energy_price_per_kwh=rng.normal(0.5, 1.0, n),
        soc=float(rng.uniform(0, 1)),
        export_price_per_kwh=rng.normal(0.3, 0.5, n),
        genset_w=float(rng.choice([0.0, 8000.0])),
        peak_so_far_w=float(rng.choice([0.0, 9000.0])),
        surges=surges if seed % 4 else (),
    )


def solvable_case(seed: int, negative: bool) -> tuple[Storage, Situation]:
    rng = np.random.default_rng(seed)
    n = 12
    wear, demand = rng.choice([0.0, 0.1]), rng.choice([0.0, 2.0])
    storage = Storage(20_000, 0.93, 0.91, 6000, 6000, 0.1, 0.9, 0.1, 15_000, 8000, wear, demand)
    price = rng.normal(0.1, 0.8, n) if negative else rng.uniform(0.2, 2, n)
    export_price = rng.uniform(-0.2, 0.5, n) if negative else price * 0.6
    pv_w = np.clip(rng.normal(2000, 4000, n), 0, 12_000)
    load_w = rng.uniform(500, 9000, n)
    return storage, Situation(hours(n), load_w, pv_w, price, 0.5, export_price, stored_value_per_kwh=0.7)


def weak_grid_case(seed: int, genset: Genset = DIESEL) -> tuple[Storage, Situation]:
    """48 h of a grid that is too weak for some stretches of the load, on the steps that the service plans with."""
    rng = np.random.default_rng(seed)
    steps = plan_steps(48)
    hour = np.cumsum(steps) / 3600
    load_w = 5000 + 2000 * np.sin(hour / 24 * 2 * np.pi) + rng.normal(size=len(steps)) * 400
    for _ in range(rng.integers(1, 4)):
        start, length = rng.uniform(0, 40), rng.uniform(0.5, 8)
        load_w += rng.uniform(5000, 18_000) * ((hour > start) & (hour < start + length))
    limit_w = float(rng.choice([4700.0, 9700.0]))
    storage = Storage(60_000, 0.95, 0.95, 30_000, 30_000, 0.1, 0.95, 0.2, limit_w, 0.0, 0.05,
                      float(rng.choice([0.0, 5.0])), genset)  # fmt: skip
    price = 1.0 + 0.5 * np.sin(hour / 12 * 2 * np.pi)
    return storage, Situation(
        steps, np.clip(load_w, 500, None), np.zeros(len(steps)), price, float(rng.uniform(0.15, 0.9))
    )


def check_physics(storage: Storage, asked: Situation, plan: Plan) -> None:
    """Balance, stored energy, limits and words of a plan."""
    np.testing.assert_allclose(
        plan.pcc_import_w + plan.battery_w + asked.pv_w - plan.curtail_w + asked.genset_w + plan.genset_w,
        asked.load_w,
        atol=1e-6,
    )
    charge, discharge = np.clip(-plan.battery_w, 0, None), np.clip(plan.battery_w, 0, None)
    stored_wh = (charge * storage.efficiency_charge - discharge / storage.efficiency_discharge) * asked.step_s / 3600
    soc = asked.soc + np.cumsum(stored_wh) / storage.capacity_wh
    np.testing.assert_allclose(plan.soc, soc, atol=1e-6)
    assert plan.soc.min() >= min(storage.soc_min, asked.soc) - 1e-6
    assert plan.soc.max() <= max(storage.soc_max, asked.soc) + 1e-6
    assert charge.max() <= storage.charge_max_w + 1e-3
    assert discharge.max() <= storage.discharge_max_w + 1e-3
    assert np.all(plan.curtail_w >= 0) and np.all(plan.curtail_w <= asked.pv_w + 1e-6)
    on = plan.genset_w > 0
    if storage.genset is None:
        assert not on.any()
    else:
        assert np.all(plan.genset_w[on] >= storage.genset.least_w - 1e-3)
        assert plan.genset_w.max() <= storage.genset.rated_w + 1e-3
    over = plan.pcc_import_w.max() > storage.import_limit_w + 1
    assert over == any("import is above" in sentence for sentence in plan.relaxed)
    assert not np.any((plan.pcc_import_w > storage.import_limit_w + 1) & (charge > 1)), "no board charges there"
    out = plan.pcc_import_w.min() < -storage.export_limit_w - 1
    assert out == any("export is above" in sentence for sentence in plan.relaxed)
