/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plan alone can tell. Most of these go wrong without an error: the controllers adopt, and
 * replace a machine, make a key anew or wait for ever afterwards.
 */
#include "config.h"
#include "host/capi/capi.h"
#include "host/capi/check.h"
#include "host/capi/compare.h"
#include "host/capi/path.h"
#include "host/capi/shapes.h"
#include "core/base64.h"
#include "core/clock.h"
#include "core/secret.h"
#include "net/pki.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLUSTER_REMEDY "the objects are made by the gateway: report this, with pcgctl cluster plan"

struct plan {
	const json_t *objects;
	const struct check_facts *facts;
	json_t *records;
	const json_t *cluster, *control_plane;
};

static const json_t *object_at(const struct plan *p, size_t i)
{
	return json_object_get(json_array_get(p->objects, i), "object");
}

static const char *kind_of(const json_t *o)
{
	return json_str_or(o, "kind", "");
}

static const char *name_of(const json_t *o)
{
	return json_str_or(o, "metadata.name", "");
}

static bool is_kind(const json_t *o, const char *kind)
{
	return strcmp(kind_of(o), kind) == 0;
}

static const json_t *find(const struct plan *p, const char *kind, const char *name)
{
	for (size_t i = 0; i < json_array_size(p->objects); i++) {
		const json_t *o = object_at(p, i);

		if ((!kind || is_kind(o, kind)) && (!name || strcmp(name_of(o), name) == 0))
			return o;
	}
	return NULL;
}

static const char *member(const json_t *o, const char *where, const char *key)
{
	return json_string_value(json_object_get(json_at(o, where), key));
}

static const char *label(const json_t *o, const char *key)
{
	return member(o, "metadata.labels", key);
}

