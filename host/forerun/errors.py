"""What can go wrong in the world outside, as sentences for the person who meets it."""


class Trouble(Exception):
    """Not the program's fault: the message says what happened, where, and what to do. Exit status 1.

    `part`: what of a running site's parts is concerned, like mqtt.password_file, when its remedy is not that of the
    part itself (forerun.site.alarms)."""

    def __init__(self, sentence: str = "", *, part: str = ""):
        super().__init__(sentence)
        self.part = part


class WrongUsage(Trouble):
    """The person has to change what was asked or written: a key, a value, a path. Exit status 2."""
