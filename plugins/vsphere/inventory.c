/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/addresses.h"
#include "plugins/vsphere/fault.h"
#include "plugins/vsphere/task.h"
#include "plugins/vsphere/track_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * Everything with our mark, by the infrastructure itself: a view of all machines of the vCenter, read
 * page by page with the mark's keys alone. The view stays for the session. One read answers all who
 * asked before it began.
 */

#define RETURNED_MAX 100000
#define MADE_FOR_MS 500u

struct inventory {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool reading;
	uint64_t begun, done;   /* reads, counted */
	json_t *items;          /* of read number done; NULL: it failed */
	struct vs_err err;
	unsigned generation;
	struct vs_ref view;
	uint64_t read_at;       /* monotonic: when the last read began */
	bool want_clones;       /* by the next read */
	json_t *clones;         /* that ran at read number done, ids; NULL: it did not look */
	char made_for[64];      /* cluster whose next inventory is the last read, "" none */
};

struct inventory *inventory_new(void)
{
	struct inventory *inv = calloc(1, sizeof(*inv));

	assert(inv);
	pthread_mutex_init(&inv->lock, NULL);
	pthread_cond_init(&inv->changed, NULL);
	return inv;
}

void inventory_free(struct inventory *inv)
{
	json_decref(inv->items);
	json_decref(inv->clones);
	pthread_mutex_destroy(&inv->lock);
	pthread_cond_destroy(&inv->changed);
	free(inv);
}

static const char *const keys[] = { MARK_CLUSTER, MARK_POOL, MARK_MACHINE, MARK_ROLE, METADATA };

static json_t *addresses(const struct xn *object)
{
	const char *ip = xn_text(xn_prop(object, "guest.ipAddress"));

	return address_usable(ip) ? json_pack("[{s:s, s:s}]", "type", "ExternalIP", "address", ip) : json_array();
}

/* A copy that somebody made of a machine carries its mark. What tells it from the machine: of ours the uuid, which
 * only the machine's uid gives; of those that controllers made the metadata, which names the machine that it was
 * written for. Metadata comes after the clone: without any it is one that they had begun. Returns why it is left
 * alone; NULL: it is the machine. */
static const char *stranger(const struct xn *object, const char *machine, const char *instance, char *why, size_t size)
{
	char uuid[37], host[128];

	if (strcmp(xn_text(xn_prop(object, "config.template")), "true") == 0) {
		snprintf(why, size, "somebody made a template of it");
		return why;
	}
	if (*machine) {
		vs_instance_uuid(machine, uuid);
		if (strcasecmp(uuid, instance) == 0)
			return NULL;
		snprintf(why, size, "it carries the mark of machine %s but not its uuid, as a copy of it would", machine);
		vs_utf8(why);
		return why;
	}
	if (!vs_metadata_host(track_option(object, METADATA), host, sizeof(host)) ||
	    strcmp(host, xn_text(xn_prop(object, "name"))) == 0)
		return NULL;
	snprintf(why, size, "it carries the cluster's mark but its metadata names %s, as in a copy of that or after a "
		 "change of its name", host);
	vs_utf8(why); /* a guest may write there what it likes */
	return why;
}

struct listing {
	struct vsphere *v;
	bool joined;            /* the answer holds objects of a track too */
	bool whole;             /* the view itself was in it */
	json_t *items, *clones; /* clones: NULL, they are not looked for */
	uint64_t at;            /* monotonic: when the read began */
};

/* "vm" and "readAt" are for a delete that follows at once: it need not look again. */
static void on_machine(void *arg, const struct xn *object)
{
	struct listing *l = arg;
	const char *type = xn_child(object, "obj") ? xn_child(object, "obj")->type : NULL;
	const char *cluster = track_option(object, MARK_CLUSTER), *machine = track_option(object, MARK_MACHINE);
	const char *instance = xn_text(xn_prop(object, "config.instanceUuid")), *bios = xn_text(xn_prop(object, "config.uuid"));
	char provider_id[64] = "", why[256];
	struct vs_ref task;

	if (type && strcmp(type, "Task") == 0 && l->clones && task_clone(l->v, object, NULL, &task))
		json_array_append_new(l->clones, json_string(task.value));
	if (type && strcmp(type, "ContainerView") == 0)
		l->whole = xn_prop(object, "container") != NULL;
	else if (l->joined && type && strcmp(type, "VirtualMachine") != 0)
		track_join_object(l->v, object);
	if (!*cluster || json_array_size(l->items) >= RETURNED_MAX)
		return;
	if (*bios)
		snprintf(provider_id, sizeof(provider_id), "vsphere://%s", bios);
	json_array_append_new(l->items, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:I, s:i, s:s*}", "id",
					       *instance ? instance : xn_get(object, "obj"), "name", xn_text(xn_prop(object, "name")),
					       "cluster", cluster, "pool", track_option(object, MARK_POOL), "machine", machine, "kind",
					       "machine", "power",
					       strcmp(xn_text(xn_prop(object, "runtime.powerState")), "poweredOff") ? "on" : "off",
					       "providerID", provider_id, "addresses", addresses(object), "role",
					       track_option(object, MARK_ROLE), "vm", xn_get(object, "obj"), "readAt",
					       (json_int_t)l->at, "disks",
					       atoi(xn_text(xn_prop(object, "summary.config.numVirtualDisks"))), "stranger",
					       stranger(object, machine, instance, why, sizeof(why))));
}

