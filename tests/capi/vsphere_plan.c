/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/vsphere_plan.h"
#include "host/bootstrap/bootstrap.h"
#include "host/capi/capi.h"
#include "tests/capi/sample.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID VSPHERE_PLAN_ID

static json_t *clone_spec(const char *pool)
{
	json_t *keys = json_pack("{s:s,s:s}", "pcg.cluster", "0123456789abcdef01234567", "pcg.pool",
				 pool);

	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:i,s:i,s:i,s:{s:[{s:s,s:b}]}}",
			 "server", "vc.example:443", "thumbprint", "AA:BB", "datacenter", "DC0",
			 "folder", "/DC0/vm/c1", "datastore", "LocalDS_0", "resourcePool",
			 "/DC0/host/DC0_C0/Resources", "template", "/DC0/vm/t", "cloneMode",
			 "fullClone", "powerOffMode", "hard", "customVMXKeys", keys, "numCPUs", 4,
			 "memoryMiB", 6144, "diskGiB", 40, "network", "devices", "networkName",
			 "DC0_DVPG0", "dhcp4", 1);
}

static json_t *ready(void)
{
	return json_pack("[{s:s,s:s,s:s,s:s}]", "type", "Ready", "status", "True", "reason", "Ready",
			 "message", "");
}

static json_t *object(const char *kind, const char *name, json_t *spec)
{
	return json_pack("{s:s,s:s,s:{s:s},s:o}", "apiVersion",
			 "infrastructure.cluster.x-k8s.io/v1beta2", "kind", kind, "metadata", "name",
			 name, "spec", spec);
}

static json_t *with(json_t *spec, const char *key, json_t *value)
{
	json_object_set_new(spec, key, value);
	return spec;
}

/* One of the places of a pool of workers: its failure domain, deployment zone and template. */
static void add_place(json_t *list, const char *pool, const char *template, const char *domain, const char *resource_pool)
{
	json_t *spec = clone_spec(pool), *item;

	json_object_set_new(spec, "resourcePool", json_string(resource_pool));
	json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:o}", "role", "workerTemplate", "pool", pool, "failureDomain", domain,
					      "object", object("VSphereMachineTemplate", template,
							       json_pack("{s:{s:o}}", "template", "spec", spec))));
	item = object("VSphereFailureDomain", domain,
		      json_pack("{s:{s:s,s:s,s:s},s:{s:s,s:s,s:s},s:{s:s,s:s,s:[s]}}", "region", "name", "north", "type", "Datacenter",
				"tagCategory", "k8s-region", "zone", "name", domain, "type", "ComputeCluster", "tagCategory", "k8s-zone",
				"topology", "datacenter", "/DC0", "datastore", "/DC0/datastore/LocalDS_0", "networks", "DC0_DVPG0"));
	json_array_append_new(list, json_pack("{s:s,s:b,s:o}", "role", "extra", "clusterScoped", 1, "object", item));
	item = object("VSphereDeploymentZone", domain,
		      json_pack("{s:s,s:s,s:b,s:{s:s}}", "server", "vc.example:443", "failureDomain", domain, "controlPlane", 0,
				"placementConstraint", "resourcePool", resource_pool));
	json_array_append_new(list, json_pack("{s:s,s:b,s:o,s:{s:b}}", "role", "extra", "clusterScoped", 1, "object", item, "status",
					      "ready", 1));
}

