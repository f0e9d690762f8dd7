"""The test's side of the preloaded shim: turns a node's faults on and off, orders its end at a certain call, and takes away what a
power loss takes. shim.cpp has the layout."""

import mmap
import os
import pathlib
import struct

FILES_AT, FILE, MAX_FILES = 4096, struct.Struct("<88sQQQQQQ"), 2048
SIZE = FILES_AT + FILE.size * MAX_FILES
SECTOR = 512
SWITCHES = {"sync_stall_ms": 8, "fail_sync": 12, "no_space": 16, "fail_reads": 20, "low_space": 24, "lying": 28}
COUNTS = {"syncs_failed": 32, "writes_failed": 36, "reads_failed": 40, "syncs_stalled": 44}
END_AT, ENDED_AT = 48, 52
POINTS = ("none", "before write", "after write", "after sync", "after send", "after apply", "write fails", "sync fails")


class control:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        with open(self.path, "w+b") as f:
            f.truncate(SIZE)
            self.map = mmap.mmap(f.fileno(), SIZE)

    def environment(self, library, data):
        return {"LD_PRELOAD": str(library), "CHAOS_CONTROL": str(self.path), "CHAOS_DATA": str(data)}

    def set(self, **switches):
        for name, value in switches.items():
            struct.pack_into("<I", self.map, SWITCHES[name], int(value))

    def get(self, name):
        return struct.unpack_from("<I", self.map, SWITCHES[name])[0]

    def count(self, name):
        return struct.unpack_from("<I", self.map, COUNTS[name])[0]

    def set_clock(self, seconds):
        struct.pack_into("<q", self.map, 0, int(seconds * 1e9))

    def order_end(self, point, text):
        """It ends at this point of the first write to a log that holds the text."""
        struct.pack_into("<II40s", self.map, END_AT, 0, 0, text.encode())
        struct.pack_into("<I", self.map, END_AT, POINTS.index(point))

    def ended_at(self):
        return POINTS[struct.unpack_from("<I", self.map, ENDED_AT)[0]]

    def clear(self):
        self.set(**{name: 0 for name in SWITCHES})
        struct.pack_into("<II", self.map, END_AT, 0, 0)
        self.set_clock(0)

    def forget_files(self):
        self.map[FILES_AT:SIZE] = bytes(SIZE - FILES_AT)

    def files(self):
        """(name, bytes synced, the two places of which memory holds more than the disk: written over since, and left by a sync that failed;
        whether its name was synced) of each file that the node wrote."""
        for i in range(MAX_FILES):
            name, synced, dirty, dirty_end, gone, gone_end, named = FILE.unpack_from(self.map, FILES_AT + i * FILE.size)
            name = name.rstrip(b"\0").decode()
            if name:
                yield name, synced, ((dirty, min(dirty_end, synced)), (gone, min(gone_end, synced))), bool(named)

    def lose_unsynced(self, data, random):
        """What a power loss leaves: of each file what was synced and, of the rest, as much as happened to reach the disk: of its end a
        part, of a place that is newer in memory some sectors, the others as zeros, which is what a segment of a log is filled with;
        files whose directory was never synced may be gone. To be called when the process is. The bytes lost."""
        lost = 0
        for name, synced, places, named in self.files():
            path = pathlib.Path(data) / name
            if not path.is_file():
                continue
            size = path.stat().st_size
            if not named and random.random() < 0.5:
                path.unlink()
                lost += size
            elif size > synced:
                kept = synced if random.random() < 0.5 else random.randint(synced, size)
                os.truncate(path, kept)
                lost += size - kept
            for at, end in places:
                if not path.is_file() or at >= end:
                    continue
                kept = random.choice((0, 0.3, 0.7, 1))
                with open(path, "r+b") as f:
                    while at < end:
                        sector = min(end, (at // SECTOR + 1) * SECTOR)
                        if random.random() >= kept:
                            f.seek(at)
                            f.write(bytes(sector - at))
                            lost += sector - at
                        at = sector
        self.forget_files()
        return lost
