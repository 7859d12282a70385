"""The door: /function/NAME goes to the service of that name, /system/functions to the provider."""

import os
import signal
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROVIDER = os.environ["functions_provider_url"]

# As process 1 of a container Python would ignore the stop signal.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


class Gateway(BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def forward(self, url, body=None):
        try:
            with urllib.request.urlopen(url, body, timeout=10) as reply:
                self.answer(reply.status, reply.read())
        except (urllib.error.URLError, OSError) as error:
            self.answer(502, f"{error}\n".encode())

    def do_GET(self):
        if self.path == "/system/functions":
            self.forward(PROVIDER)
        else:
            self.answer(404, b"not found\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, kind, *name = self.path.split("/")
        if kind == "function" and name:
            self.forward(f"http://{name[0]}:8080/cgi-bin/call", body)
        else:
            self.answer(404, b"not found\n")

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("", 8080), Gateway).serve_forever()
