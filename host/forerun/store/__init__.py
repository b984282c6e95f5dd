"""What is kept of a site: the journal, telemetry at rest, entries by people, backups, exports."""