/* In the shapes that the vSphere plugin exports. */
static json_t *provider_objects(void)
{
	json_t *list = json_array(), *vm, *cluster;

	cluster = json_pack("{s:s,s:s,s:{s:s,s:i},s:{s:s,s:s}}", "server", "vc.example:443",
			    "thumbprint", "AA:BB", "controlPlaneEndpoint", "host", "10.0.0.5", "port",
			    6443, "identityRef", "kind", "Secret", "name", "c1");
	vm = with(with(clone_spec("control"), "biosUUID", json_string(ID + 10)), "bootstrapRef",
		  json_pack("{s:s}", "name", "c1-cp-bcdfg"));
	json_array_append_new(
		list, json_pack("{s:s,s:{s:s,s:s,s:{s:s},s:s,s:{s:s,s:s}}}", "role", "identity",
				"object", "apiVersion", "v1", "kind", "Secret", "metadata", "name",
				"c1", "type", "Opaque", "stringData", "username", "u", "password",
				"p"));
	json_array_append_new(list, json_pack("{s:s,s:o,s:{s:{s:b},s:o}}", "role", "cluster", "object",
					      object("VSphereCluster", "c1", cluster), "status",
					      "initialization", "provisioned", 1, "conditions",
					      ready()));
	json_array_append_new(
		list, json_pack("{s:s,s:o}", "role", "controlPlaneTemplate", "object",
				object("VSphereMachineTemplate", "c1-cp",
				       json_pack("{s:{s:o}}", "template", "spec",
						 clone_spec("control")))));
	json_array_append_new(
		list, json_pack("{s:s,s:s,s:o}", "role", "workerTemplate", "pool", "md", "object",
				object("VSphereMachineTemplate", "c1-md",
				       json_pack("{s:{s:o}}", "template", "spec", clone_spec("md")))));
	add_place(list, "zoned", "c1-zoned.1", "c1-north", "/DC0/host/DC0_C0/Resources");
	add_place(list, "zoned", "c1-zoned.2", "c1-south.zoned", "/DC0/host/DC0_C1/Resources");
	json_array_append_new(
		list, json_pack("{s:s,s:s,s:o,s:{s:{s:b},s:[{s:s,s:s}],s:o}}", "role", "machine",
				"machine", "m-1", "object",
				object("VSphereMachine", "c1-cp-bcdfg",
				       with(clone_spec("control"), "providerID", json_string(ID))),
				"status", "initialization", "provisioned", 1, "addresses", "type",
				"InternalIP", "address", "10.0.0.5", "conditions", ready()));
	json_array_append_new(
		list, json_pack("{s:s,s:s,s:s,s:o,s:{s:b,s:[s],s:[{s:s,s:b,s:[s]}],s:o}}", "role",
				"extra", "machine", "m-1", "owner", "Machine", "object",
				object("VSphereVM", "c1-cp-bcdfg", vm), "status", "ready", 1,
				"addresses", "10.0.0.5", "network", "macAddr", "00:50:56:00:00:01",
				"connected", 1, "ipAddrs", "10.0.0.5", "conditions", ready()));
	return list;
}

json_t *vsphere_plan_keys(const char *ca, const char *ca_key)
{
	AUTO_JSON json_t *spec = json_pack("{s:s}", "kubernetesVersion", "v1.36.3");
	json_t *keys = NULL;
	struct pcg_error err;

	if (bootstrap_keys_new(spec, clock_wall_ms(), &keys, &err))
		abort();
	json_object_set_new(keys, "ca", json_pack("{s:s,s:s}", "crt", ca, "key", ca_key));
	return keys;
}

/* As the host has them for a cluster with static addresses, and the plugin for its devices. */
static void use_pool(json_t *in)
{
	json_t *item, *spec, *device;
	size_t i;

	json_put(in, "spec.addressPools",
		 json_pack("[{s:s,s:s,s:s,s:i,s:s,s:[s],s:[s],s:[s,s,s,s,s,s]}]", "uid", "p1", "name", "Lab", "object",
			   "lab", "prefix", 24, "gateway", "10.0.0.1", "nameservers", "10.0.0.2", "search", "lab.test",
			   "addresses", "10.0.0.20", "10.0.0.21", "10.0.0.22", "10.0.0.23", "10.0.0.24", "10.0.0.25"));
	json_object_set_new(json_array_get(json_object_get(in, "machines"), 0), "addresses",
			    json_pack("[{s:i,s:s,s:s,s:i,s:s,s:[s],s:[s]}]", "device", 0, "pool", "lab", "address", "10.0.0.20",
				      "prefix", 24, "gateway", "10.0.0.1", "nameservers", "10.0.0.2", "search", "lab.test"));
	json_array_foreach (json_object_get(in, "providerObjects"), i, item) {
		spec = json_at(item, "object.spec.template.spec");
		device = json_at(spec ? spec : json_at(item, "object.spec"), "network.devices.0");
		if (strcmp(json_str_or(item, "object.kind", ""), "VSphereVM") == 0)
			json_object_set_new(item, "claims",
					    json_pack("{s:s}", "finalizer",
						      "vspherevm.infrastructure.cluster.x-k8s.io/ip-claim-protection"));
		if (!device)
			continue;
		json_object_del(device, "dhcp4");
		json_object_set_new(device, "addressesFromPools",
				    json_pack("[{s:s,s:s,s:s}]", "apiGroup", "ipam.cluster.x-k8s.io", "kind", "InClusterIPPool",
					      "name", "lab"));
	}
}

