"""Which functions there are: the services of the stack whose containers are labelled so, asked of the engine's API."""

import http.client
import json
import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

SOCKET = "/run/docker.sock"
STACK = os.environ["STACK"]

# As process 1 of a container Python would ignore the stop signal.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


class Engine(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def functions():
    filters = json.dumps({"label": [f"com.docker.stack.namespace={STACK}"]})
    engine = Engine("engine")
    engine.request("GET", f"/v1.44/services?filters={quote(filters)}")
    specs = [service["Spec"] for service in json.load(engine.getresponse())]
    is_function = lambda spec: "function" in spec["TaskTemplate"]["ContainerSpec"]["Labels"]
    return sorted(spec["Name"].split("_", 1)[1] for spec in specs if is_function(spec))


class Provider(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(functions()).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("", 8080), Provider).serve_forever()
