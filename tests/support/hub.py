"""A stand-in of the Hugging Face Hub on this machine: repositories, and commits of files."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StandInHub:
    """What it was asked, and what it answers."""

    endpoint: str = ""
    status: int | None = None
    """Answered to every request in place of the right one."""
    status_of_commits: int | None = None
    repositories: dict[str, bool] = field(default_factory=dict)
    """Name -> is it private."""
    commits: list[dict[str, Any]] = field(default_factory=list)
    """`repository`, `summary` and `files` (path -> bytes) of each."""
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, token: str, body: bytes) -> tuple[int, Any]:
        path = path.partition("?")[0]
        if not path.startswith(("/api/repos/", "/api/models/", "/api/validate-yaml")):
            # What the client asks for on its own account.
            return 404, {"error": "not found"}
        self.requests.append(f"{method} {path}")
        self.tokens.add(token)
        if self.status:
            return self.status, {"error": "refused"}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"warnings": [], "errors": []}
        parts = path.removeprefix("/api/models/").split("/")
        name = "/".join(parts[:2])
        if name not in self.repositories:
            return 404, {"error": "not found"}
        if parts[2:3] == ["preupload"]:
            files = json.loads(body)["files"]
            modes = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in files
            ]
            return 200, {"files": modes}
        if parts[2:3] == ["commit"]:
            return self._commit(name, body)
        return 200, {"id": name, "modelId": name, "private": self.repositories[name], "tags": []}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repositories:
            return 409, {"error": "it is there", "url": f"{self.endpoint}/{name}"}
        # Newer versions of the client name the visibility.
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.repositories[name] = private
        return 200, {"url": f"{self.endpoint}/{name}"}

    def _commit(self, name: str, body: bytes) -> tuple[int, Any]:
        if self.status_of_commits:
            return self.status_of_commits, {"error": "try later"}
        lines = [json.loads(line) for line in body.splitlines()]
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        (header,) = (line["value"] for line in lines if line["key"] == "header")
        self.commits.append({"repository": name, "summary": header["summary"], "files": files})
        number = f"{len(self.commits):040x}"
        url = f"{self.endpoint}/{name}/commit/{number}"
        return 200, {"success": True, "commitOid": number, "commitUrl": url}


@contextmanager
def stand_in_hub() -> Iterator[StandInHub]:
    hub = StandInHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "")
            status, found = hub.answer(self.command, self.path, token, body)
            sent = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = respond  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
