"""Where each watt-hour came from and what it emitted."""
