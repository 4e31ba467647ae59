# SPDX-License-Identifier: Apache-2.0
"""A program that is no gateway: listens on a Unix socket, answers each client the same bytes, or hangs up.
Its pid goes to descriptor 3 once it listens."""
import os
import socket
import sys

path, text = sys.argv[1], sys.argv[2].encode().decode('unicode_escape').encode()
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(8)
os.write(3, b'%d\n' % os.getpid())
while True:
    client, _ = server.accept()
    client.recv(65536)
    if text:
        client.sendall(text)
    client.close()
