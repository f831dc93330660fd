"""Feeds cases (one JSON object per line) to the Python sample; prints `ok` or `refused: <why>` for each."""

import json
import sys

sys.path.insert(0, sys.argv[1])
from verify_assertion import Refused, Verifier  # noqa: E402

verifier = Verifier(*sys.argv[2:5])
for line in sys.stdin:
    case = json.loads(line)
    try:
        claims = verifier.verify(case["assertion"], case["method"], case["authority"], case["target"])
        print("ok", claims["sub"], flush=True)
    except Refused as refused:
        print("refused:", refused, flush=True)
