"""The stored description of the REST API: `python -m tests.openapi` writes docs/openapi.json anew."""

import json
from pathlib import Path

from forerun.web.app import application
from forerun.web.asking import Parts

FILE = Path(__file__).parents[1] / "docs" / "openapi.json"


def described() -> dict:
    """What the application says of itself."""
    return application(Parts(*[None] * 8)).openapi()


if __name__ == "__main__":
    FILE.write_text(json.dumps(described(), indent=1, ensure_ascii=False) + "\n")
