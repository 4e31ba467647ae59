# SPDX-License-Identifier: Apache-2.0
"""Who was in charge of a cluster at any time, by its API server's own watch."""
import http.client
import json
import threading
import time

from capv_world import APIS, Refused

AUTHORITY, EPOCH = "pcg.dev/authority", "pcg.dev/epoch"


class Watch(threading.Thread):
    """Every state of authority that the clusters of a namespace ever had."""

    def __init__(self, api, ns):
        super().__init__(daemon=True)
        self.api, self.states, self.ended = api, [], False
        self.path = api.path(APIS["Cluster"], "Cluster", ns)
        self.start()

    def note(self, o):
        a = o["metadata"].get("annotations", {})
        state = (a.get(AUTHORITY, ""), int(a.get(EPOCH, "0")), bool(o["spec"].get("paused")), o["metadata"]["uid"])
        if not self.states or self.states[-1] != state:
            self.states.append(state)

    def run(self):
        while not self.ended:
            try:
                listed = self.api.call("GET", self.path)
                for o in listed["items"]:
                    self.note(o)
                conn = self.api.connect(600)
                conn.request("GET", f"{self.path}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}",
                             headers=self.api.headers)
                for line in conn.getresponse():
                    event = json.loads(line)
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self.note(event["object"])
            except (OSError, Refused, ValueError, http.client.HTTPException, AttributeError):
                time.sleep(0.2)

    def one_authority(self):
        """Whoever is in charge: the gateway has it paused, the cluster runs; epochs rise; one holder an epoch."""
        holders = {}
        last = 0
        for holder, epoch, paused, _ in self.states:
            assert holder in ("gateway", "cluster"), self.states
            assert paused == (holder == "gateway"), f"two authorities: {self.states}"
            assert epoch >= last, self.states
            assert holders.setdefault(epoch, holder) == holder, self.states
            last = epoch
