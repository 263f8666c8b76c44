"""Says which random models were made, so that a failure can be repeated."""

import os

SEED = int(os.environ.get("BERTSCRIPT_SEED") or int.from_bytes(os.urandom(4), "big"))


def pytest_report_header():
    return f"random models of BERTSCRIPT_SEED={SEED}"
