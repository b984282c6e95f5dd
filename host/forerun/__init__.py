"""Forerun host: load tracking, forecast, dispatch, carbon ledger and command line of a site controller."""
