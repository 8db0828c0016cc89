"""Where the files of the repository are that tests read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
WIRE = ROOT / "tests" / "wire"
