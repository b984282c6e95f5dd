"""`python -m forerun_verify report.json --journal journal.forerun`: exit status 0 when everything holds, 1 when not."""

import argparse
import sys
from pathlib import Path

from forerun_verify.check import Known, verify


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="forerun_verify", description=verify.__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--factors", type=Path, required=True, help="the factor table that the report names")
    parser.add_argument("--key", default="", help="the site's public key in hex; without it, the journal's first one")
    parser.add_argument("--record-key", action="append", default=[], help="a board's record key in hex")
    parser.add_argument("--commitment", default="", help="SHA-256 of the record key in hex, as noted at commissioning")
    parser.add_argument("--tsa-root", type=Path, help="root certificate of the timestamp authority, PEM")
    given = parser.parse_args(arguments)
    try:
        verdict = verify(given.report, given.journal, given.factors,
                         Known(given.key, tuple(given.record_key), given.commitment, given.tsa_root))  # fmt: skip
    except OSError as error:
        print(f"forerun_verify: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    for line in verdict.checked:
        print(f"ok: {line}")
    for line in verdict.notes:
        print(f"note: {line}")
    for line in verdict.findings:
        print(f"WRONG: {line}")
    return 1 if verdict.findings else 0


if __name__ == "__main__":
    sys.exit(main())