#define each_object(p, o)                                                                          \
	for (size_t o##_i = 0;                                                                     \
	     o##_i < json_array_size((p)->objects) && ((o) = object_at(p, o##_i), true); o##_i++)

static void check_paused(struct plan *p)
{
	if (!json_bool_or(p->cluster, "spec.paused", false))
		check_fail(p->records, CHECK_PAUSED, false, CLUSTER_REMEDY, "spec.paused: true",
			   "Cluster/%s is not paused", name_of(p->cluster));
}

static void check_labels(struct plan *p)
{
	const json_t *o;

	each_object(p, o) {
		const char *have = label(o, CAPI_LABEL_CLUSTER);

		if (is_kind(o, "Namespace") || (have && strcmp(have, name_of(p->cluster)) == 0))
			continue;
		check_fail(p->records, CHECK_LABELS, false, CLUSTER_REMEDY, "label " CAPI_LABEL_CLUSTER,
			   "%s/%s has %s", kind_of(o), name_of(o), have ? have : "none");
	}
}

static void check_owner(struct plan *p, size_t i, const json_t *owner)
{
	const json_t *entry = json_array_get(p->objects, i), *o = object_at(p, i);
	bool before = false;

	if (!json_is_object(owner))
		return;
	for (size_t k = 0; k < i && !before; k++)
		before = is_kind(object_at(p, k), json_str_or(owner, "kind", "")) &&
			 strcmp(name_of(object_at(p, k)), json_str_or(owner, "name", "")) == 0 &&
			 json_int_or(json_array_get(p->objects, k), "group", 0) < json_int_or(entry, "group", 0);
	if (!before)
		check_fail(p->records, CHECK_OWNERS, false, CLUSTER_REMEDY, "its owner in an earlier group",
			   "%s/%s is owned by %s/%s", kind_of(o), name_of(o), json_str_or(owner, "kind", "?"),
			   json_str_or(owner, "name", "?"));
}

static void check_owners(struct plan *p)
{
	const json_t *o;

	for (size_t i = 0; i < json_array_size(p->objects); i++) {
		const json_t *entry = json_array_get(p->objects, i);

		o = object_at(p, i);
		if (json_array_size(json_at(o, "metadata.ownerReferences")) ||
		    json_str(o, "metadata.uid"))
			check_fail(p->records, CHECK_OWNERS, false, CLUSTER_REMEDY,
				   "no uid: those of another cluster make the garbage collector delete",
				   "%s/%s carries one", kind_of(o), name_of(o));
		check_owner(p, i, json_object_get(entry, "owner"));
		check_owner(p, i, json_object_get(entry, "holder"));
	}
}

static bool is_control_plane(const json_t *machine)
{
	return label(machine, CAPI_LABEL_CONTROL_PLANE) != NULL;
}

/* The control plane counts Machines by label; a worker without its set gets a second one. */
static void check_machines(struct plan *p)
{
	const json_t *o;
	size_t counted = 0;

	each_object(p, o) {
		const char *set = label(o, "cluster.x-k8s.io/set-name");

		if (!is_kind(o, "Machine"))
			continue;
		counted += is_control_plane(o);
		if (!is_control_plane(o) && !(set && find(p, "MachineSet", set)))
			check_fail(p->records, CHECK_MACHINES, false, CLUSTER_REMEDY,
				   "label " CAPI_LABEL_CONTROL_PLANE ", or a MachineSet",
				   "Machine/%s has neither: another machine would be made", name_of(o));
	}
	if (!counted)
		check_fail(p->records, CHECK_MACHINES, false, CLUSTER_REMEDY,
			   "at least one Machine of the control plane", "none");
}

static void check_versions(struct plan *p)
{
	const char *want = json_str_or(p->control_plane, "spec.version", "");
	const json_t *o;

	each_object(p, o)
		if (is_kind(o, "Machine") && is_control_plane(o) &&
		    strcmp(json_str_or(o, "spec.version", ""), want) != 0)
			check_fail(p->records, CHECK_VERSIONS, false, CLUSTER_REMEDY, want,
				   "Machine/%s has %s", name_of(o), json_str_or(o, "spec.version", "none"));
}

static json_t *expected_config(const json_t *control_plane, bool init)
{
	json_t *spec = json_deep_copy(json_at(control_plane, "spec.kubeadmConfigSpec"));

	json_object_del(spec, init ? "joinConfiguration" : "initConfiguration");
	return spec;
}

/* The gate that the controller adds to what it compares with is no difference. */
static void drop_gate(json_t *spec)
{
	json_t *cluster = json_object_get(spec, "clusterConfiguration"),
	       *gates = json_object_get(cluster, "featureGates");

	json_object_del(gates, "ControlPlaneKubeletLocalMode");
	if (gates && json_object_size(gates) == 0)
		json_object_del(cluster, "featureGates");
	if (cluster && json_object_size(cluster) == 0)
		json_object_del(spec, "clusterConfiguration");
}

static void check_config(struct plan *p, const json_t *machine)
{
	const char *name = json_str_or(machine, "spec.bootstrap.configRef.name", "");
	const json_t *config = find(p, "KubeadmConfig", name);
	AUTO_JSON json_t *got = NULL, *want = NULL;
	AUTO_FREE char *more = NULL;
	AUTO_FREE char *less = NULL;
	bool init;

	if (!config) {
		check_fail(p->records, CHECK_CONFIGURATION, false, CLUSTER_REMEDY,
			   "a KubeadmConfig that is written too", "Machine/%s names %s",
			   name_of(machine), *name ? name : "none");
		return;
	}
	got = json_deep_copy(json_object_get(config, "spec"));
	init = json_object_get(got, "initConfiguration") != NULL;
	if (init && json_object_get(got, "joinConfiguration")) {
		check_fail(p->records, CHECK_CONFIGURATION, false, CLUSTER_REMEDY,
			   "initConfiguration or joinConfiguration",
			   "KubeadmConfig/%s has both: the machine would be replaced", name);
		return;
	}
	want = expected_config(p->control_plane, init);
	drop_gate(got);
	drop_gate(want);
	less = compare_contains(want, got);
	more = compare_contains(got, want);
	if (less || more)
		check_fail(p->records, CHECK_CONFIGURATION, false, CLUSTER_REMEDY,
			   "the control plane's kubeadmConfigSpec",
			   "KubeadmConfig/%s differs at spec.%s: the machine would be replaced", name,
			   less ? less : more);
}

static void check_configuration(struct plan *p)
{
	const json_t *o;

	each_object(p, o)
		if (is_kind(o, "Machine") && is_control_plane(o))
			check_config(p, o);
}

static const json_t *infrastructure_of(const struct plan *p, const json_t *machine)
{
	return find(p, json_str_or(machine, "spec.infrastructureRef.kind", ""),
		    json_str_or(machine, "spec.infrastructureRef.name", ""));
}

static void check_clone(struct plan *p, const json_t *machine, const json_t *ref)
{
	const json_t *infra = infrastructure_of(p, machine);
	const char *name = member(infra, "metadata.annotations", "cluster.x-k8s.io/cloned-from-name");
	const char *kind =
		member(infra, "metadata.annotations", "cluster.x-k8s.io/cloned-from-groupkind");
	char want[300];

	snprintf(want, sizeof(want), "%s.%s", json_str_or(ref, "kind", ""),
		 json_str_or(ref, "apiGroup", ""));
	if (!infra)
		check_fail(p->records, CHECK_TEMPLATE, false, CLUSTER_REMEDY,
			   "an infrastructure machine that is written too", "Machine/%s names %s/%s",
			   name_of(machine), json_str_or(machine, "spec.infrastructureRef.kind", "?"),
			   json_str_or(machine, "spec.infrastructureRef.name", "?"));
	else if ((name && strcmp(name, json_str_or(ref, "name", "")) != 0) ||
		 (kind && strcmp(kind, want) != 0) || !name != !kind)
		check_fail(p->records, CHECK_TEMPLATE, false, CLUSTER_REMEDY,
			   "cloned from the control plane's template",
			   "%s/%s is said to be cloned from %s: the machine would be replaced",
			   kind_of(infra), name_of(infra), name ? name : "none");
}

/* A zone that is not there is passed over by the vSphere controllers without a word: the machines would be elsewhere. */
static void check_deployment(struct plan *p, const json_t *o)
{
	static const char *const refs[] = {"spec.template.spec.infrastructureRef", "spec.template.spec.bootstrap.configRef"};
	const char *domain = json_str(o, "spec.template.spec.failureDomain");

	for (size_t i = 0; i < ARRAY_LEN(refs); i++) {
		const json_t *ref = json_at(o, refs[i]);

		if (!find(p, json_str_or(ref, "kind", "?"), json_str_or(ref, "name", "?")))
			check_fail(p->records, CHECK_TEMPLATE, false, CLUSTER_REMEDY, "it is written too",
				   "MachineDeployment/%s names %s/%s", name_of(o), json_str_or(ref, "kind", "none"),
				   json_str_or(ref, "name", ""));
	}
	if (domain && find(p, "VSphereCluster", NULL) && !find(p, "VSphereDeploymentZone", domain))
		check_fail(p->records, CHECK_TEMPLATE, false, CLUSTER_REMEDY, "it is written too",
			   "MachineDeployment/%s names the failure domain %s", name_of(o), domain);
}

static void check_template(struct plan *p)
{
	const json_t *ref = json_at(p->control_plane, "spec.machineTemplate.spec.infrastructureRef");
	const json_t *o;

	if (!find(p, json_str_or(ref, "kind", "?"), json_str_or(ref, "name", "?")))
		check_fail(p->records, CHECK_TEMPLATE, false, CLUSTER_REMEDY, "it is written too",
			   "KubeadmControlPlane/%s names %s/%s", name_of(p->control_plane),
			   json_str_or(ref, "kind", "none"), json_str_or(ref, "name", ""));
	each_object(p, o)
		if (is_kind(o, "Machine") && is_control_plane(o))
			check_clone(p, o, ref);
	each_object(p, o)
		if (is_kind(o, "MachineDeployment"))
			check_deployment(p, o);
}

static void check_vm_id(struct plan *p, const json_t *machine, const char *id)
{
	const json_t *vm = find(p, "VSphereVM", name_of(machine));
	const char *bios = json_str(vm, "spec.biosUUID");

	if (vm && (!bios || strncmp(id, "vsphere://", 10) != 0 || strcmp(bios, id + 10) != 0))
		check_fail(p->records, CHECK_PROVIDER_IDS, false, CLUSTER_REMEDY,
			   "the UUID of the machine's provider id",
			   "VSphereVM/%s has spec.biosUUID %s, Machine %s", name_of(vm),
			   bios ? bios : "none", id);
}

static void check_provider_ids(struct plan *p)
{
	const json_t *o, *other;

	each_object(p, o) {
		const char *id = json_str(o, "spec.providerID"), *infra;

		if (!is_kind(o, "Machine"))
			continue;
		infra = json_str(infrastructure_of(p, o), "spec.providerID");
		if (!id || !infra || strcmp(id, infra) != 0) {
			check_fail(p->records, CHECK_PROVIDER_IDS, false,
				   "see what the infrastructure says of the machine (pcgctl cluster show)",
				   "one provider id", "Machine/%s has %s, its infrastructure %s",
				   name_of(o), id ? id : "none", infra ? infra : "none");
			continue;
		}
		check_vm_id(p, o, id);
		each_object(p, other)
			if (is_kind(other, "Machine") && other_i > o_i &&
			    strcmp(json_str_or(other, "spec.providerID", ""), id) == 0)
				check_fail(p->records, CHECK_PROVIDER_IDS, false,
					   "see which of the two is real, and delete the other",
					   "each id once", "Machine/%s and Machine/%s have %s",
					   name_of(o), name_of(other), id);
	}
}

/* ---- keys ---- */

static const struct {
	const char *suffix, *crt, *key;
	bool certificate;
} pairs[] = {
	{"ca", "ca.crt", "ca.key", true},
	{"etcd", "etcd.crt", "etcd.key", true},
	{"proxy", "proxy.crt", "proxy.key", true},
	{"sa", "sa.pub", "sa.key", false},
};

static char *secret_text(const json_t *secret, const char *key)
{
	const char *data = member(secret, "data", key);
	size_t len;
	char *text = data ? (char *)base64_decode(data, strlen(data), &len) : NULL;

	if (!text)
		return NULL;
	text = realloc(text, len + 1);
	assert(text);
	text[len] = '\0';
	return text;
}

static const json_t *pair_secret(const struct plan *p, size_t i, char name[300])
{
	snprintf(name, 300, "%s-%s", name_of(p->cluster), pairs[i].suffix);
	return find(p, "Secret", name);
}

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static bool belongs_together(size_t i, const char *crt, const char *key)
{
	struct secret *k = secret_new_str(key);
	AUTO_FREE char *pub = NULL;
	struct pcg_error err;
	bool same;

	if (pairs[i].certificate)
		same = pki_match(crt, k, &err) == 0;
	else
		same = pki_public_pem(k, &pub, &err) == 0 && strcmp(pub, crt) == 0;
	secret_unref(k);
	return same;
}

static void check_pair(struct plan *p, size_t i)
{
	const char *remedy = "the keys of this cluster must be the ones that its first node was built "
			     "with; see what the plane keeps of it";
	char name[300];
	const json_t *secret = pair_secret(p, i, name);
	const char *crt_had = json_str(p->facts->keys, pairs[i].crt),
		   *key_had = json_str(p->facts->keys, pairs[i].key);
	char *crt = secret_text(secret, "tls.crt"), *key = secret_text(secret, "tls.key");
	bool made = p->facts->made && crt_had && key_had;

	if (!crt || !key)
		check_fail(p->records, CHECK_KEY_PAIRS, false, remedy, "tls.crt and tls.key",
			   "Secret/%s is not written, or without them: a new pair would be made, "
			   "and no other control plane could join", name);
	else if (strcmp(json_str_or(secret, "type", ""), CAPI_SECRET_TYPE) != 0)
		check_fail(p->records, CHECK_KEY_PAIRS, false, CLUSTER_REMEDY, CAPI_SECRET_TYPE,
			   "Secret/%s has type %s", name, json_str_or(secret, "type", "none"));
	else if ((crt_had && strcmp(crt, crt_had) != 0) || (key_had && strcmp(key, key_had) != 0))
		check_fail(p->records, CHECK_KEY_PAIRS, false, remedy, "the pair of the recovery document",
			   "Secret/%s would hold another one", name);
	else if (!made && !belongs_together(i, crt, key))
		check_fail(p->records, CHECK_KEY_PAIRS, false, remedy, "a key that belongs to its certificate",
			   "those of Secret/%s do not belong together", name);
	wipe(crt);
	wipe(key);
}

static void check_key_pairs(struct plan *p)
{
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		check_pair(p, i);
}

static void check_serving_ca(struct plan *p)
{
	struct pki_info written, serving;
	struct pcg_error err;
	char name[300];
	AUTO_FREE char *crt = secret_text(pair_secret(p, 0, name), "tls.crt");

	if (!p->facts->serving_ca) {
		check_later(p->records, CHECK_SERVING_CA);
		return;
	}
	if (crt && strcmp(crt, p->facts->serving_ca) == 0)
		return;
	if (!crt || pki_cert_info(crt, &written, &err) ||
	    pki_cert_info(p->facts->serving_ca, &serving, &err))
		check_fail(p->records, CHECK_SERVING_CA, false, CLUSTER_REMEDY, "two certificates",
			   "Secret/%s or the CA that the API was verified against is none", name);
	else if (strcmp(written.sha256, serving.sha256) != 0)
		check_fail(p->records, CHECK_SERVING_CA, false,
			   "the keys of this cluster must be the ones it was built with", serving.sha256,
			   "Secret/%s would hold the CA %s", name, written.sha256);
}

static void check_validity(struct plan *p)
{
	int64_t now = clock_wall_ms();

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		char name[300], from[CLOCK_RFC3339_SIZE], until[CLOCK_RFC3339_SIZE];
		const json_t *secret = pair_secret(p, i, name);
		AUTO_FREE char *crt = secret_text(secret, "tls.crt");
		struct pki_info info;
		struct pcg_error err;

		if (!pairs[i].certificate || !crt || pki_cert_info(crt, &info, &err))
			continue;
		if (now < info.not_before_ms || now > info.not_after_ms)
			check_fail(p->records, CHECK_VALIDITY, false,
				   "set this machine's clock; if it is right, the cluster must be made anew",
				   "a certificate that is valid now", "Secret/%s is valid from %s to %s",
				   name, clock_rfc3339(info.not_before_ms, from),
				   clock_rfc3339(info.not_after_ms, until));
	}
}