static json_t *build(const char *ca, json_t *keys, int epoch, int control_planes, int workers, bool addresses)
{
	json_t *in = sample_input(ca), *plan = NULL, *cp = NULL, *worker = NULL;
	struct pcg_error err;
	json_t *render;

	json_object_set(in, "keys", keys);
	json_object_set_new(in, "epoch", json_integer(epoch));
	json_put(in, "spec.pools.0.size", json_integer(control_planes));
	json_put(in, "spec.pools.1.size", json_integer(workers));
	json_array_append_new(json_at(in, "spec.pools"), json_pack("{s:s,s:i}", "name", "zoned", "size", 3));
	json_put(in, "spec.kubeadmConfig",
		 json_pack("{s:{s:{s:s}},s:[{s:s,s:s}],s:[s],s:[s]}", "apiServer", "extraArgs",
			   "audit-log-maxage", "30", "files", "targetPath", "/etc/x", "content", "y\n",
			   "preKubeadmCommands", "true", "postKubeadmCommands", "true"));
	json_put(in, "spec.sshKeys", json_pack("[s]", "ssh-ed25519 AAAA one"));
	json_put(in, "spec.ntpServers", json_pack("[s]", "192.0.2.1"));
	json_object_set_new(json_array_get(json_object_get(in, "machines"), 0), "observed",
			    json_pack("{s:s,s:[{s:s,s:s}]}", "providerID", ID, "addresses", "type",
				      "InternalIP", "address", "10.0.0.5"));
	json_object_set_new(in, "providerObjects", provider_objects());
	if (addresses)
		use_pool(in);
	render = json_pack("{s:O,s:O,s:O,s:{s:s,s:s,s:s},s:s,s:{s:s,s:s,s:[s]}}", "spec",
			   json_object_get(in, "spec"), "keys", keys, "endpoint",
			   json_object_get(in, "endpoint"), "machine", "uid", "m-1", "name",
			   "c1-cp-bcdfg", "pool", "control", "providerIDCommand", "smbios-vmware",
			   "proxy", "httpProxy", "http://p.example:3128", "httpsProxy",
			   "http://p.example:3128", "noProxy", "10.0.0.0/8");
	if (bootstrap_control_plane_spec(render, &cp, &err) ||
	    bootstrap_worker_spec(render, &worker, &err)) {
		printf("FAIL %s\n", err.text);
		exit(1);
	}
	json_object_set_new(in, "controlPlaneSpec", cp);
	json_object_set_new(in, "workerSpec", worker);
	if (capi_objects_build(in, &plan, &err)) {
		printf("FAIL %s\n", err.text);
		exit(1);
	}
	json_decref(render);
	json_decref(in);
	return plan;
}

json_t *vsphere_plan(const char *ca, json_t *keys, int epoch, int control_planes, int workers)
{
	return build(ca, keys, epoch, control_planes, workers, false);
}

json_t *vsphere_plan_static(const char *ca, json_t *keys, int epoch, int control_planes, int workers)
{
	return build(ca, keys, epoch, control_planes, workers, true);
}