static int view_make(struct vsphere *v, struct pcg_call *call, struct vs_err *err)
{
	struct inventory *inv = v->inventory;
	struct xn *reply;
	struct soap s;
	unsigned generation;
	int r;

	if (vs_session_open(&v->session, call, &generation, err))
		return -1;
	if (inv->view.value[0] && inv->generation == generation)
		return 0;
	soap_begin(&s, "CreateContainerView", &v->session.views);
	soap_ref(&s, "container", &v->session.root);
	soap_text(&s, "type", "VirtualMachine");
	soap_bool(&s, "recursive", true);
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, VS_SESSION, generation, 0, &reply, err))
		return -1;
	inv->generation = generation;
	r = vs_returned(reply, "CreateContainerView", true, &inv->view, err);
	xn_free(reply);
	return r;
}

static int view_read(struct vsphere *v, struct pcg_call *call, bool joined, json_t *items, json_t *clones, struct vs_err *err)
{
	struct listing l = { .v = v, .joined = joined, .items = items, .clones = clones, .at = v->svc->mono_ms(v->host) };
	static const char *const paths[] = { "name", "config.instanceUuid", "config.uuid", "runtime.powerState",
					     "guest.ipAddress", "config.template", "summary.config.numVirtualDisks" };
	char path[96];
	struct soap s;

	soap_begin(&s, "RetrievePropertiesEx", &v->session.collector);
	soap_open(&s, "specSet");
	soap_open(&s, "propSet");
	soap_text(&s, "type", "VirtualMachine");
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		soap_text(&s, "pathSet", paths[i]);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		snprintf(path, sizeof(path), "config.extraConfig[\"%s\"]", keys[i]);
		soap_text(&s, "pathSet", path);
	}
	soap_close(&s);
	soap_open(&s, "propSet");
	soap_text(&s, "type", "ContainerView");
	soap_text(&s, "pathSet", "container");
	soap_close(&s);
	soap_open(&s, "objectSet");
	soap_ref(&s, "obj", &v->inventory->view);
	soap_bool(&s, "skip", false);
	soap_open_type(&s, "selectSet", "TraversalSpec");
	soap_text(&s, "name", "view");
	soap_text(&s, "type", "ContainerView");
	soap_text(&s, "path", "view");
	soap_bool(&s, "skip", false);
	soap_close(&s);
	soap_close(&s);
	soap_bool(&s, "reportMissingObjectsInResults", true);
	soap_close(&s);
	if (clones)
		task_recent_write(v, &s);
	if (joined)
		track_join_write(v, &s);
	if (vs_retrieve(&v->session, call, &s, VS_SESSION, v->inventory->generation, on_machine, &l, err))
		return -1;
	/* A view that went with its session is passed over without a word, as a machine that goes meanwhile has to be. That
	 * there are no machines is believed when the view was there. */
	if (l.whole)
		return 0;
	vs_fault(err, "RetrievePropertiesEx", "ManagedObjectNotFound", v->inventory->view.value);
	err->class = PCG_ERR_RETRY;
	return -1;
}

/* A session that ends between view and read takes the view with it: once more. */
static int read_all(struct vsphere *v, struct pcg_call *call, bool joined, json_t **items, json_t *clones, struct vs_err *err)
{
	int r = -1;

	for (int attempt = 0; attempt < (joined ? 1 : 3); attempt++) {
		*items = json_array();
		json_array_clear(clones);
		r = view_make(v, call, err);
		if (!r)
			r = view_read(v, call, joined, *items, clones, err);
		if (!r)
			r = copies_tell(v, call, *items, err);
		if (!r)
			return 0;
		json_decref(*items);
		*items = NULL;
		/* After anything else it is still there, and the session holds each one that is made. */
		if (strcmp(err->fault, "NotAuthenticated") != 0 && strcmp(err->fault, "ManagedObjectNotFound") != 0)
			break;
		v->inventory->view.value[0] = 0;
	}
	return r;
}

