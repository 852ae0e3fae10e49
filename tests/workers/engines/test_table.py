import subprocess
import sys

CODE = """
import sys
from workers.__main__ import main
try:
    main(["hf", "--help"], {})
finally:
    print({"torch", "transformers"} & set(sys.modules), file=sys.stderr)
"""


def test_help_loads_nothing_heavy() -> None:
    """The help of the heaviest engine comes without its libraries."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert "--model-path" in done.stdout
    assert "set()" in done.stderr
