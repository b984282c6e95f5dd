"""These files run on MicroPython too, where their own folder is on the path (run.py); so it is here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
