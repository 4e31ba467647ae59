/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/finish.h"

#include "plugins/vsphere/task.h"
#include "plugins/vsphere/zones.h"

#include <stdio.h>
#include <string.h>

static void read_options(struct vsphere *v, const struct subject *s, struct vs_options *o)
{
	json_t *problems = json_array();

	options_read(v, s->cluster, json_object_get(s->machine, "poolSpec"), NULL, o, problems);
	json_decref(problems);
}

struct version {
	char text[16];
};

static void on_version(void *arg, const struct xn *object)
{
	struct version *version = arg;

	snprintf(version->text, sizeof(version->text), "%s", xn_text(xn_prop(object, "config.version")));
}

/* A machine of that version or a newer one stays as it is: there is no way back. vCenter 7 knows versions up to vmx-19
 * (7.0 U2), 8 up to vmx-21 and more; which of them a host can run says UpgradeVM_Task by NotSupported. */
static int upgrade(struct vsphere *v, struct pcg_call *call, const struct vs_ref *vm, const char *wanted, bool *upgraded,
		   struct vs_err *err)
{
	static const char *const paths[] = { "config.version" };
	struct version have = { "" };
	struct vs_ref task;
	struct soap s;
	int r;

	if (object_read(v, call, vm, paths, 1, on_version, &have, err))
		return -1;
	if (options_hardware(have.text) >= options_hardware(wanted))
		return 0;
	*upgraded = true;
	soap_begin(&s, "UpgradeVM_Task", vm);
	soap_text(&s, "version", wanted);
	v->svc->fault_point(v->host, "vsphere.before_upgrade");
	r = vs_task(&v->session, call, &s, &task, err);
	v->svc->fault_point(v->host, "vsphere.after_upgrade");
	if (!r)
		r = task_end(v, call, &task, err);
	return r && strncmp(err->fault, "AlreadyUpgraded", 15) == 0 ? 0 : r;
}

int finish_off(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct vs_ref *vm, bool *upgraded,
	       struct vs_err *err)
{
	struct vs_options o;
	struct vs_err why;

	read_options(v, s, &o);
	*upgraded = false;
	if (!*o.hardware || !upgrade(v, call, vm, o.hardware, upgraded, err))
		return 0;
	why = *err;
	vs_fail(err, why.class, why.remedy, "upgrading machine %s to hardware version %s: %s", s->name, o.hardware, why.text);
	snprintf(err->fault, sizeof(err->fault), "%s", why.fault);
	return -1;
}

static int keep_apart(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct vs_ref *vm, struct vs_err *err)
{
	const json_t *pool = json_object_get(s->machine, "poolSpec");
	struct vs_options o;
	struct spot spot;
	size_t zone;

	if (zone_of(v, call, s, vm, &zone, err) || clone_find(v, call, s->cluster, pool, zone, &spot, &o, err))
		return -1;
	return rule_join(v, call, s->cluster, &spot.cluster, vm, err);
}

int finish_on(struct vsphere *v, struct pcg_call *call, const struct subject *s, const struct vs_ref *vm, struct vs_err *err)
{
	struct vs_options o;
	int r = 0;

	read_options(v, s, &o);
	if (json_object_size(o.attributes))
		r = attributes_set(v, call, vm, o.attributes, err);
	if (!r && o.tags)
		r = tags_attach(v, call, vm, o.tags, err);
	if (!r && o.anti_affinity && strcmp(vs_str(s->machine, "role"), "control-plane") == 0)
		r = keep_apart(v, call, s, vm, err);
	return r;
}
