"""A time-stamping authority on loopback: ``openssl ts`` behind HTTP."""

import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONFIG = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = Test TSA
[ext]
extendedKeyUsage = critical,timeStamping
keyUsage = critical,digitalSignature
[tsa]
default_tsa = here
[here]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
"""


class Authority:
    def __init__(self, folder):
        self.folder = folder
        self.lies = ""
        """What it does wrong: ``old`` answers the first request's token for ever."""
        self._first = b""
        (folder / "tsa.cnf").write_text(CONFIG)
        (folder / "serial").write_text("01\n")
        self.run(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "tsa.key", "-out",
            "tsa.pem", "-days", "2", "-config", "tsa.cnf", "-extensions", "ext",
        )  # fmt: skip

    def run(self, *words):
        return subprocess.run(
            ["openssl", *words], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout

    def answer(self, query):
        (self.folder / "q.tsq").write_bytes(query)
        self.run(
            "ts", "-reply", "-config", "tsa.cnf", "-section", "here", "-queryfile", "q.tsq",
            "-signer", "tsa.pem", "-inkey", "tsa.key", "-out", "r.tsr",
        )  # fmt: skip
        reply = (self.folder / "r.tsr").read_bytes()
        self._first = self._first or reply
        return self._first if self.lies == "old" else reply


@contextmanager
def http_server(answer, kind="application/timestamp-reply"):
    """``answer(headers, body) -> (status, body)``; the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, reply = answer(self.headers, body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
