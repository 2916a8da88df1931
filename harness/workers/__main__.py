"""The command that runs a worker:

    python -m harness.workers HOST:PORT

calls the driver that waits at that address; with the environment variable ``HARNESS_WORKER_KEY`` each proves to the
other that it is the right one. Whatever starts this command makes a worker: a child process, ``ssh``, ``srun``
(docs/scale.md). ``nursery:N`` in the address's place makes a nursery, asked over the socket N that it inherits.
"""

from __future__ import annotations

import os
import socket
import sys
from multiprocessing.connection import Connection

from harness.workers.nursery import serve_forks
from harness.workers.worker import KEY, prove, serve


def main() -> None:
    """Be what the command line says."""
    # Whatever libraries print is for the person who started the run.
    os.dup2(2, 1)
    who, _, where = sys.argv[1].rpartition(":")
    if who == "nursery":
        serve_forks(int(where), work)
    else:
        work(sys.argv[1])


def work(address: str) -> None:
    """Call the driver and serve it."""
    host, _, port = address.rpartition(":")
    key = bytes.fromhex(os.environ.pop(KEY))
    line = Connection(socket.create_connection((host, int(port)), timeout=None).detach())
    prove(line, key, first=False)
    serve(line)


if __name__ == "__main__":
    main()
