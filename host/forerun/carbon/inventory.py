"""What a battery holds, with the carbon that it was charged with: weighted average, FIFO or LIFO."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

AVERAGE, FIFO, LIFO = METHODS = ("weighted average", "FIFO", "LIFO")
ZERO = Decimal(0)


class Drawn(NamedTuple):
    """What a discharge carried: grams, AC Wh from PV, AC Wh that were carbon-free, AC Wh that the books do not hold."""

    grams: Decimal
    green_wh: Decimal
    clean_wh: Decimal
    missing_wh: Decimal


NOTHING = Drawn(ZERO, ZERO, ZERO, ZERO)


@dataclass(slots=True)
class Lot:
    """Energy behind the charger with its carbon; green_wh of it from PV, clean_wh of it carbon-free."""

    energy_wh: Decimal
    carbon_g: Decimal
    green_wh: Decimal
    clean_wh: Decimal


@dataclass(slots=True)
class Store:
    """The inventory of a battery. charge and discharge are AC energy. Always: in_g = out_g + carbon_g.

    The weighted average keeps one lot; FIFO and LIFO keep one per charge, the oldest first.
    """

    efficiency_charge: Decimal
    efficiency_discharge: Decimal
    method: str = AVERAGE
    lots: list[Lot] = field(default_factory=list)
    in_g: Decimal = ZERO
    out_g: Decimal = ZERO

    @property
    def energy_wh(self) -> Decimal:
        return sum((lot.energy_wh for lot in self.lots), ZERO)

    @property
    def carbon_g(self) -> Decimal:
        return sum((lot.carbon_g for lot in self.lots), ZERO)

    @property
    def green_wh(self) -> Decimal:
        return sum((lot.green_wh for lot in self.lots), ZERO)

    def charge(self, wh: int | Decimal, g_per_kwh: Decimal, green: Decimal, clean: Decimal | None = None) -> None:
        """Take in AC energy of that intensity, green (PV) and carbon-free share: its losses stay behind, their carbon
        comes along."""
        if wh:
            self._put(self.efficiency_charge * wh, wh * g_per_kwh / 1000, green, green if clean is None else clean)

    def put_stored(self, wh: Decimal, g_per_kwh: Decimal, green: Decimal) -> None:
        """Energy that is in the battery already, at the intensity of what it would deliver."""
        if wh:
            self._put(wh, wh * self.efficiency_discharge * g_per_kwh / 1000, green, green)

    def discharge(self, wh: int | Decimal) -> Drawn:
        """What this AC energy carried. The books are not overdrawn."""
        wanted, place = wh / self.efficiency_discharge, -1 if self.method == LIFO else 0
        grams = green = clean = ZERO
        if not any(lot.energy_wh for lot in self.lots):
            return Drawn(ZERO, ZERO, ZERO, Decimal(wh))  # carbon of energy that was lost waits for the next charge
        while wanted > 0 and self.lots:
            lot = self.lots[place]
            if wanted >= lot.energy_wh:
                taken = lot
                self.lots.pop(place)
            else:
                share = wanted / lot.energy_wh
                taken = Lot(wanted, share * lot.carbon_g, share * lot.green_wh, share * lot.clean_wh)
                lot.energy_wh -= taken.energy_wh
                lot.carbon_g -= taken.carbon_g
                lot.green_wh -= taken.green_wh
                lot.clean_wh -= taken.clean_wh
            wanted -= taken.energy_wh
            grams, green, clean = grams + taken.carbon_g, green + taken.green_wh, clean + taken.clean_wh
        self.out_g += grams
        efficiency = self.efficiency_discharge
        return Drawn(grams, green * efficiency, clean * efficiency, wanted * efficiency)

    def lose(self, wh: Decimal) -> None:
        """Standby loss: the energy goes from every lot alike, its carbon stays with what is left."""
        energy_wh = self.energy_wh
        if energy_wh <= 0:
            return
        left = 1 - wh / energy_wh
        for lot in self.lots:
            lot.energy_wh *= left
            lot.green_wh *= left
            lot.clean_wh *= left

    def _put(self, energy_wh: Decimal, carbon_g: Decimal, green: Decimal, clean: Decimal) -> None:
        self.in_g += carbon_g
        new = Lot(energy_wh, carbon_g, energy_wh * green, energy_wh * clean)
        if self.method == AVERAGE and self.lots:
            lot = self.lots[0]
            lot.energy_wh += new.energy_wh
            lot.carbon_g += new.carbon_g
            lot.green_wh += new.green_wh
            lot.clean_wh += new.clean_wh
        else:
            self.lots.append(new)
