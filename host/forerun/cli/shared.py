"""What commands share: options by name, and one way to print JSON."""

import json
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")]
SitePath = Annotated[Path, typer.Option("--site", help="The site file.", show_default=True)]


def print_json(result: dict) -> None:
    print(json.dumps(result, ensure_ascii=False, sort_keys=True))
