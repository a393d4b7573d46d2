"""``python -m benchmarks [hot|login|start|server|all] [--quick] [--json FILE]``."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

_PARTS = ("start", "hot", "server", "login", "saml")


def main() -> int:
    """Run the parts, print each as it is done; exit 1 when a figure is over its budget."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(_PARTS)} or all (the default)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds, for a first look")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write every figure there ('-': to stdout)")
    given = parser.parse_args()
    unknown = set(given.parts) - {*_PARTS, "all"}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    chosen = [part for part in _PARTS if part in given.parts or not given.parts or "all" in given.parts]
    to_stdout = given.json is not None and str(given.json) == "-"
    shown = sys.stderr if to_stdout else sys.stdout
    began, documents = time.monotonic(), []
    over: list[str] = []
    for name in chosen:
        for part in importlib.import_module(f"benchmarks.{name}").run(quick=given.quick):
            print(part.text(), file=shown, flush=True)
            documents.append({"part": name, **part.as_dict()})
            over += [f"{row.name}: {row.judged}, budget {row.budget}" for row in part.rows if row.verdict == "OVER"]
    print(f"\n{len(over)} over budget, {time.monotonic() - began:.0f} s", *over, sep="\n  ", file=shown)
    if given.json is not None:
        text = json.dumps({"quick": given.quick, "parts": documents}, indent=2, ensure_ascii=False)
        if to_stdout:
            print(text)
        else:
            given.json.write_text(text + "\n")
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
