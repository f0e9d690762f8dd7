"""The store of record beside the cluster: what holders of a lock write to with their fence, and what caches load from. In memory, over
a unix socket, one line a request. It refuses a fence that is older than the newest one it has seen, as locks.md asks of such stores."""

import socketserver
import threading
import time


class guard(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path):
        self.lock, self.fences, self.versions, self.writes = threading.Lock(), {}, {}, []
        super().__init__(str(path), handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, words):
        with self.lock:
            if words[0] == "write":
                key, fence = words[1], int(words[2])
                newest = self.fences.get(key, 0)
                taken = fence >= newest
                if taken:
                    self.fences[key] = fence
                self.writes.append({"key": key, "fence": fence, "taken": taken, "at": time.monotonic_ns()})
                return f"{'ok' if taken else 'old'} {self.fences[key]}"
            if words[0] == "raise":
                self.versions[words[1]] = self.versions.get(words[1], 0) + 1
            return str(self.versions.get(words[1], 0))


class handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write((self.server.answer(line.decode().split()) + "\n").encode())
