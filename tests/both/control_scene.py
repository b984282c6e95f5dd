"""A controller with a site that can be set by hand, and tables of ticks: inputs, then the outputs they must give."""

from forerun_board.control.config import Config
from forerun_board.control.controller import Controller
from forerun_board.control.image import INVERTER_RUNNING, Image


class Scene:
    """Healthy by default: all is measured in each tick, the inverter runs, the host lives. `image` keeps its values."""

    def __init__(self, **settings):
        self.config = Config()
        self.config.pv_meter_unit = 0
        self.config.genset_meter_unit = 0
        self.config.fallback = 0
        self.config.ramp_w_per_s = 1_000_000
        self.set(**settings)
        self.image = Image()
        self.controller = Controller(self.config)
        self.silent = ()  # names of the ages that no measurement resets
        image = self.image
        image.pcc_voltage_mv = 230_000
        image.frequency_millihz = 50_000
        image.inverter_state = INVERTER_RUNNING
        image.soc_permille = 500
        image.charge_max_w = 30_000
        image.discharge_max_w = 30_000

    def set(self, **settings):
        for name in settings:
            assert hasattr(self.config, name), name
            setattr(self.config, name, settings[name])

    def tick(self, dt_ms=50, **inputs):
        """One round; `inputs` are attributes of the image. The controller, after its decision."""
        image = self.image
        image.begin(dt_ms)
        for name in inputs:
            assert hasattr(image, name), name
            setattr(image, name, inputs[name])
        for name in ("pcc_age_ms", "inverter_age_ms", "battery_age_ms", "pv_age_ms", "genset_age_ms", "host_age_ms"):
            if name not in self.silent:
                setattr(image, name, 0)
        self.controller.step(image)
        return self.controller

    def play(self, names, rows):
        """Rows of (dt_ms, inputs..., "->", outputs...) under `names`, which is split alike."""
        ins, outs = [part.split() for part in names.split("->")]
        for number, row in enumerate(rows):
            at = row.index("->")
            inputs = {}
            for i in range(1, at):
                inputs[ins[i]] = row[i]
            controller = self.tick(row[0], **inputs)
            for i in range(len(outs)):
                got = getattr(controller, outs[i])
                assert got == row[at + 1 + i], "row %d: %s = %s, not %s" % (number, outs[i], got, row[at + 1 + i])

    def events(self):
        """(code, value, limit) of all events since the last call."""
        found = []
        ring = self.controller.events
        while ring.pop():
            found.append((ring.code, ring.value, ring.limit))
        return found

    def codes(self):
        return [event[0] for event in self.events()]
