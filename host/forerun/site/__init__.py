"""A running site: the service, what its viewers see, its alarms, its doctor."""
