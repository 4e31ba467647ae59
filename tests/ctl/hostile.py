# SPDX-License-Identifier: Apache-2.0
"""Clients of the gateway's socket that mean no good: hostile.py SOCKET PCGCTL. None of them may keep pcgctl out for
longer than silence is borne, or end the gateway."""
import json
import socket
import struct
import subprocess
import sys
import time

path, pcgctl = sys.argv[1:]
SILENCE_S = 10


def dial():
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.settimeout(20)
    return s


def frame(document):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack('>I', len(data)) + data


def answer(s):
    """The next frame, or None when the gateway hangs up."""
    data = b''
    while len(data) < 4 or len(data) < 4 + struct.unpack('>I', data[:4])[0]:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            return None
        if not piece:
            return None
        data += piece
    return json.loads(data[4:4 + struct.unpack('>I', data[:4])[0]])


def status():
    return subprocess.run([pcgctl, '--socket', path, 'status'], capture_output=True, text=True, timeout=30)


def must(condition, what):
    if not condition:
        sys.exit(f'hostile: {what}')


def alive(what):
    r = status()
    must(r.returncode == 0, f'after {what}: {r.returncode} {r.stderr}')


def hangs_up(what, data):
    s = dial()
    try:
        s.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    said = answer(s)
    must(said is None or said['ok'] is False, f'{what} was answered {said}')
    must(said is None or answer(s) is None, f'{what} does not end the conversation')
    s.close()
    alive(what)


hangs_up('an oversized frame', struct.pack('>I', 0x7fffffff) + b'x' * 100000)
hangs_up('a frame over the limit', frame({'op': 'status', 'x': 'x' * 70000}))
hangs_up('an empty frame', struct.pack('>I', 0))
hangs_up('garbage', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
hangs_up('bytes that are no JSON', frame(b'{"op": '))
hangs_up('JSON that is no object', frame(b'[1, 2]'))
hangs_up('deep JSON', frame(b'{"op":' + b'[' * 30000 + b']' * 30000 + b'}'))
for request in {'op': 'no.such'}, {}, {'op': 7}, {'op': 'cluster.show'}, {'op': 'cluster.show', 'cluster': ['x']}, \
        {'op': 'cluster.history', 'cluster': "x' OR 1=1 --"}, {'op': 'cluster.delete', 'cluster': 'one'}:
    s = dial()
    s.sendall(frame(request))
    said = answer(s)
    must(said and said['ok'] is False and said['error']['text'], f'{request} was answered {said}')
    s.sendall(frame({'op': 'status'}))
    must(answer(s)['ok'] is True, f'after {request} the connection is of no use')
    s.close()

s = dial()
s.sendall(frame({'op': 'cluster.watch'}))
must(answer(s)['ok'] is True, 'watch')
s.sendall(frame({'op': 'cluster.watch'}))
while (said := answer(s)) is not None:
    must(said['ok'] or 'another connection' in said['error']['text'] + said['error']['remedy'], f'second watch: {said}')
s.close()

for i in range(200):  # asks and leaves before the answer
    s = dial()
    try:
        s.sendall(frame({'op': ['audit', 'cluster.history', 'status'][i % 3], 'cluster': 'one'}))
    except BrokenPipeError:
        pass  # refused: too many are there, since the gateway has not yet seen others leave
    s.close()
alive('clients that leave')

slow = dial()
slow.sendall(b'\0')
crowd, refused = [], 0
for _ in range(200):
    s = dial()
    crowd.append(s)
began = time.monotonic()
for s in crowd[100:]:
    said = answer(s)
    refused += said is not None and 'connected to this gateway' in said['error']['text']
must(refused >= 90, f'{refused} of the last hundred were refused')
r = status()
must(r.returncode in (0, 1), f'while 200 are connected: {r.returncode} {r.stderr}')
while (r := status()).returncode:
    must(time.monotonic() - began < SILENCE_S + 10, f'200 silent clients keep pcgctl out: {r.stderr}')
    time.sleep(0.2)
must(answer(slow) is None, 'a client that sends a byte and no more is kept')
for s in crowd:
    s.close()
alive('200 connections')
