"""Forerun host: load tracking, forecast, dispatch, carbon ledger and command line of a site controller."""

__version__ = "0.1.0"
