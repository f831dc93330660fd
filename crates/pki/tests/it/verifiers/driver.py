"""Feeds cases (one JSON object per line) to the Python sample; prints `ok` or `refused: <why>` for each.
REFETCH_SECS in the environment replaces the sample's pause between two fetches of the keys."""

import json
import os
import sys

sys.path.insert(0, sys.argv[1])
import verify_assertion  # noqa: E402
from verify_assertion import Refused, Verifier  # noqa: E402

verify_assertion.REFETCH_SECS = float(os.environ.get("REFETCH_SECS", verify_assertion.REFETCH_SECS))
verifier = Verifier(*sys.argv[2:5])
for line in sys.stdin:
    case = json.loads(line)
    try:
        claims = verifier.verify(case["assertion"], case["method"], case["authority"], case["target"])
        print("ok", claims["sub"], flush=True)
    except Refused as refused:
        print("refused:", refused, flush=True)
