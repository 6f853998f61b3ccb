"""Where things lie in a checkout, for tests in any room."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
EXAMPLES = TESTS / "examples"
GOLDEN = TESTS / "golden"
SUPPORT = TESTS / "support"
