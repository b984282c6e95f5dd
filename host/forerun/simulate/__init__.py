"""A day, a surge and a year of a site, played with and without the controller."""
