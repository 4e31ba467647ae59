/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/finish.h"

#include "plugins/vsphere/task.h"

#include <stdio.h>
#include <string.h>

/*
 * The VM-VM anti-affinity rule of a cluster's control planes, one in each compute cluster where they are. Rules
 * are by name, and written whole: what is written is read again, for another thread may have written it at the same time.
 * A machine that is destroyed leaves its rule by itself. With fully automated DRS the rule is obeyed at power-on and
 * later; with DRS off it is kept and has no effect.
 */

#define WRITES_MAX 4

struct rule {
	const char *name;
	const struct vs_ref *vm;
	bool found, holds;
	char key[24];
	json_t *vms;       /* ids */
};

static void on_cluster(void *arg, const struct xn *object)
{
	struct rule *r = arg;
	const struct xn *config = xn_prop(object, "configurationEx");

	for (const struct xn *one = xn_child(config, "rule"); one; one = xn_next(one, "rule")) {
		if (strcmp(xn_get(one, "name"), r->name) != 0)
			continue;
		r->found = true;
		snprintf(r->key, sizeof(r->key), "%s", xn_get(one, "key"));
		for (const struct xn *vm = xn_child(one, "vm"); vm; vm = xn_next(vm, "vm")) {
			json_array_append_new(r->vms, json_string(xn_text(vm)));
			r->holds = r->holds || (r->vm && strcmp(xn_text(vm), r->vm->value) == 0);
		}
	}
}

static int rule_read(struct vsphere *v, struct pcg_call *call, const struct vs_ref *compute, struct rule *r, struct vs_err *err)
{
	static const char *const paths[] = { "configurationEx" };

	r->found = r->holds = false;
	json_array_clear(r->vms);
	return object_read(v, call, compute, paths, 1, on_cluster, r, err);
}

static void write_info(struct soap *s, const struct rule *r)
{
	struct vs_ref vm = { "VirtualMachine", "" };
	json_t *one;
	size_t i;

	soap_open_type(s, "info", "ClusterAntiAffinityRuleSpec");
	if (r->found)
		soap_text(s, "key", r->key);
	soap_bool(s, "enabled", true);
	soap_text(s, "name", r->name);
	soap_bool(s, "userCreated", true);
	json_array_foreach(r->vms, i, one) {
		snprintf(vm.value, sizeof(vm.value), "%s", json_string_value(one));
		soap_ref(s, "vm", &vm);
	}
	soap_ref(s, "vm", r->vm);
	soap_close(s);
}

/* operation: "add", "edit", "remove". */
static int rule_write(struct vsphere *v, struct pcg_call *call, const struct vs_ref *compute, const struct rule *r,
		      const char *operation, struct vs_err *err)
{
	struct vs_ref task;
	struct soap s;
	int failed;

	soap_begin(&s, "ReconfigureComputeResource_Task", compute);
	soap_open_type(&s, "spec", "ClusterConfigSpecEx");
	soap_open(&s, "rulesSpec");
	soap_text(&s, "operation", operation);
	if (strcmp(operation, "remove") == 0) {
		soap_open_type(&s, "removeKey", "xsd:int");
		xmlTextWriterWriteString(s.w, BAD_CAST r->key);
		soap_close(&s);
	} else {
		write_info(&s, r);
	}
	soap_close(&s);
	soap_close(&s);
	soap_bool(&s, "modify", true);
	failed = vs_task(&v->session, call, &s, &task, err);
	return failed ? failed : task_end(v, call, &task, err);
}

static void rule_name(const json_t *cluster, char *out, size_t size)
{
	snprintf(out, size, "pcg %s control planes %s", vs_str(cluster, "name"), vs_str(cluster, "uid"));
}

static int explain(struct vs_err *err, const char *name)
{
	struct vs_err why = *err;

	vs_fail(err, why.class, why.remedy, "the DRS rule \"%s\": %s", name, why.text);
	snprintf(err->fault, sizeof(err->fault), "%s", why.fault);
	return -1;
}

int rule_join(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const struct vs_ref *compute,
	      const struct vs_ref *vm, struct vs_err *err)
{
	struct rule r = { .vm = vm };
	char name[160];
	int failed = 0, writes = 0;

	rule_name(cluster, name, sizeof(name));
	r.name = name;
	r.vms = json_array();
	while (!failed && !(failed = rule_read(v, call, compute, &r, err)) && !r.holds) {
		if (writes++ == WRITES_MAX) {
			vs_fail(err, PCG_ERR_RETRY, "Nothing: it is tried again.", "somebody else keeps changing it");
			failed = -1;
			break;
		}
		failed = rule_write(v, call, compute, &r, r.found ? "edit" : "add", err);
		/* Made by another thread between read and write, or gone: the next read tells. */
		if (failed && strcmp(err->fault, "InvalidArgument") == 0 && writes < WRITES_MAX)
			failed = 0;
	}
	json_decref(r.vms);
	return failed ? explain(err, name) : 0;
}

int rule_remove(struct vsphere *v, struct pcg_call *call, const json_t *cluster, const struct vs_ref *compute,
		struct vs_err *err)
{
	struct rule r = { .vm = NULL };
	char name[160];
	int failed;

	rule_name(cluster, name, sizeof(name));
	r.name = name;
	r.vms = json_array();
	failed = rule_read(v, call, compute, &r, err);
	if (!failed && r.found)
		failed = rule_write(v, call, compute, &r, "remove", err);
	json_decref(r.vms);
	return failed ? explain(err, name) : 0;
}