/* Makes a read; lock and reading held, the lock is released while the server is asked. */
static void read_locked(struct vsphere *v, struct pcg_call *call, bool joined)
{
	struct inventory *inv = v->inventory;
	json_t *items = NULL, *clones = inv->want_clones && !joined ? json_array() : NULL;
	struct vs_err why;

	memset(&why, 0, sizeof(why));
	inv->want_clones = inv->want_clones && joined;
	inv->begun++;
	inv->read_at = v->svc->mono_ms(v->host);
	inv->made_for[0] = 0;
	pthread_mutex_unlock(&inv->lock);
	read_all(v, call, joined, &items, clones, &why);
	pthread_mutex_lock(&inv->lock);
	json_decref(inv->clones);
	inv->clones = clones;
	json_decref(inv->items);
	inv->items = items;
	inv->err = why;
	inv->done = inv->begun;
	inv->reading = false;
	pthread_cond_broadcast(&inv->changed);
}

bool inventory_with(struct vsphere *v, struct pcg_call *call, const char *subject, const char *cluster, int *result,
		    struct vs_err *err)
{
	struct inventory *inv = v->inventory;
	bool mine;

	pthread_mutex_lock(&inv->lock);
	mine = !inv->reading && track_join_begin(v, subject);
	if (mine) {
		inv->reading = true;
		read_locked(v, call, true);
		*result = inv->items ? 0 : -1;
		*err = inv->err;
		if (inv->items)
			snprintf(inv->made_for, sizeof(inv->made_for), "%s", cluster);
		track_join_end(v, subject, inv->items);
	}
	pthread_mutex_unlock(&inv->lock);
	return mine;
}

/* Waits for a read that began after this call. clones: NULL, or what ran then, which may stay NULL. lock held */
static json_t *share_locked(struct vsphere *v, struct pcg_call *call, const char *cluster, json_t **clones, struct vs_err *err)
{
	struct inventory *inv = v->inventory;
	bool made = !clones && *cluster && strcmp(cluster, inv->made_for) == 0 && inv->items &&
		    v->svc->mono_ms(v->host) - inv->read_at < MADE_FOR_MS;
	uint64_t wanted = inv->begun + !made;

	inv->want_clones = inv->want_clones || clones;
	while (inv->done < wanted) {
		if (inv->reading) {
			pthread_cond_wait(&inv->changed, &inv->lock);
			continue;
		}
		inv->reading = true;
		pthread_mutex_unlock(&inv->lock);
		track_pace(v, call, inv->read_at, true);
		pthread_mutex_lock(&inv->lock);
		read_locked(v, call, false);
	}
	if (made)
		inv->made_for[0] = 0;
	if (clones && inv->clones)
		*clones = json_deep_copy(inv->clones);
	*err = inv->err;
	return inv->items ? json_deep_copy(inv->items) : NULL;
}

static json_t *of_cluster(const json_t *items, const char *cluster)
{
	json_t *mine = json_array(), *item;
	size_t i;

	json_array_foreach((json_t *)items, i, item)
		if (!*cluster || strcmp(vs_str(item, "cluster"), cluster) == 0)
			json_array_append(mine, item);
	return mine;
}

void vs_inventory(void *plugin, struct pcg_call *call, const char *text)
{
	struct vsphere *v = plugin;
	json_t *doc = vs_doc(v, call, text), *items, *clones = NULL;
	const char *cluster;
	struct vs_err err;
	bool settled;

	if (!doc)
		return;
	cluster = vs_str(doc, "cluster");
	settled = *cluster && json_is_true(json_object_get(doc, "settled"));
	if (settled && settle_begun(v, cluster)) {
		if (settle_wait(v, call, cluster, NULL)) {
			json_decref(doc);
			return;
		}
		settled = false;
	}
	pthread_mutex_lock(&v->inventory->lock);
	items = share_locked(v, call, cluster, settled ? &clones : NULL, &err);
	pthread_mutex_unlock(&v->inventory->lock);
	if (!items)
		vs_error(v, call, &err);
	else if (!settled || !settle_wait(v, call, cluster, clones))
		vs_done(v, call, json_pack("{s:o}", "items", of_cluster(items, cluster)));
	json_decref(clones);
	json_decref(items);
	json_decref(doc);
}
