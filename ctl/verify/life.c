/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster and its machines, from nothing to nothing, with the documents that the lifecycle gives. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "core/id.h"
#include "pcg/provider.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char user_data[] = "#cloud-config\n"
				"# quotes ' \" \\ ` and $HOME %s, {{ braces }}, {% blocks %}, ]]> &amp; <!-- é -->\n"
				"write_files:\n"
				"- path: /etc/kubernetes/pki/ca.key\n"
				"  content: |\n"
				"    ${CANARY}\n"
				"runcmd:\n"
				"- true\n";

static char *user_data_of(const struct verify *v)
{
	AUTO_JSON json_t *doc = json_pack("{s:s}", "text", json_str_or(v->docs, "userData", user_data));

	input_replace(doc, "CANARY", v->canary);
	return strdup(json_str_or(doc, "text", ""));
}

static bool is_control_plane(const json_t *pool)
{
	return json_bool_or(pool, "controlPlane", false);
}

/* The first machine is of the control plane. */
static json_t *pool_for(const json_t *pools, size_t number)
{
	json_t *pool;
	size_t i, n = json_array_size(pools);

	if (number)
		return json_array_get(pools, number % n);
	json_array_foreach(pools, i, pool)
		if (is_control_plane(pool))
			return pool;
	return json_array_get(pools, 0);
}

static void machine_init(const struct verify *v, struct life *l, struct machine *m, size_t number)
{
	char suffix[6];

	m->pool_spec = pool_for(json_at(l->cluster, "spec.pools"), number);
	m->pool = json_str_or(m->pool_spec, "name", "");
	m->role = is_control_plane(m->pool_spec) ? "control-plane" : "worker";
	id_hex24(m->uid);
	id_suffix(suffix, 5);
	snprintf(m->name, sizeof(m->name), "%.40s-%.24s-%s", l->name, m->pool, suffix);
	m->user_data = user_data_of(v);
}

struct life *life_new(struct verify *v, size_t machines)
{
	struct life *l = calloc(1, sizeof(*l));
	char uid[25], suffix[6], name[48];
	json_t *spec = json_deep_copy(json_at(v->docs, "cluster.spec"));

	assert(l && machines <= LIFE_MACHINES);
	id_hex24(uid);
	id_suffix(suffix, 5);
	snprintf(name, sizeof(name), "%.32s-%s", json_str_or(v->docs, "cluster.name", "verify"), suffix);
	json_object_set_new(spec, "uid", json_string(uid));
	json_object_set_new(spec, "name", json_string(name));
	l->cluster = json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "uid", uid, "name", name, "tenant", "verify", "project",
			       "verify", "epoch", (json_int_t)1, "spec", spec);
	l->uid = json_str_or(l->cluster, "uid", "");
	l->name = json_str_or(l->cluster, "name", "");
	l->n = machines;
	for (size_t i = 0; i < machines; i++)
		machine_init(v, l, &l->machines[i], i);
	l->next = v->lives;
	v->lives = l;
	return l;
}

void life_free(struct life *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct machine *m = &l->machines[i];

		json_decref(m->observed);
		json_decref(m->ensured);
		json_decref(m->deleted);
		free(m->user_data);
	}
	json_decref(l->cluster);
	json_decref(l->endpoint);
	json_decref(l->infra);
	free(l);
}

static json_t *mark(const struct life *l, const struct machine *m)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:I}", "cluster", l->uid, "pool", m ? m->pool : "", "machine", m ? m->uid : "",
			 "gateway", "pcgctl-plugin-verify", "epoch", (json_int_t)1);
}

json_t *life_doc(const struct life *l, const struct machine *m, const char *op)
{
	json_t *doc = json_pack("{s:O, s:o}", "cluster", l->cluster, "mark", mark(l, m));
	const json_t *observed = m && strcmp(op, "machine_ensure") != 0 ? m->observed : l->infra;

	if (m) {
		json_object_set_new(doc, "machine", json_pack("{s:s, s:s, s:s, s:s, s:O}", "uid", m->uid, "name", m->name,
							      "pool", m->pool, "role", m->role, "poolSpec", m->pool_spec));
		if (strcmp(op, "machine_ensure") == 0)
			json_object_set_new(doc, "userData", json_string(m->user_data));
	}
	if (strcmp(op, "cluster_ensure") == 0)
		json_object_set_new(doc, "check", json_false());
	else if (observed)
		json_object_set(doc, "observed", (json_t *)observed);
	return doc;
}

int life_cluster(struct verify *v, struct life *l)
{
	struct step s;
	int r;

	step_init(&s, ACCOUNT, "cluster_ensure", l->uid, life_doc(l, NULL, "cluster_ensure"), NULL);
	l->maybe = true;
	steps_run(v, &s, 1);
	r = step_done(v, &s, "cluster_ensure: makes what machines need (folder, endpoint)");
	if (!r) {
		json_t *endpoint = json_object_get(s.answer, "endpoint");

		json_decref(l->endpoint);
		json_decref(l->infra);
		l->endpoint = json_is_object(endpoint) ? json_incref(endpoint) :
							 json_deep_copy(json_at(l->cluster, "spec.controlPlaneEndpoint"));
		l->infra = json_deep_copy(json_object_get(s.answer, "observed"));
	}
	step_free(&s);
	return r;
}

void life_ensured(struct life *l, struct machine *m, struct step *s)
{
	json_decref(m->ensured);
	m->ensured = TAKE(s->checkpoint);
	if (s->status != PCG_STEP_DONE)
		return;
	json_decref(m->observed);
	m->observed = json_deep_copy(json_object_get(s->answer, "observed"));
}

