#!/usr/bin/env python3
"""Identity and boot epoch are durable before the first packet leaves (docs/membership.md 1). A node with one seed, which is this script,
ends itself by the preloaded shim around the write that holds its identity, or the next boot epoch: nothing may have come by then. Then
it may start, and loses its power as soon as the first packet has come: the identity in that packet is still its own afterwards.

usage: COTERIE=path/to/coterie CHAOS_SHIM=path first_packet.py"""

import os
import pathlib
import random
import select
import socket
import struct
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "integration"))

import shim
from nodes import check, cluster, eventually, finish


class seed:
    """An address at which somebody only listens, by UDP and TCP."""

    def __init__(self):
        self.tcp = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.streams = []

    def heard(self, seconds=0.0):
        """What has come: the bytes of the first packet with some in it, b"" for a stream that says nothing; None = nothing at all."""
        anything = None
        while ready := select.select([self.udp, self.tcp, *self.streams], [], [], seconds)[0]:
            for s in ready:
                if s is self.tcp:
                    self.streams.append(s.accept()[0])
                    anything = b""
                elif data := s.recv(65536):
                    return data
                else:
                    self.streams.remove(s)
        return anything

    def close(self):
        for s in (self.tcp, self.udp, *self.streams):
            s.close()


class shimmed(cluster):
    def __init__(self, folder, seeds):
        super().__init__(folder, "a")
        self.seeds = seeds
        self.shim = shim.control(self.folder / "a.shim")

    def environment(self, name):
        return dict(os.environ, **self.shim.environment(os.environ["CHAOS_SHIM"], self.folder / name))

    def status(self):
        return eventually(lambda: self.json("a", "status"), 20) or {}


def dies(c, point, text):
    """It starts, and ends itself at that point of the write with this text; what its seed has heard then."""
    listening = seed()
    c.seeds = f"127.0.0.1:{listening.port}"
    c.shim.order_end(point, text)
    c.start("a")
    c.nodes["a"].wait(30)
    what = listening.heard()
    check(f"it ends {point} of the {text}", c.shim.ended_at() == point, (c.shim.ended_at(), c.nodes["a"].returncode))
    c.shim.clear()
    listening.close()
    return what


def speaks(c):
    """The first packet of a node that starts; when it has come, the power goes."""
    listening = seed()
    c.seeds = f"127.0.0.1:{listening.port}"
    c.start("a")
    packet = eventually(lambda: listening.heard(0.1), 30)
    c.kill("a")
    c.shim.lose_unsynced(c.folder / "a", random.Random(2))
    listening.close()
    return packet or b""


def has(packet, identity):
    return all(struct.pack("<Q", int(half, 16)) in packet for half in (identity[:16], identity[16:]))


def main():
    with tempfile.TemporaryDirectory() as folder:
        c = shimmed(folder, "")
        try:
            for point in ("before write", "after write"):
                check(f"nothing was sent {point} of the identity", dies(c, point, "identity") is None)
            packet = speaks(c)
            check("then it speaks", packet)
            for point in ("before write", "after write"):
                check(f"nothing was sent {point} of a boot epoch", dies(c, point, "boot_epoch") is None)
            again = speaks(c)
            check("then it speaks again", again)
            c.start("a")
            s = c.status()
            check("whoever spoke is the same node after the power was lost", s and has(packet, s["node_id"]) and has(again, s["node_id"]), s)
            check("each start that was heard has a boot epoch of its own", s.get("boot", 0) >= 3, s.get("boot"))
        finally:
            c.end()
    finish()


if __name__ == "__main__":
    main()
