"""How a secret could be written down by somebody who did not mean to hide it."""

import base64
import hashlib
import json
import urllib.parse


def forms(secret: str) -> set[bytes]:
    """Octets of which any tells the secret, or lets a guess at it be checked."""
    raw = secret.encode()
    found = {
        raw,
        raw.hex().encode(),
        urllib.parse.quote(secret).encode(),
        urllib.parse.quote(secret, safe="").encode(),
        urllib.parse.quote_plus(secret).encode(),
        json.dumps(secret).encode(),
        secret.replace("~", "~0").replace("/", "~1").encode(),  # in a JSON pointer
        hashlib.sha256(raw).digest(),
        hashlib.sha256(raw).hexdigest().encode(),
        secret.encode("utf-16-le"),
        raw[::-1],
    }
    for shift in range(3):
        # The part of the base64 that depends on the secret alone, at each alignment.
        found.add(base64.b64encode(b"x" * shift + raw)[4:-4])
    return found
