"""Starts moto on a free loopback port, says which one, and ends with the process that started it.

Usage: launcher.py [--plain]. One line of JSON on stdout: {"port": 12345}. Everything else goes to
stderr. The end of stdin means that the parent is gone. `--plain` leaves moto as it was published:
the canary tests look at that one.
"""

import functools
import gc
import json
import os
import signal
import stat
import sys
import threading

from werkzeug.serving import make_server

import botocore.session
import moto.backends
import moto.core.responses
import moto.core.routing
import moto.core.utils

# Imported before the port is told: the first call should not pay for them.
import moto.autoscaling.models
import moto.ec2.exceptions
import moto.ec2.models
import moto.elbv2.models
import moto.iam.models
import moto.kms.models
import moto.s3.models
from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)


def look_once():
    """What does not change while a server runs is looked up once; moto does so at each request, or each error."""
    modules = tuple(moto.backends.list_of_moto_modules())
    moto.backends.list_of_moto_modules = lambda: modules
    by_host = functools.lru_cache(maxsize=1024)(DomainDispatcherApplication.get_backend_for_host)
    DomainDispatcherApplication.get_backend_for_host = lambda self, host: by_host(self, host)
    moto.core.responses.method_names_from_class = functools.cache(moto.core.utils.method_names_from_class)
    services = {name.replace("-", ""): name for name in botocore.session.Session().get_available_services()}
    moto.core.utils.service_name_from_moto_package_name = lambda package: services.get(package, package)
    make = BackendDict._create_account_specific_backend

    def once(self, account_id):
        # It compares this service with all others, at each look at what an account has.
        if not dict.__contains__(self, account_id):
            make(self, account_id)

    BackendDict._create_account_specific_backend = once


def make_once():
    """What each copy of a server would make again for its first call."""
    for service in ("s3", "route53"):
        moto.core.routing.get_service_router(service)._get_router("rest-xml")
    generate = moto.kms.models.generate_private_key
    # One that encrypts volumes signs nothing, and RSA takes long.
    moto.kms.models.generate_private_key = lambda spec: None if spec == "SYMMETRIC_DEFAULT" else generate(spec)


def newest_first():
    """Who makes a machine looks for it at once, and moto goes through all that there are: thousands take for ever."""

    def get_instance(self, instance_id):
        for reservation in reversed(list(self.reservations.values())):
            for instance in reversed(reservation.instances):
                if instance.id == instance_id:
                    return instance
        raise moto.ec2.exceptions.InvalidInstanceIdError(instance_id)

    moto.ec2.models.instances.InstanceBackend.get_instance = get_instance


class QuietHandler(MotoRequestHandler):
    """Werkzeug's line per request is left out: the front records the calls."""

    def log_request(self, code="-", size="-"):
        pass


def listening(app):
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    # Cuts at 128 waiting connections by default; a test may open more at once.
    server.socket.listen(1024)
    # moto calls itself in some places and wants to know where.
    os.environ["MOTO_PORT"] = str(server.server_port)
    return server


def say_port(server):
    print(json.dumps({"port": server.server_port}), flush=True)


def obey(app):
    """What the parent says, until it is gone."""
    while line := sys.stdin.buffer.readline():
        if line == b"copy\n":
            # What is there now stays: no copy looks through it for garbage, which would give it all its pages anew.
            gc.freeze()
            if os.fork() == 0:
                be_copy(app)
    os._exit(0)


def be_copy(app):
    """A server of its own. All that the fork left running is this thread."""
    original = os.getppid()
    server = listening(app)
    # Connections of the original are its own: here they would only be kept open.
    keep = {0, 1, 2, server.socket.fileno()}
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in keep and is_socket(number):
            os.close(number)
    say_port(server)
    lifeline, _ = server.socket.accept()
    threading.Thread(target=end_with, args=(lifeline, original), daemon=True).start()
    server.serve_forever()


def is_socket(number):
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False


def end_with(lifeline, original):
    lifeline.settimeout(1)
    while os.getppid() == original:
        try:
            lifeline.recv(1)
            break
        except TimeoutError:
            continue
    os._exit(0)


def main():
    # Copies are nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if "--plain" not in sys.argv:
        import mends

        mends.apply()
    look_once()
    make_once()
    newest_first()
    app = DomainDispatcherApplication(create_backend_app)
    server = listening(app)
    threading.Thread(target=obey, args=(app,), daemon=True).start()
    say_port(server)
    server.serve_forever()


main()
