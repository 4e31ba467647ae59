# SPDX-License-Identifier: Apache-2.0
"""test-capv's cases of static addresses: machines whose addresses come from an InClusterIPPool, with the stand-in of
the IPAM provider in-cluster. Every machine's guest has the addresses that its metadata says, and vcsim refuses one that
another machine has."""

import base64

from capv_world import INFRA, IPAM, METADATA, Graph, Refused, adopted, condition, made, until

CASES = []
CLAIM_FINALIZERS = ["vspherevm." + INFRA + "/ip-claim-protection", IPAM + "/ReleaseAddress"]


def case(f):
    CASES.append(f)
    return f


def static_metadata(address):
    """As the controllers write it: nothing waits for addresses from a pool."""
    return METADATA.replace("ipv4: true", "ipv4: false").replace("dhcp4: true", "dhcp4: false") + f"""\
      addresses:
      - "{address}/24"
      gateway4: "10.88.0.1"
      nameservers:
        addresses:
        - "10.88.0.2"
        search:
        - "lab.test"
"""


def pool_ref(name):
    return {"apiGroup": IPAM, "kind": "InClusterIPPool", "name": name}


def device(w, **more):
    return {"networkName": w.vc["network"], "nameservers": ["10.88.0.2"], "searchDomains": ["lab.test"], **more}


def owner(o, **more):
    return {"apiVersion": o["apiVersion"], "kind": o["kind"], "name": o["metadata"]["name"], "uid": o["metadata"]["uid"], **more}


def create(g, kind, name, spec, finalizers, *owners):
    o = {"apiVersion": f"{IPAM}/{'v1alpha2' if kind == 'InClusterIPPool' else 'v1beta2'}", "kind": kind, "spec": spec, "metadata": {
        "name": name, "namespace": g.ns, "labels": {"cluster.x-k8s.io/cluster-name": "c1"}, "finalizers": finalizers,
        "ownerReferences": list(owners)}}
    return g.api.create(o)


def bind(g, claim, address, vm, pool):
    """What a hand-over writes for one address that is in use."""
    c = create(g, "IPAddressClaim", claim, {"poolRef": pool_ref("lab")}, CLAIM_FINALIZERS, owner(vm))
    create(g, "IPAddress", claim, {"address": address, "prefix": 24, "gateway": "10.88.0.1", "claimRef": {"name": claim},
                                   "poolRef": pool_ref("lab")}, [IPAM + "/ProtectAddress"],
           owner(c, controller=True, blockOwnerDeletion=True), owner(pool, controller=False, blockOwnerDeletion=True))
    g.api.patch("IPAddressClaim", g.ns, claim, {"status": {"addressRef": {"name": claim}}}, "status")


def handed_over(w, ns, address, claim="%s-0-0", worker=None):
    """A machine with that address, the objects around it, paused; its claim under that name, or none."""
    g, name, uuid = made(w, ns, static_metadata(address))
    assert w.machines()[name]["ipAddress"] == address, "the guest has the address of its metadata"
    g.devices = [device(w, addressesFromPools=[pool_ref("lab")])]
    if worker:
        g.worker = {"network": {"devices": g.devices + [worker]}, "cloneMode": "linkedClone", "snapshot": "base"}
    g.adopt(name, uuid)
    pool = create(g, "InClusterIPPool", "lab", {"addresses": ["10.88.0.7", "10.88.0.8", "10.88.0.9"], "prefix": 24,
                                                "gateway": "10.88.0.1"}, [IPAM + "/ProtectPool"])
    if claim:
        bind(g, claim % name, address, g.get("VSphereVM", name), pool)
    return g, name, uuid


def bound(g):
    """Each claim and address as it stands: uid, version, what is given to it."""
    return {(kind, o["metadata"]["name"]): (o["metadata"]["uid"], o["metadata"]["resourceVersion"], given(o))
            for kind, given in (("IPAddressClaim", lambda o: o.get("status", {}).get("addressRef")),
                                ("IPAddress", lambda o: o["spec"]["address"]))
            for o in g.api.items(kind, g.ns)}


def counts(g, pool="lab"):
    status = g.api.get("InClusterIPPool", g.ns, pool).get("status", {}).get("ipAddresses", {})
    return status.get("total"), status.get("used"), status.get("free")


def workers(g):
    return sorted(m["metadata"]["name"] for m in g.api.items("VSphereMachine", g.ns)
                  if m["metadata"]["name"].startswith("c1-md") and m.get("status", {}).get("initialization", {}).get("provisioned"))


def given(g, claim):
    o = g.get("IPAddress", claim)
    return o and o["spec"]["address"]


def metadata_of(vm):
    return base64.b64decode(vm["extraConfig"].get("guestinfo.metadata", "")).decode()


