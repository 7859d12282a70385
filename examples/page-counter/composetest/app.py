"""A page that says how often it was seen; the count lives in Redis, so it outlives this process."""

import signal
import sys
import time

import redis
from flask import Flask

ATTEMPTS = 5
PAUSE_SECONDS = 0.5

# As process 1 of a container Python would ignore the stop signal.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

app = Flask(__name__)
store = redis.Redis(host="redis", port=6379)


def count_one_more():
    """Redis may still be starting, or be away for a moment: try a few times before giving up."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return store.incr("hits")
        except redis.exceptions.ConnectionError:
            if attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE_SECONDS)


@app.route("/")
def page():
    return f"Hello World! I have been seen {count_one_more()} times.\n"
