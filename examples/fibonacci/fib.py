"""Fibonacci numbers by asking one's own other instances: who they are and on which port, DNS says (SRV, RFC 2782)."""

import json
import random
import signal
import socket
import struct
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RESOLVER = ("127.0.0.11", 53)
PORT = 8000
SERVICE = f"_{PORT}._tcp.fib"
SRV = 33

# As process 1 of a container Python would ignore the stop signal.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def name_at(message, place):
    """The name at `place`, and where it ends there: names may point back into the message."""
    labels, end = [], None
    while message[place]:
        length = message[place]
        if length >= 0xC0:
            end = end or place + 2
            place = struct.unpack_from("!H", message, place)[0] & 0x3FFF
            continue
        labels.append(message[place + 1 : place + 1 + length].decode())
        place += 1 + length
    return ".".join(labels), end or place + 1


def instances():
    """`(name, port)` of every healthy instance."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in SERVICE.split("."))
    number = random.randrange(65536)
    question = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, SRV, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.settimeout(5)
        resolver.sendto(question, RESOLVER)
        answer = resolver.recv(4096)
    questions, answers = struct.unpack_from("!2H", answer, 4)
    place, found = 12, []
    for _ in range(questions):
        place = name_at(answer, place)[1] + 4
    for _ in range(answers):
        place = name_at(answer, place)[1]
        kind, length = struct.unpack_from("!H6xH", answer, place)
        place += 10
        if kind == SRV:
            port = struct.unpack_from("!H", answer, place + 4)[0]
            found.append((name_at(answer, place + 6)[0], port))
        place += length
    return found


def ask(number):
    name, port = random.choice(instances())
    with urllib.request.urlopen(f"http://{name}:{port}/{number}", timeout=20) as reply:
        return json.load(reply)


def fibonacci(number):
    """The number and the hosts that worked on it."""
    host = socket.gethostname()
    if number < 2:
        return {"fibonacci": number, "hosts": [host]}
    one, other = ask(number - 1), ask(number - 2)
    hosts = sorted({host, *one["hosts"], *other["hosts"]})
    return {"fibonacci": one["fibonacci"] + other["fibonacci"], "hosts": hosts}


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(fibonacci(int(self.path.strip("/") or 0))).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("", PORT), Page).serve_forever()
