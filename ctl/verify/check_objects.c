/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the provider's Cluster API objects: out, into an API server, and back. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "pcg/provider.h"

#include <stdio.h>
#include <string.h>

#define GROUP "infrastructure.cluster.x-k8s.io/"
#define CLAUSE_EXPORT "export_objects: the provider's Cluster API objects in the infrastructure.cluster.x-k8s.io group, spec only, " \
		      "status apart. No owner references"
#define CONTROL_PLANE "cluster.x-k8s.io/control-plane"

static json_t *export_doc(const struct life *l)
{
	json_t *doc = life_doc(l, NULL, "export_objects"), *machines = json_array();

	for (size_t i = 0; i < l->n; i++) {
		json_t *with = life_doc(l, &l->machines[i], "export_objects"), *m = json_object_get(with, "machine");

		json_object_set(m, "observed", l->machines[i].observed);
		json_object_set(m, "mark", json_object_get(with, "mark"));
		json_array_append(machines, m);
		json_decref(with);
	}
	json_object_set_new(doc, "machines", machines);
	json_object_set(doc, "pools", json_at(l->cluster, "spec.pools"));
	json_object_set(doc, "endpoint", l->endpoint ? l->endpoint : json_null());
	return doc;
}

/* New reference; NULL: told. */
static json_t *exported(struct verify *v, struct life *l)
{
	json_t *objects = NULL;
	struct step s;

	step_init(&s, ACCOUNT, "export_objects", l->uid, export_doc(l), NULL);
	steps_run(v, &s, 1);
	if (!step_done(v, &s, CLAUSE_EXPORT))
		objects = json_incref(json_object_get(s.answer, "objects"));
	step_free(&s);
	return objects;
}

static size_t of_role(const json_t *objects, const char *role)
{
	size_t i, n = 0;
	json_t *e;

	json_array_foreach(objects, i, e)
		n += strcmp(json_str_or(e, "role", ""), role) == 0;
	return n;
}

static int count_role(struct verify *v, const json_t *objects, const char *role, size_t expected)
{
	size_t n = of_role(objects, role);
	char text[32];

	snprintf(text, sizeof(text), "%zu", expected);
	return n == expected ? 0 : verify_fail(v, CLAUSE_EXPORT, text, "%zu objects of role %s", n, role);
}

/* One for each pool of workers at least, and none of a pool that there is not. */
static void count_worker_templates(struct verify *v, const struct life *l, const json_t *objects)
{
	size_t i, k, known = 0;
	json_t *pool, *e;

	json_array_foreach(json_at(l->cluster, "spec.pools"), i, pool) {
		size_t n = 0;

		if (json_bool_or(pool, "controlPlane", false))
			continue;
		json_array_foreach(objects, k, e)
			n += strcmp(json_str_or(e, "role", ""), "workerTemplate") == 0 &&
			     strcmp(json_str_or(e, "pool", ""), json_str_or(pool, "name", "")) == 0;
		known += n;
		if (!n)
			verify_fail(v, CLAUSE_EXPORT, "one for each place of the pool", "0 objects of role workerTemplate for pool %s",
				    json_str_or(pool, "name", ""));
	}
	count_role(v, objects, "workerTemplate", known);
}

static void look_at_object(struct verify *v, const struct life *l, const json_t *e)
{
	const json_t *o = json_object_get(e, "object");
	const char *role = json_str_or(e, "role", ""), *kind = json_str_or(o, "kind", "");
	bool ours = strcmp(role, "identity") != 0 && strcmp(role, "extra") != 0;

	if (ours && strncmp(json_str_or(o, "apiVersion", ""), GROUP, strlen(GROUP)) != 0)
		verify_fail(v, CLAUSE_EXPORT, "the infrastructure group", "%s is of %s", kind, json_str_or(o, "apiVersion", ""));
	if (json_at(o, "metadata.ownerReferences"))
		verify_fail(v, CLAUSE_EXPORT, "none", "%s has owner references", kind);
	if (json_object_get(o, "status"))
		verify_fail(v, CLAUSE_EXPORT, "status beside the object", "%s has its status inside", kind);
	if (strstr(role, "Template")) {
		AUTO_FREE char *text = json_text(o);

		if (!strstr(text, l->uid))
			verify_fail(v, "the export writes the mark into what controllers build from", "the cluster's uid in it",
				    "%s has no mark", kind);
	}
}

static const json_t *object_of(const json_t *objects, const struct machine *m)
{
	size_t i;
	json_t *e;

	json_array_foreach(objects, i, e)
		if (strcmp(json_str_or(e, "role", ""), "machine") == 0 && strcmp(json_str_or(e, "machine", ""), m->uid) == 0)
			return e;
	return NULL;
}

