"""The emulated site: an independent oracle of inverter, battery, meters, feeder, servers and PV."""
