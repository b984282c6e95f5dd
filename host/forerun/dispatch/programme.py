"""The linear programme of a plan: one model for given steps, warm from one plan to the next.

Limits that the world can break (import and export at the PCC, a state of charge already out of bounds, the energy that
an announced surge needs) cost money in the programme instead of forbidding, so that it always has an answer.
"""

from dataclasses import replace

import numpy as np

from forerun.dispatch.directions import FLOWS, Directions, Envelopes, burning_pays
from forerun.dispatch.reserve import tiers
from forerun.dispatch.situation import Inputs, Storage
from forerun.dispatch.solver import Solver

# Penalties as multiples of the dearest thing in the tariff. The order is what counts: a broken import limit costs more
# than any stored energy can earn in 48 h, energy for a surge more than any price, the reserve about one hour's price.
OVER_LIMIT = 200.0
SURGE = 50.0
BELOW_MIN = 2.0
RESERVE = 1.0
ABOVE_MAX = 1.0
_FEW = 0.2  # of a set's rating
_TIE = 1e-5  # where two answers cost the same: work the battery less, charge sooner, discharge later

_TOLERANCE_KW = 1e-6
_ROUNDS = 8
_NEAR = 5e-4  # of what the load would cost: near enough to what no plan can be below
_OTHERS = 12  # so many other directions are tried at most, fewer in a plan of many steps
_OTHER_STEPS = 2600
_SLICES = ("low", "surge", "reserve", "free", "high")
_BLOCKS = ("charge", "discharge", "import", "over_import", "export", "over_export", "curtail", "genset", *_SLICES)