int life_machine(struct verify *v, struct life *l, struct machine *m)
{
	struct step s;
	int r;

	step_init(&s, ACCOUNT, "machine_ensure", m->uid, life_doc(l, m, "machine_ensure"), TAKE(m->ensured));
	m->maybe = true;
	steps_run(v, &s, 1);
	r = step_done(v, &s, CLAUSE_ENSURE);
	life_ensured(l, m, &s);
	step_free(&s);
	return r;
}

int life_do(struct verify *v, struct life *l, struct machine *m, const char *op)
{
	struct step s;
	int r;

	step_init(&s, ACCOUNT, op, m->uid, life_doc(l, m, op), NULL);
	steps_run(v, &s, 1);
	r = step_done(v, &s, strcmp(op, "machine_redact") == 0 ? "machine_redact: takes keys out of what the infrastructure keeps" :
								 "machine_power_off: hard power off, nothing removed");
	step_free(&s);
	return r;
}

int life_delete(struct verify *v, struct life *l, struct machine *m)
{
	struct step s;
	int r;

	step_init(&s, ACCOUNT, "machine_delete", m->uid, life_doc(l, m, "machine_delete"), TAKE(m->deleted));
	steps_run(v, &s, 1);
	r = step_done(v, &s, CLAUSE_DELETE);
	m->deleted = TAKE(s.checkpoint);
	if (!r)
		m->maybe = false;
	step_free(&s);
	return r;
}

int life_end(struct verify *v, struct life *l)
{
	struct step s;
	int r;

	step_init(&s, ACCOUNT, "cluster_delete", l->uid, life_doc(l, NULL, "cluster_delete"), NULL);
	steps_run(v, &s, 1);
	r = step_done(v, &s, "cluster_delete: what cluster_ensure made; machines are gone before");
	if (!r && json_array_size(json_object_get(s.answer, "left"))) {
		AUTO_FREE char *left = json_text(json_object_get(s.answer, "left"));

		r = verify_fail(v, "cluster_delete: done {\"left\":[{\"id\",\"name\",\"why\"}]}", "nothing left, for nobody else used it",
				"left: %.300s", left);
	}
	if (!r)
		l->maybe = false;
	step_free(&s);
	return r;
}

int life_make(struct verify *v, struct life *l)
{
	int r = life_cluster(v, l);

	for (size_t i = 0; i < l->n && !r; i++)
		r = life_machine(v, l, &l->machines[i]);
	return r;
}

int life_remove(struct verify *v, struct life *l)
{
	int r = 0;

	for (size_t i = 0; i < l->n && !r; i++)
		r = life_delete(v, l, &l->machines[i]);
	return r ? r : life_end(v, l);
}

json_t *life_inventory(struct verify *v, const char *account, const char *cluster)
{
	json_t *items = NULL;
	struct step s;

	step_init(&s, account, "inventory", cluster ? cluster : "", json_pack("{s:s?}", "cluster", cluster), NULL);
	if (!cluster)
		json_object_set_new(s.doc, "cluster", json_null());
	steps_run(v, &s, 1);
	if (!step_done(v, &s, CLAUSE_INVENTORY)) {
		items = json_object_get(s.answer, "items");
		items = json_is_array(items) ? json_incref(items) : json_array();
	}
	step_free(&s);
	return items;
}

const json_t *life_item(const json_t *items, const struct machine *m, size_t *n)
{
	const json_t *found = NULL;
	size_t i;
	json_t *e;

	*n = 0;
	json_array_foreach(items, i, e) {
		if (strcmp(json_str_or(e, "kind", ""), "machine") != 0 || json_str(e, "stranger") ||
		    strcmp(json_str_or(e, "machine", ""), m->uid) != 0)
			continue;
		found = e;
		++*n;
	}
	return found;
}

static size_t machines_in(const json_t *items, const char *cluster)
{
	size_t i, n = 0;
	json_t *e;

	json_array_foreach(items, i, e)
		n += strcmp(json_str_or(e, "kind", ""), "machine") == 0 && strcmp(json_str_or(e, "cluster", ""), cluster) == 0;
	return n;
}

static int count_by_command(struct verify *v, const struct life *l, size_t expected, const char *when)
{
	AUTO_FREE char *out = NULL;
	char *end;
	unsigned long n;

	if (!command_there(v, "count"))
		return 0;
	if (command_run(v, "count", l, NULL, &out))
		return -1;
	n = strtoul(out, &end, 10);
	if (end == out)
		return verify_fail(v, "commands.count of DOCS.json", "a number", "it wrote \"%.60s\"", out);
	if (n == expected)
		return 0;
	return verify_fail(v, CLAUSE_STEPS, expected == 1 ? "1 machine" : "as many as were asked for, and none once they are gone",
			   "%s: %lu machines of the cluster by commands.count, not %zu", when, n, expected);
}

int life_count(struct verify *v, const struct life *l, size_t expected, const char *when)
{
	AUTO_JSON json_t *items = life_inventory(v, ACCOUNT, l->uid);
	size_t n;

	if (!items)
		return -1;
	n = machines_in(items, l->uid);
	if (n != expected)
		return verify_fail(v, expected ? CLAUSE_STEPS : CLAUSE_DELETE, expected == 1 ? "1 machine" :
				   "as many as were asked for, and none once they are gone",
				   "%s: %zu machines of the cluster in the inventory, not %zu", when, n, expected);
	for (size_t i = 0; i < l->n && expected == l->n; i++) {
		life_item(items, &l->machines[i], &n);
		if (n != 1)
			return verify_fail(v, CLAUSE_INVENTORY ", with \"machine\": its uid", "once",
					   "%s: machine %s is in the inventory %zu times", when, l->machines[i].name, n);
	}
	return count_by_command(v, l, expected, when);
}
