"""Checks a report against its journal, offline. Imports nothing of the software that made the report."""
