/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/capi/world.h"
#include "tests/capi/rig.h"
#include "tests/capi/sample.h"
#include "core/clock.h"
#include "net/pki.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *new_pair(const char *name)
{
	int64_t now = clock_wall_ms();
	struct pki_cert_spec spec = {.common_name = name,
				     .is_ca = true,
				     .not_before_ms = now - 300000,
				     .not_after_ms = now + INT64_C(315360000000)};
	struct secret *key = NULL;
	AUTO_FREE char *crt = NULL;
	struct pcg_error err;
	json_t *pair;

	ck_assert_int_eq(pki_key_new(PKI_ECDSA_P256, &key, &err), 0);
	ck_assert_int_eq(pki_self_signed(&spec, key, &crt, &err), 0);
	pair = json_pack("{s:s,s:s}", "crt", crt, "key", secret_data(key));
	secret_unref(key);
	return pair;
}

json_t *world_keys(void)
{
	json_t *keys = json_pack("{s:{s:s,s:s},s:o,s:o}", "ca", "crt", fake_api_ca(rig.api), "key",
				 secret_data(fake_api_ca_key(rig.api)), "etcd", new_pair("etcd-ca"),
				 "proxy", new_pair("front-proxy-ca"));
	struct secret *key = NULL;
	AUTO_FREE char *pub = NULL;
	struct pcg_error err;

	ck_assert_int_eq(pki_key_new(PKI_ECDSA_P256, &key, &err), 0);
	ck_assert_int_eq(pki_public_pem(key, &pub, &err), 0);
	json_object_set_new(keys, "sa", json_pack("{s:s,s:s}", "pub", pub, "key", secret_data(key)));
	secret_unref(key);
	return keys;
}

json_t *world_plan(const json_t *keys)
{
	AUTO_JSON json_t *in = sample_input(fake_api_ca(rig.api));
	json_t *plan = NULL;
	struct pcg_error err;

	json_object_set(in, "keys", (json_t *)keys);
	ck_assert_msg(capi_objects_build(in, &plan, &err) == 0, "%s", err.text);
	return plan;
}

static void put_definition(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/%s",
		 name);
	fake_api_put(rig.api, path,
		     json_pack("{s:s,s:s,s:{s:s,s:{s:s}}}", "apiVersion", "apiextensions.k8s.io/v1",
			       "kind", "CustomResourceDefinition", "metadata", "name", name, "labels",
			       "cluster.x-k8s.io/v1beta2", "v1beta2"));
}

static void put_controller(const char *provider)
{
	char path[256];
	json_t *labels = json_pack("{s:s}", "cluster.x-k8s.io/provider", provider);

	snprintf(path, sizeof(path), "/apis/apps/v1/namespaces/%s/deployments/manager", provider);
	fake_api_put(rig.api, path,
		     json_pack("{s:s,s:s,s:{s:s,s:s,s:o},s:{s:i},s:{s:[{s:s,s:s}]}}", "apiVersion",
			       "apps/v1", "kind", "Deployment", "metadata", "name", "manager",
			       "namespace", provider, "labels", labels, "spec", "replicas", 1,
			       "status", "conditions", "type", "Available", "status", "True"));
}

void world_ready(void)
{
	static const char *const definitions[] = {
		"kubeadmcontrolplanes.controlplane.cluster.x-k8s.io",
		"kubeadmconfigs.bootstrap.cluster.x-k8s.io",
		"kubeadmconfigtemplates.bootstrap.cluster.x-k8s.io",
		"vsphereclusters.infrastructure.cluster.x-k8s.io",
		"vspheremachines.infrastructure.cluster.x-k8s.io",
		"vspheremachinetemplates.infrastructure.cluster.x-k8s.io",
		"vspherevms.infrastructure.cluster.x-k8s.io",
	};
	static const char *const providers[] = {"cluster-api", "bootstrap-kubeadm",
						"control-plane-kubeadm", "infrastructure-vsphere"};

	for (size_t i = 0; i < ARRAY_LEN(definitions); i++)
		put_definition(definitions[i]);
	for (size_t i = 0; i < ARRAY_LEN(providers); i++)
		put_controller(providers[i]);
	fake_api_put(rig.api, "/api/v1/nodes/c1-cp-bcdfg",
		     json_pack("{s:s,s:s,s:{s:s},s:{s:s,s:[{s:s,s:s}]},s:{s:[{s:s,s:s}]}}",
			       "apiVersion", "v1", "kind", "Node", "metadata", "name", "c1-cp-bcdfg",
			       "spec", "providerID", "vsphere://42", "taints", "key",
			       "node-role.kubernetes.io/control-plane", "effect", "NoSchedule",
			       "status", "conditions", "type", "Ready", "status", "True"));
}

const json_t *world_preflight(const json_t *plan, const json_t *keys)
{
	AUTO_JSON json_t *in = json_pack("{s:O}", "keys", keys);
	struct capi_callbacks cb = rig_callbacks();

	ck_assert_msg(rig_run(capi_preflight(fake_api_kube(rig.api), plan, in, &cb)), "%s",
		      rig.err.text);
	return json_object_get(rig.result, "checks");
}

const json_t *world_check(const json_t *records, const char *name)
{
	size_t i;
	json_t *r;

	json_array_foreach (records, i, r)
		if (strcmp(json_str(r, "check"), name) == 0)
			return r;
	ck_abort_msg("no record of check %s", name);
	return NULL;
}