class Programme:
    """Columns in blocks of n (see _BLOCKS), then the peak. Rows: balance, state of charge and, where it is
    charged for, peak; n each. kW and kWh."""

    def __init__(self, storage: Storage):
        self.storage = storage
        self._envelopes = Envelopes(storage)
        self._step_s: np.ndarray | None = None
        self._turned: set[int] = set()  # steps in which the other direction was the better one

    def set(self, inputs: Inputs, targets_wh: np.ndarray) -> None:
        """Take this situation; the genset may run at any power up to its rating until `commit` says when it is on."""
        if self._step_s is None or not np.array_equal(self._step_s, inputs.step_s):
            self._lay_out(inputs.step_s)
        self._set(inputs, targets_wh)

    def commit(self, on: np.ndarray, direct: bool = False) -> None:
        """The genset runs between its least power and its rating in the steps where `on`, and not at all elsewhere.
        `direct`: with what it gave in the last answer, directions are chosen anew where burning energy pays."""
        if direct and burning_pays(self._inputs):
            given_kw = np.clip(self._solver.values()[self._columns["genset"]], self.storage.genset.least_w / 1000, None)
            self._genset_w, self._directions = 1000 * on * given_kw, None
        genset, columns = self.storage.genset, self._columns["genset"]
        self._solver.bound(on * genset.least_w / 1000, on * genset.rated_w / 1000, columns)
        self._solver.price(self._hours * genset.cost_per_kwh / self.dearest, columns)
        self._keep_for_load(on)

    def _keep_for_load(self, on: np.ndarray) -> None:
        """What the set gives is the load's as long as that is over the import limit, and only then the battery's."""
        over, on_kw = self._over, on[self._over] / 1000
        if not len(over):
            return
        columns = [self._columns[name].start + over for name in ("over_import", "charge")]
        genset, over_kw, charge_kw = self.storage.genset, self._over_kw, self._charge_kw
        room_kw = np.clip(on_kw * genset.rated_w - over_kw, 0, charge_kw)
        upper = [np.clip(over_kw - on_kw * genset.least_w, 0, None), np.where(on[over], room_kw, charge_kw)]
        before = [self._upper[each] for each in columns]
        self._upper[columns[0]], self._upper[columns[1]] = upper
        self._close(over[(upper[0] != before[0]) | (upper[1] != before[1])])

    def _lay_out(self, step_s: np.ndarray) -> None:
        n = len(step_s)
        self._columns = {name: slice(index * n, index * n + n) for index, name in enumerate(_BLOCKS)}
        self._step_s, self._hours, self._count = step_s, step_s / 3600, len(_BLOCKS) * n + 1
        self._live, self._shut = np.zeros(self._count, dtype=bool), np.zeros((n, len(FLOWS)), dtype=bool)

    def _build(self, live: np.ndarray) -> None:
        n, storage, hours = len(self._step_s), self.storage, self._hours
        one, balance = np.ones(n), np.arange(n)
        columns = {name: block.start + balance for name, block in self._columns.items()}
        slices = [columns[name] for name in _SLICES]
        energy, peak = n + balance, 2 * n + balance
        parts = [(balance, columns[name], sign * one) for name, sign in (
            ("charge", -1), ("discharge", 1), ("import", 1), ("over_import", 1), ("export", -1), ("over_export", -1),
            ("curtail", -1), ("genset", 1))]  # fmt: skip
        parts += [(energy, columns["charge"], -hours * storage.efficiency_charge)]
        parts += [(energy, columns["discharge"], hours / storage.efficiency_discharge)]
        parts += [(energy, tier, one) for tier in slices] + [(energy[1:], tier[:-1], -one[1:]) for tier in slices]
        if storage.demand_charge_per_kw:
            parts += [(peak, columns["import"], one), (peak, columns["over_import"], one)]
            parts += [(peak, np.full(n, len(_BLOCKS) * n), -one)]
        row, column, value = (np.concatenate(piece) for piece in zip(*parts, strict=True))
        row_lower = np.concatenate([np.zeros(2 * n), np.full(n if storage.demand_charge_per_kw else 0, -np.inf)])
        self._solver = Solver(row, column, value, row_lower, np.zeros(len(row_lower)), live)
        self._live = live

    def _set(self, inputs: Inputs, targets_wh: np.ndarray) -> None:
        """Bounds, right-hand sides and costs of this situation (kW, kWh, prices over the dearest one)."""
        storage, n, at = self.storage, len(inputs.step_s), self._columns
        lower, upper, cost = np.zeros(self._count), np.full(self._count, np.inf), np.zeros(self._count)
        hours = self._hours
        upper[at["charge"]], upper[at["discharge"]] = inputs.charge_max_w / 1000, inputs.discharge_max_w / 1000
        upper[at["import"]], upper[at["export"]] = storage.import_limit_w / 1000, storage.export_limit_w / 1000
        upper[at["curtail"]] = inputs.pv_w / 1000
        genset = storage.genset
        upper[at["genset"]] = genset.rated_w / 1000 if genset else 0.0
        # Only the load may go over the import limit: the board would never charge there.
        rest_w = inputs.load_w - inputs.pv_w - inputs.genset_w
        over_kw = upper[at["over_import"]] = np.clip(rest_w - storage.import_limit_w, 0, None) / 1000
        self._over, self._charge_kw = np.flatnonzero(over_kw), inputs.charge_max_w / 1000
        self._over_kw = over_kw[self._over]
        for name, low, width in tiers(storage, inputs, targets_wh):
            lower[at[name]], upper[at[name]] = low / 1000, width / 1000
        lower[-1] = inputs.peak_so_far_w / 1000
        price, export_price = inputs.energy_price_per_kwh, inputs.export_price_per_kwh
        dearest = self.dearest = dearest_price(storage, inputs)
        surge_count = max(1, np.count_nonzero(targets_wh))
        ties = np.zeros(self._count)
        passed = np.cumsum(inputs.step_s) / np.sum(inputs.step_s)
        ties[at["charge"]], ties[at["discharge"]] = _TIE * hours * (1 + passed), _TIE * hours * (2 - passed)
        ties[at["curtail"]] = _TIE * hours
        cost[at["discharge"]] = hours * storage.wear_cost_per_kwh / dearest
        cost[at["import"]], cost[at["over_import"]] = hours * price / dearest, hours * (price / dearest + OVER_LIMIT)
        cost[at["export"]], cost[at["over_export"]] = (
            -hours * export_price / dearest, hours * (OVER_LIMIT - export_price / dearest))  # fmt: skip
        if genset:  # at best all of its power pays for its turning
            least_per_kwh = genset.cost_per_kwh + 1000 * genset.idle_cost_per_h / genset.rated_w
            cost[at["genset"]] = hours * least_per_kwh / dearest
        cost[at["low"]], cost[at["surge"]] = -BELOW_MIN * hours, -SURGE / surge_count - RESERVE * hours
        cost[at["reserve"]], cost[at["high"]] = -RESERVE * hours, ABOVE_MAX * hours
        for name in _SLICES:
            cost[at[name].stop - 1] -= inputs.stored_value_per_kwh / dearest
        cost[-1] = inputs.demand_charge_per_kw / dearest
        right = np.concatenate([rest_w, np.zeros(n)]) / 1000
        right[n] = inputs.soc * storage.capacity_wh / 1000
        self._inputs, self._lower, self._upper, self._cost, self._ties = inputs, lower, upper, cost, ties
        self._directions: Directions | None = None
        self._genset_w = np.zeros(n)
        self._turnover = float(hours @ (np.abs(price) * np.abs(rest_w))) / 1000 / dearest
        # A block with nothing to choose stays out until it has: no PV, nothing to export, no surge announced.
        blocks = np.any((lower != upper)[:-1].reshape(len(_BLOCKS), n), axis=1)
        # Where what is bought can be sold again for nothing, import may be closed, and then the way over it is opened.
        blocks[_BLOCKS.index("over_import")] |= burning_pays(inputs) or np.any(export_price >= price - 1e-6 * dearest)
        live = self._live | np.append(np.repeat(blocks, n), True)
        if not np.array_equal(live, self._live):
            self._build(live)
        self._solver.ask(lower, upper, cost + ties, right)

    def solve(self, below: float = np.inf) -> tuple[dict[str, np.ndarray], float]:
        """Flows in kW by block, each step one way only, and what they cost in the tariff's currency with penalties; all
        zero when no answer costs less than `below`, and infinite when the solver gave up.

        Where burning energy pays (negative prices), a linear programme charges and discharges, or imports and exports,
        at once. There the directions are chosen beforehand; where they were not and the answer goes both ways, the
        smaller flow is closed and the programme solved again. As long as the answer may be dearer than it has to, the
        other choice is tried where the choice was a near one, and kept where it is cheaper.
        """
        again: list[int] = []
        if self._directions is None:
            self._direct()
            again = [step for step in self._directions.unsure.tolist() if step in self._turned]
            self._turned = set()
        below = np.inf if len(self._directions.unsure) else below / self.dearest
        least, found = self._one_way(below), self._directions
        if least >= below:
            return {name: np.zeros(len(self._step_s)) for name in _BLOCKS}, least * self.dearest
        best = self._solver.values()
        ways = [[step] for step in found.unsure[: min(_OTHERS, _OTHER_STEPS // len(self._step_s))].tolist()]
        for steps in (again, *ways) if again else ways:  # what was better in the plan before may be so in this one
            if least - self._ties @ best < found.bound + _NEAR * self._turnover:
                break
            if steps is not again and self._turned.issuperset(steps):
                continue
            before = self._shut[steps].copy()
            as_found = np.all(before == found.shut[steps], axis=1, keepdims=True)
            self._shut[steps] = np.where(as_found, found.other[steps], found.shut[steps])
            self._close(steps)
            if self._solver.run() and self._solver.objective < least - 1e-9 and not self._both_ways():
                best, least = self._solver.values(), self._solver.objective
                self._turned.update(steps)
            else:
                self._shut[steps] = before
                self._close(steps)
        return {name: best[columns] for name, columns in self._columns.items()}, least * self.dearest

    def _direct(self) -> None:
        """Close what the directions of this situation forbid, where burning energy pays."""
        n, before = len(self._step_s), self._shut
        self._shut = np.zeros_like(before)
        self._close(np.flatnonzero(before.any(axis=1)))
        self._directions = Directions(self._shut, self._shut, np.zeros(0, dtype=int), -np.inf)
        if not burning_pays(self._inputs):
            return
        peak_kw, prices = self._lower[-1], None
        if self._inputs.demand_charge_per_kw and self._solver.run():
            peak_kw = self._solver.values()[-1]  # burning is worth no higher one
            _, stored, import_ = self._solver.row_prices().reshape(3, n)
            shares = np.clip(-import_, 0, None)
            prices = shares * self._cost[-1] / max(self._cost[-1], shares.sum()), stored
        slices = [(self._lower[at], self._upper[at], self._cost[at])
                  for at in (self._columns[name] for name in _SLICES)]  # fmt: skip
        inputs = replace(self._inputs, genset_w=self._inputs.genset_w + self._genset_w)
        found = self._envelopes.directions(inputs, slices, self.dearest, OVER_LIMIT, 1000 * peak_kw, prices)
        if found is not None:
            fuel = float(self._solver.prices(self._columns["genset"]) @ self._genset_w) / 1000
            self._directions, self._shut = replace(found, bound=found.bound + fuel), found.shut.copy()
            self._close(np.flatnonzero(found.shut.any(axis=1)))

    def _one_way(self, below: float = np.inf) -> float:
        """Solve until no step goes both ways, or no answer can be `below`; what it costs, infinite when the solver gave
        up."""
        for _ in range(_ROUNDS):
            if not self._solver.run():
                return np.inf
            if self._solver.objective >= below:
                return self._solver.objective
            both = self._both_ways()
            if not both:
                return self._solver.objective
            self._shut[tuple(zip(*both, strict=True))] = True
            self._close([step for step, _ in both])
        return self._solver.objective if self._solver.run() else np.inf

    def _close(self, steps) -> None:
        """Close and open the flows of these steps as _shut says. Where import is closed, the dear way over the limit
        has no bound: it is what keeps the programme solvable."""
        steps = np.unique(steps)
        if not len(steps):
            return
        at = np.stack([self._columns[name].start + steps for name in FLOWS], axis=1)
        over, shut = self._columns["over_import"].start + steps, self._shut[steps]
        upper = np.concatenate([np.where(shut, 0.0, self._upper[at]).ravel(),
                                np.where(shut[:, FLOWS.index("import")], np.inf, self._upper[over])])  # fmt: skip
        self._solver.bound(np.zeros(len(upper)), upper, np.concatenate([at.ravel(), over]))

    def _both_ways(self) -> list[tuple[int, int]]:
        """(step, index into FLOWS) of the smaller of every two opposite flows that run at once."""
        values, at, found = self._solver.values(), self._columns, []
        into = values[at["import"]] + values[at["over_import"]]
        out = values[at["export"]] + values[at["over_export"]]
        for first, one, other in ((0, values[at["charge"]], values[at["discharge"]]), (2, into, out)):
            for step in np.flatnonzero(np.minimum(one, other) > _TOLERANCE_KW):
                found.append((int(step), first + int(one[step] >= other[step])))
        return found

    def keep(self, name: str) -> None:
        """Remember where the last answer was found; `go_back` starts the next search there, in a later plan too."""
        self._solver.keep(name)

    def go_back(self, name: str) -> None:
        self._solver.go_back(name)

    @property
    def turnover(self) -> float:
        """What the load less PV and what is given beside it would cost or earn at its prices, each step counted
        positive."""
        return self._turnover * self.dearest

    def worth_per_kw(self) -> np.ndarray:
        """(n,) what one kW more, from nowhere, would save in each step, in the tariff's currency."""
        return self._solver.row_prices()[: len(self._step_s)] * self.dearest


def dearest_price(storage: Storage, inputs: Inputs) -> float:
    """What the penalties are multiples of: the dearest kWh that anything here could cost, whatever share of the demand
    charge a plan has to earn: the reserve is not worth less at the beginning of a month."""
    prices = (inputs.energy_price_per_kwh, inputs.export_price_per_kwh, inputs.stored_value_per_kwh)
    dearest = max(float(np.max(np.abs(price))) for price in prices)
    genset = storage.genset
    if genset:
        # A set may turn for next to nothing; a kWh of it is dear then, but is not what the penalties are measured by.
        few_w = max(genset.least_w, _FEW * genset.rated_w)
        dearest = max(dearest, genset.cost_per_kwh + 1000 * genset.idle_cost_per_h / few_w)
    return dearest + storage.wear_cost_per_kwh + storage.demand_charge_per_kw + 1e-3
