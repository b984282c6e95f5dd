"""Load and PV forecasts as quantiles, and how good they are."""
