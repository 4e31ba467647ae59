/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/vsphere.h"

#include "plugins/vsphere/check.h"
#include "plugins/vsphere/picklist.h"
#include "plugins/vsphere/kept.h"
#include "plugins/vsphere/clone_limit.h"
#include "plugins/vsphere/placement.h"
#include "plugins/vsphere/promise.h"
#include "plugins/vsphere/track.h"
#include "plugins/vsphere/zones.h"

#include <libxml/parser.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *vs_str(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

const char *vs_at(const json_t *j, const char *a, const char *b)
{
	return vs_str(json_object_get(j, a), b);
}

const json_t *vs_spec(const struct vsphere *v)
{
	return json_object_get(v->account, "spec");
}

static void dump(struct vsphere *v, struct pcg_call *call, json_t *doc,
		 void (*answer)(struct vsphere *v, struct pcg_call *call, const char *text, uint32_t ms), uint32_t ms)
{
	char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;

	answer(v, call, text, ms);
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
	json_decref(doc);
}

static void answer_done(struct vsphere *v, struct pcg_call *call, const char *text, uint32_t ms)
{
	v->svc->done(call, text);
}

static void answer_pending(struct vsphere *v, struct pcg_call *call, const char *text, uint32_t ms)
{
	v->svc->pending(call, ms, NULL, text);
}

void vs_done(struct vsphere *v, struct pcg_call *call, json_t *doc)
{
	dump(v, call, doc, answer_done, 0);
}

void vs_pending(struct vsphere *v, struct pcg_call *call, uint32_t after_ms, json_t *checkpoint)
{
	dump(v, call, checkpoint, answer_pending, after_ms);
}

void vs_error(struct vsphere *v, struct pcg_call *call, const struct vs_err *err)
{
	v->svc->error(call, err->class, err->text, err->remedy);
}

json_t *vs_doc(struct vsphere *v, struct pcg_call *call, const char *text)
{
	json_t *doc = json_loads(text ? text : "", 0, NULL);

	if (!doc) {
		v->svc->error(call, PCG_ERR_BUG, "the op's document is no JSON object", "");
	} else if (!v->usable) {
		vs_error(v, call, &v->unusable);
		json_decref(doc);
		doc = NULL;
	} else {
		const char *machine = vs_at(doc, "machine", "uid"), *cluster = vs_at(doc, "cluster", "uid");

		vs_outage_subject(*machine ? machine : *cluster ? cluster : vs_str(doc, "cluster"));
	}
	return doc;
}

void vs_problem(json_t *problems, const char *field, const char *remedy, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	vs_utf8(text);
	json_array_append_new(problems, json_pack("{s:s, s:s, s:s}", "field", field, "text", text, "remedy", remedy));
	free(text);
}

/* 0: not set, or out of what makes sense. */
static unsigned setting_count(const struct vsphere *v, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(json_object_get(v->account, "settings"), name));

	return n > 0 && n <= 1000 ? (unsigned)n : 0;
}

static int32_t vs_start(struct pcg_host *host, const struct pcg_services *services, void **plugin, char *err, size_t err_size)
{
	const char *account = services->account(host);
	struct vsphere *v = account ? calloc(1, sizeof(*v)) : NULL;

	if (!v) {
		snprintf(err, err_size, "no account");
		return -1;
	}
	xmlInitParser();
	v->host = host;
	v->svc = services;
	v->account = json_loads(account, 0, NULL);
	/* An account that cannot be used still validates, which says why. */
	v->usable = !vs_session_init(&v->session, services, host, vs_spec(v), true, &v->unusable);
	v->placement = placement_new();
	v->tracks = track_table_new();
	v->inventory = inventory_new();
	v->settle = settle_new();
	v->picks = picks_new();
	v->kept = kept_new();
	v->zones = zones_new();
	v->checks = checks_new();
	v->clones = clone_limit_new(setting_count(v, "cloneTasks"));
	v->promises = promises_new();
	*plugin = v;
	return 0;
}

static void vs_stop(void *plugin, uint32_t final)
{
	struct vsphere *v = plugin;

	if (v->usable)
		vs_session_close(&v->session, NULL);
	vs_session_fini(&v->session);
	placement_free(v->placement);
	track_table_free(v->tracks);
	inventory_free(v->inventory);
	settle_free(v->settle);
	picks_free(v->picks);
	kept_free(v->kept);
	zones_free(v->zones);
	checks_free(v->checks);
	clone_limit_free(v->clones);
	promises_free(v->promises);
	json_decref(v->account);
	free(v);
}

static const struct pcg_provider provider = {
	.struct_size = sizeof(provider),
	.abi_major = PCG_PROVIDER_ABI_MAJOR,
	.abi_minor = PCG_PROVIDER_ABI_MINOR,
	.caps_optional = PCG_CAP_WATCH | PCG_CAP_REDACT | PCG_CAP_POWER_OFF,
	.max_parallel = VS_OPS_MAX,
	.name = "vsphere",
	.version = PACKAGE_VERSION,
	.start = vs_start,
	.stop = vs_stop,
	.account_validate = vs_account_validate,
	.pick_list = vs_pick_list,
	.cluster_ensure = vs_cluster_ensure,
	.cluster_delete = vs_cluster_delete,
	.machine_ensure = vs_machine_ensure,
	.machine_delete = vs_machine_delete,
	.machine_redact = vs_machine_redact,
	.machine_power_off = vs_machine_power_off,
	.inventory = vs_inventory,
	.watch = vs_watch,
	.export_objects = vs_export_objects,
	.import_objects = vs_import_objects,
	.settings = vs_settings,
};

PCG_PROVIDER_EXPORT const struct pcg_provider *pcg_provider_v0(uint32_t host_abi);
const struct pcg_provider *pcg_provider_v0(uint32_t host_abi)
{
	return host_abi >> 16 == PCG_PROVIDER_ABI_MAJOR ? &provider : NULL;
}
