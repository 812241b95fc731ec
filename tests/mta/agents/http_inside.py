"""Run as a script inside a namespace: sends HTTP requests there, and answers what came back."""

import http.client
import json
import sys


def request(port: int, method: str, path: str, token: str, body: object) -> dict[str, object]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    headers = {"Authorization": f"Bearer {token}"}
    content = None
    if body is not None:
        content = json.dumps(body).encode()
        kind = "merge-patch+json" if method == "PATCH" else "json"
        headers["Content-Type"] = f"application/{kind}"
    try:
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        said: dict[str, object] = {"status": answer.status, "text": answer.read().decode()}
    except OSError as error:
        said = {"status": 0, "text": repr(error)}
    connection.close()
    return said


def serve() -> None:
    """Answer the lines of a `Channel`."""
    for line in sys.stdin:
        asked = json.loads(line)
        number = asked.pop("id")
        del asked["verb"]
        sys.stdout.write(json.dumps({"id": number, "answer": request(**asked)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
