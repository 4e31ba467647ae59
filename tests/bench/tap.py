# SPDX-License-Identifier: Apache-2.0
"""A TCP relay that notes when which bytes came from the client: stands before an infrastructure's
API to see when a call arrives there."""
import selectors
import socket
import threading
import time
import urllib.parse


class Tap:
    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.target = (parts.hostname, parts.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.seen = []
        self.ending = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def accept(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(self.target)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(client, selectors.EVENT_READ, (server, True))
        self.selector.register(server, selectors.EVENT_READ, (client, False))

    def pass_on(self, sock, other, from_client):
        now = time.monotonic()
        data = b""
        try:
            data = sock.recv(65536)
            if data:
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (sock, other):
                if end.fileno() >= 0:
                    self.selector.unregister(end)
                    end.close()
        elif from_client:
            self.seen.append((now, data[:200]))

    def run(self):
        while not self.ending:
            for key, _ in self.selector.select(0.2):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj.fileno() >= 0:
                    self.pass_on(key.fileobj, *key.data)

    def first_since(self, when, *but):
        for at, data in list(self.seen):
            if at >= when and not any(data.startswith(start) for start in but):
                return at
        return None

    def close(self):
        self.ending = True
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