static void check_identity(struct plan *p)
{
	const json_t *o, *ref;

	each_object(p, o) {
		ref = json_at(o, "spec.identityRef");
		if (json_is_object(ref) && strcmp(json_str_or(ref, "kind", "Secret"), "Secret") == 0 &&
		    json_str(ref, "name") && !find(p, "Secret", json_str(ref, "name")))
			check_fail(p->records, CHECK_IDENTITY, false, "update the provider plugin",
				   "it is written too", "%s/%s names Secret/%s", kind_of(o), name_of(o),
				   json_str(ref, "name"));
	}
}

void check_plan(const json_t *plan, const struct check_facts *facts, json_t *records)
{
	static void (*const fns[])(struct plan *p) = {
		[CHECK_PAUSED] = check_paused,
		[CHECK_LABELS] = check_labels,
		[CHECK_OWNERS] = check_owners,
		[CHECK_MACHINES] = check_machines,
		[CHECK_VERSIONS] = check_versions,
		[CHECK_CONFIGURATION] = check_configuration,
		[CHECK_TEMPLATE] = check_template,
		[CHECK_PROVIDER_IDS] = check_provider_ids,
		[CHECK_KEY_PAIRS] = check_key_pairs,
		[CHECK_SERVING_CA] = check_serving_ca,
		[CHECK_VALIDITY] = check_validity,
		[CHECK_IDENTITY] = check_identity,
	};
	struct plan p = {
		.objects = json_object_get(plan, "objects"), .facts = facts, .records = records};

	static_assert(ARRAY_LEN(fns) == CHECK_FIRST_OF_CLUSTER, "one function for each check");
	p.cluster = find(&p, "Cluster", NULL);
	p.control_plane = find(&p, "KubeadmControlPlane", NULL);
	for (size_t i = 0; i < ARRAY_LEN(fns); i++) {
		fns[i](&p);
		check_ok(records, (enum check_id)i);
	}
}