def two_devices(name, vm, address, second):
    """A worker's: its second device has an IPv6 address of another pool, a route and an MTU."""
    text = static_metadata(address).replace("@MAC@", vm["mac"][0]) % {"name": name}
    return text + f"""\
    id1:
      match:
        macaddress: "{vm['mac'][1]}"
      set-name: "eth1"
      wakeonlan: true
      dhcp4: false
      dhcp6: false
      accept-ra: false
      addresses:
      - "{second}/64"
      gateway6: "2001:db8::1"
      mtu: 1400
      routes:
      - to: "2001:db8:7::/48"
        via: "2001:db8::9"
        metric: 5
"""


@case
def a_static_address_is_adopted_and_the_next_ones_are_given_out(w):
    """claims and addresses stay as they were written, no mutating call; workers get what is free, no address twice; a used-up pool waits"""
    g, name, uuid = handed_over(w, "static", "10.88.0.7", worker={
        "networkName": w.vc["network"], "addressesFromPools": [pool_ref("six")], "mtu": 1400,
        "routes": [{"to": "2001:db8:7::/48", "via": "2001:db8::9", "metric": 5}]})
    create(g, "InClusterIPPool", "six", {"addresses": ["2001:db8::10-2001:db8::1f"], "prefix": 64, "gateway": "2001:db8::1"}, [])
    written = bound(g)
    g.kubeconfig()
    g.node(name, uuid)
    g.workers(0)
    g.unpause()
    adopted(g, name, uuid)
    g.initialized()
    until("its address is seen to be fulfilled", lambda: condition(
        g.get("VSphereVM", name), "IPAddressClaimsFulfilled").get("status") == "True")
    assert w.mutating() == {}, w.mutating()
    assert bound(g) == written, (written, bound(g))
    until("the pool counts it", lambda: counts(g) == (3, 1, 2))

    g.scale(2)
    two = until("two workers are made", lambda: (lambda l: l if len(l) == 2 else None)(workers(g)))
    have = w.machines()
    four, six = ({given(g, f"{m}-{d}-0") for m in two} for d in (0, 1))
    assert four == {"10.88.0.8", "10.88.0.9"} and six == {"2001:db8::10", "2001:db8::11"}, (four, six)
    for m in two:
        text = two_devices(m, have[m], given(g, m + "-0-0"), given(g, m + "-1-0"))
        assert metadata_of(have[m]) == text, metadata_of(have[m])
        assert have[m]["ipAddress"] == given(g, m + "-0-0")
        assert g.get("VSphereVM", m)["status"]["cloneMode"] == "linkedClone" and have[m]["diskKB"] == [20 << 20], have[m]["diskKB"]
    asked = {c["name"]: c for c in w.admin("GET", "/clones")["items"]}
    assert all(asked[m]["diskMoveType"] == "createNewChildDiskBacking" and asked[m]["snapshot"] for m in two), asked
    assert w.mutating() == {"CloneVM_Task": 2, "ReconfigVM_Task": 2, "PowerOnVM_Task": 2}, w.mutating()

    g.scale(3)
    def waiting():
        """The VSphereVM one of whose two claims has no address, with all that it says."""
        for v in g.api.items("VSphereVM", g.ns):
            c = condition(v, "IPAddressClaimsFulfilled")
            if (c.get("status"), c.get("reason"), c.get("message")) == ("False", "WaitingForIPAddress", "1/2 claims being processed"):
                return v if condition(v, "VirtualMachineProvisioned").get("reason") == "WaitingForIPAddress" else None
        return None

    third = until("the third waits for an address", waiting)["metadata"]["name"]
    idle = w.machines()[third]
    assert idle["powerState"] == "poweredOff" and not metadata_of(idle), "it never boots without its address"
    assert "no address available" in w.log("ipam") and given(g, third + "-0-0") is None and counts(g) == (3, 3, 0)
    g.api.patch("InClusterIPPool", g.ns, "lab", {"spec": {"addresses": ["10.88.0.7-10.88.0.10"]}})
    until("a larger pool gives it one", lambda: third in workers(g))
    assert given(g, third + "-0-0") == "10.88.0.10" and counts(g) == (4, 4, 0), counts(g)

    g.scale(0)
    until("the workers are gone", lambda: not any(m in w.machines() for m in (*two, third)))
    until("their addresses are free again", lambda: counts(g) == (4, 1, 3) and counts(g, "six")[1] == 0)
    assert {key: v[0] for key, v in bound(g).items()} == {key: v[0] for key, v in written.items()}, bound(g)
    assert given(g, name + "-0-0") == "10.88.0.7"