static int look_at_objects(struct verify *v, const struct life *l, const json_t *objects)
{
	size_t i;
	json_t *e;

	count_role(v, objects, "cluster", 1);
	count_role(v, objects, "controlPlaneTemplate", 1);
	count_worker_templates(v, l, objects);
	count_role(v, objects, "machine", l->n);
	json_array_foreach(objects, i, e)
		look_at_object(v, l, e);
	for (i = 0; i < l->n; i++) {
		const struct machine *m = &l->machines[i];
		const json_t *o = object_of(objects, m);

		if (!o)
			verify_fail(v, CLAUSE_EXPORT, "an object of role machine with \"machine\": its uid", "machine %s has none", m->name);
		else if (strcmp(json_str_or(o, "object.spec.providerID", ""), json_str_or(m->observed, "providerID", "")) != 0)
			verify_fail(v, CLAUSE_EXPORT, json_str_or(m->observed, "providerID", ""), "spec.providerID of machine %s is %s",
				    m->name, json_str_or(o, "object.spec.providerID", "not there"));
	}
	return json_array_size(v->failures) ? -1 : 0;
}

/* As they stand in a cluster: with their status, and the label that its machines of the control plane have. */
static json_t *as_read(const struct life *l, const json_t *objects, const json_t *read)
{
	json_t *list = json_array(), *e, *o;
	size_t i;

	json_array_foreach(objects, i, e) {
		const json_t *from = read ? json_array_get(read, i) : json_object_get(e, "object");

		o = json_deep_copy(from);
		if (json_object_get(e, "status"))
			json_object_set(o, "status", json_object_get(e, "status"));
		for (size_t k = 0; k < l->n; k++)
			if (strcmp(l->machines[k].uid, json_str_or(e, "machine", "")) == 0 &&
			    strcmp(l->machines[k].role, "control-plane") == 0) {
				json_t *meta = json_object_get(o, "metadata"), *labels = json_object_get(meta, "labels");

				if (!labels) {
					labels = json_object();
					json_object_set_new(meta, "labels", labels);
				}
				json_object_set_new(labels, CONTROL_PLANE, json_string(""));
			}
		json_array_append_new(list, o);
	}
	return list;
}

static const json_t *imported_machine(const json_t *machines, const char *name)
{
	size_t i;
	json_t *e;

	json_array_foreach(machines, i, e)
		if (strcmp(json_str_or(e, "name", ""), name) == 0)
			return e;
	return NULL;
}

static int same_machine(struct verify *v, const struct machine *m, const json_t *found)
{
	static const char clause[] = "import_objects: done {\"machines\":[{\"name\",\"pool\",\"role\",\"observed\"}]}";
	const struct {
		const char *member, *expected;
	} members[] = { { "pool", m->pool }, { "role", m->role },
			{ "observed.providerID", json_str_or(m->observed, "providerID", "") } };

	if (!found)
		return verify_fail(v, clause, "each machine that was exported", "machine %s does not come back", m->name);
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(json_str_or(found, members[i].member, ""), members[i].expected) != 0)
			return verify_fail(v, clause, members[i].expected, "%s of machine %s comes back as \"%s\"", members[i].member,
					   m->name, json_str_or(found, members[i].member, ""));
	return 0;
}

/* objects is stolen. adopt: what was observed is from now on what came back. */
static int import(struct verify *v, struct life *l, json_t *objects, bool adopt)
{
	const json_t *machines;
	struct step s;
	int r;

	step_init(&s, ACCOUNT, "import_objects", l->uid, json_pack("{s:o}", "objects", objects), NULL);
	steps_run(v, &s, 1);
	r = step_done(v, &s, "import_objects: {\"objects\":[...]} as read back from the cluster");
	machines = json_object_get(s.answer, "machines");
	if (!r && json_array_size(machines) != l->n)
		r = verify_fail(v, "import_objects", "the machines that were exported", "%zu machines come back of %zu",
				json_array_size(machines), l->n);
	for (size_t i = 0; i < l->n && !r; i++) {
		struct machine *m = &l->machines[i];
		const json_t *found = imported_machine(machines, m->name);

		r = same_machine(v, m, found);
		if (r || !adopt)
			continue;
		json_decref(m->observed);
		m->observed = json_deep_copy(json_object_get(found, "observed"));
	}
	step_free(&s);
	return r;
}

int check_objects(struct verify *v)
{
	struct life *l = life_new(v, 2);
	AUTO_JSON json_t *objects = NULL, *again = NULL;

	if (life_make(v, l))
		return -1;
	objects = exported(v, l);
	if (!objects || look_at_objects(v, l, objects))
		return -1;
	again = exported(v, l);
	if (!again || !json_equal(objects, again))
		return verify_fail(v, CLAUSE_EXPORT, "the same objects", "export_objects asked again gives other objects");
	if (import(v, l, as_read(l, objects, NULL), true))
		return -1;
	return life_remove(v, l) || life_count(v, l, 0, "deleted by what was imported");
}

int check_server(struct verify *v)
{
	AUTO_JSON json_t *objects = NULL, *read = NULL;
	struct life *l;

	if (!v->kubeconfig)
		return verify_skip(v, "no --kubeconfig");
	l = life_new(v, 2);
	if (life_make(v, l))
		return -1;
	objects = exported(v, l);
	if (!objects || kubeconfig_try(v, objects, &read) || import(v, l, as_read(l, objects, read), false))
		return -1;
	return life_remove(v, l);
}
