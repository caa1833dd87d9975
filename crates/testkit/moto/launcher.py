"""Starts moto on a free loopback port, says which one, and ends with the process that started it.

Usage: launcher.py [--plain]. One line of JSON on stdout: {"port": 12345}. Everything else goes to
stderr. The end of stdin means that the parent is gone. `--plain` leaves moto as it was published:
the canary tests look at that one.
"""

import json
import os
import sys
import threading

from werkzeug.serving import make_server

# Imported before the port is told: the first call should not pay for them.
import moto.autoscaling.models
import moto.ec2.models
import moto.elbv2.models
import moto.iam.models
import moto.s3.models
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)


class QuietHandler(MotoRequestHandler):
    """Werkzeug's line per request is left out: the front records the calls."""

    def log_request(self, code="-", size="-"):
        pass


def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)


def main():
    if "--plain" not in sys.argv:
        import mends

        mends.apply()
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    # Cuts at 128 waiting connections by default; a test may open more at once.
    server.socket.listen(1024)
    # moto calls itself in some places and wants to know where.
    os.environ["MOTO_PORT"] = str(server.server_port)
    threading.Thread(target=end_with_parent, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()


main()