@case
def a_claim_that_is_not_under_its_name_costs_a_second_one_and_a_rewrite(w):
    """what the hand-over must get right: no claim, or one of another name, and the machine is told another address"""
    for ns, address, claim, left in (("noclaim", "10.88.0.9", None, []), ("othername", "10.88.0.8", "%s-eth0", ["10.88.0.8"])):
        g, name, uuid = handed_over(w, ns, address, claim)
        g.unpause()
        adopted(g, name, uuid)
        assert w.mutating() == {"ReconfigVM_Task": 1}, f"{ns}: {w.mutating()}"
        assert given(g, name + "-0-0") == "10.88.0.7", "the lowest that is free"
        others = [o["spec"]["address"] for o in g.api.items("IPAddress", g.ns) if o["metadata"]["name"] != name + "-0-0"]
        assert others == left, others
        assert '"10.88.0.7/24"' in metadata_of(w.machines()[name])
        g.rest()


@case
def an_address_in_the_specification_is_adopted(w):
    """ipAddrs, gateway4 in the device itself: no claim, no mutating call"""
    g, name, uuid = made(w, "literal", static_metadata("10.88.0.77"))
    g.devices = [device(w, ipAddrs=["10.88.0.77/24"], gateway4="10.88.0.1")]
    g.adopt(name, uuid)
    g.unpause()
    adopted(g, name, uuid)
    assert w.mutating() == {} and not g.api.items("IPAddressClaim", g.ns), w.mutating()


@case
def the_address_provider_refuses_nonsense_and_gives_out_the_lowest_free_address(w):
    """pools of mixed families and subnets, gateways of another; addresses in use stay in their pool; reserved ones are not given"""
    g = Graph(w, "pools")
    good = {"addresses": ["10.89.0.0/29"], "prefix": 29, "gateway": "10.89.0.1", "excludedAddresses": ["10.89.0.3-10.89.0.4"]}

    def refused(words, call):
        try:
            call()
        except Refused as e:
            assert words in e.message, str(e)
        else:
            raise AssertionError(f"was accepted: {words}")

    for change, words in (
            ({"addresses": []}, "addresses is required"), ({"addresses": ["10.89.0.300"]}, "not a valid IP, range, nor CIDR"),
            ({"addresses": ["10.89.0.9-10.89.0.2"]}, "not a valid IP, range, nor CIDR"),
            ({"addresses": ["10.89.0.2", "2001:db8::2"]}, "mixed IP families"), ({"gateway": "2001:db8::1"}, "mixed IP families"),
            ({"gateway": "here"}, "spec.gateway"), ({"addresses": ["10.89.0.2", "10.89.0.9"]}, "different subnet"),
            ({"prefix": 33}, "provided prefix is not valid"), ({"prefix": 129}, "less than or equal to 128")):
        refused(words, lambda c=change: create(g, "InClusterIPPool", "bad", {**good, **c}, []))
    pool = create(g, "InClusterIPPool", "lab", good, [])
    for name, address in (("a", "10.89.0.2"), ("b", "10.89.0.5"), ("c", "10.89.0.6"), ("d", None)):
        g.api.create({"apiVersion": IPAM + "/v1beta2", "kind": "IPAddressClaim", "metadata": {"name": name, "namespace": g.ns},
                      "spec": {"poolRef": pool_ref("lab")}})
        if address:
            until(f"{name} is bound", lambda n=name: g.get("IPAddressClaim", n).get("status", {}).get("addressRef"))
            assert given(g, name) == address, given(g, name)
    o = g.get("IPAddress", "a")
    assert [(r["kind"], r["controller"], r["blockOwnerDeletion"]) for r in o["metadata"]["ownerReferences"]] == [
        ("IPAddressClaim", True, True), ("InClusterIPPool", False, True)], o["metadata"]
    assert o["spec"] == {"address": "10.89.0.2", "prefix": 29, "gateway": "10.89.0.1", "claimRef": {"name": "a"},
                         "poolRef": pool_ref("lab")}, o["spec"]
    until("the pool is used up", lambda: counts(g) == (3, 3, 0))
    refused("do not contain allocated addresses", lambda: g.api.patch(
        "InClusterIPPool", g.ns, "lab", {"spec": {"excludedAddresses": ["10.89.0.5"]}}))
    refused("Cannot delete Pool until all IPAddresses", lambda: g.api.delete("InClusterIPPool", g.ns, "lab"))
    assert g.get("IPAddress", "d") is None
    g.api.delete("IPAddressClaim", g.ns, "b")
    until("what is let go goes to who waits", lambda: given(g, "d") == "10.89.0.5" and not g.get("IPAddress", "b"))
    for name in "acd":
        g.api.delete("IPAddressClaim", g.ns, name)
    until("nothing is in use", lambda: counts(g) == (3, 0, 3))
    g.api.delete("InClusterIPPool", g.ns, "lab")
    until("the pool is gone", lambda: g.get("InClusterIPPool", "lab") is None)
    assert pool["metadata"]["uid"]
