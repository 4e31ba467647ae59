# SPDX-License-Identifier: Apache-2.0
"""A pcg-plane as a child process, and calls to it."""
import http.client
import json
import os
import ssl
import subprocess
import sys
import time

DEADLINE = 30


def fail(text):
    print(f"not ok: {text}")
    sys.exit(1)


def wait_for(what, condition):
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    fail(f"{what}: not within {DEADLINE} s")


class Plane:
    def __init__(self, program, folder, environment=None):
        self.program = program
        self.environment = environment
        self.dir = folder
        self.state = os.path.join(folder, "state")
        self.port = 0
        self.process = None

    def start(self):
        if not self.try_start():
            fail("the plane ended at its start")

    def try_start(self):
        ready = os.path.join(self.dir, "ready")
        if os.path.exists(ready):
            os.unlink(ready)
        self.log = open(os.path.join(self.dir, "log"), "a")
        self.process = subprocess.Popen(
            [self.program, "--state", self.state, "--listen", f"127.0.0.1:{self.port}", "--ready-file", ready],
            stdout=self.log, stderr=self.log, env=self.environment)
        wait_for("the plane starts", lambda: os.path.exists(ready) or self.process.poll() is not None)
        if self.process.poll() is not None:
            return False
        self.port = int(open(ready).read().strip().rsplit(":", 1)[1])
        self.key = open(os.path.join(self.state, "api-key")).read().strip()
        self.ca = os.path.join(self.state, "ca.crt")
        return True

    def kill(self):
        self.process.kill()
        self.process.wait()

    def context(self, cert=None, key=None):
        context = ssl.create_default_context(cafile=self.ca)
        if cert:
            context.load_cert_chain(cert, key)
        return context

    def call(self, method, path, body=None, headers=None, context=None, timeout=40):
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout,
                                                 context=context or self.context())
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type") or "", answer.read()
        finally:
            connection.close()

    def api(self, method, path, body=None, project=None):
        headers = {"Apikey": self.key}
        if project:
            headers["Projectuid"] = project
        return self.call(method, path, body, headers)

    def pair(self, name, overlord=None):
        """A gateway's uid, and the context of calls as that gateway."""
        query = f"overlordUid={overlord}" if overlord else f"cloudType=vsphere&name={name}"
        code = json.loads(self.api("GET", "/v1/overlords/pairing/code?" + query)[2])["pairingCode"]
        path = os.path.join(self.dir, name)
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", path + ".key", "-out", path + ".csr", "-subj", "/CN=g"], check=True, capture_output=True)
        with open(path + ".csr") as csr:
            status, _, text = self.call("POST", "/gateway/v1/enrol",
                                        {"pairingCode": code, "csr": csr.read(), "hostName": name})
        if status != 200:
            fail(f"enrolment: {status} {text}")
        answer = json.loads(text)
        with open(path + ".crt", "w") as file:
            file.write(answer["certificate"])
        return answer["gatewayUid"], self.context(path + ".crt", path + ".key")

    def get(self, path):
        status, _, text = self.api("GET", path)
        return status, json.loads(text) if text else None
