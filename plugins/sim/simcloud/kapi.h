/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_KAPI_H
#define SIMCLOUD_KAPI_H

/*
 * One stand-in kube-apiserver with its etcd: resources, objects, events. A stored object is never
 * changed, only replaced, so answers and watches may hold it. Files: kstore.c objects and events,
 * kres.c kinds, kapi.c requests, kwrite.c create to delete, kwatch.c, kdiscovery.c,
 * kcontrol.c, kvolume.c and capictl*.c what controllers do.
 */

#include "plugins/sim/simcloud/cloud.h"

#define KAPI_EVENTS 256

struct kres {
	char *group, *version, *plural, *singular, *kind, *list_kind;
	json_t *versions;      /* served, array of text */
	json_t *short_names, *categories;
	bool namespaced, status, builtin;
	bool established;      /* of a CRD: served */
	bool gone;
	json_t *objects;       /* "namespace/name" or "name" -> object */
	uint64_t changed_rv;   /* of its last change */
};

enum kevent_type { KEVENT_ADDED, KEVENT_MODIFIED, KEVENT_DELETED };

struct kevent {
	uint64_t rv;
	enum kevent_type type;
	struct kres *res;
	json_t *object;
	json_t *before;        /* of MODIFIED: what it was, for selectors */
};

struct kwatch;

/* One of the controllers in a pass: runs when what it looks at has changed since it began last. */
#define KSTAGES 7
struct kstage {
	bool idle;             /* ran, and waits for nothing */
	uint64_t seen_rv;      /* when it ran last */
};

struct kapi {
	struct cloud *cloud;
	char *id;
	json_t *config;            /* of kubeadm_config_read, secret */
	char *host_name, *address, *machine_uid;
	struct http_server *servers[2];
	size_t n_servers;
	uint64_t rv, delivered_rv;
	struct kres **res;
	size_t n_res;
	struct kevent events[KAPI_EVENTS];
	size_t next_event;
	struct kwatch *watches;
	uv_timer_t control, boot;
	bool control_armed, boot_armed, gone;
	int64_t control_due_ms;    /* monotonic */
	int64_t gc_due_ms;         /* 0: nothing to collect */
	json_t *due;               /* uid -> when its state was seen to become due */
	struct kstage stages[KSTAGES];
	bool waits;                /* the stage that runs shall run in the next pass too */
	unsigned open_handles;
};

/* kres.c */
struct kres *kres_find(struct kapi *k, const char *group, const char *plural);
struct kres *kres_by_kind(struct kapi *k, const char *group, const char *kind);
bool kres_serves(const struct kres *r, const char *version);
void kres_add_builtins(struct kapi *k);
/* A CRD was written, or removed (spec NULL). */
void kres_from_crd(struct kapi *k, const json_t *crd);
void kres_remove(struct kapi *k, const char *group, const char *plural);
void kres_free_all(struct kapi *k);
/* "group/version" or "version". Caller frees. */
char *kres_api_version(const struct kres *r, const char *version);

/* kstore.c: objects. key: "namespace/name" or "name". */
char *kstore_key(const char *ns, const char *name);
json_t *kstore_get(const struct kres *r, const char *ns, const char *name); /* borrowed */
/* Stores, with a new resourceVersion; steals obj. The stored one, borrowed. */
json_t *kstore_put(struct kapi *k, struct kres *r, json_t *obj);
void kstore_remove(struct kapi *k, struct kres *r, json_t *obj);
/* Deletes the way the API does: by finalizers and at once. */
void kstore_delete(struct kapi *k, struct kres *r, json_t *obj, const char *propagation);
/* For controllers: makes an object with uid, time and generation. */
json_t *kstore_create(struct kapi *k, struct kres *r, json_t *obj);
void kstore_load(struct kapi *k);
/* A copy to change and put back. */
json_t *kstore_edit(const json_t *obj);
/* Puts it back when it differs from what is stored; steals. */
json_t *kstore_update(struct kapi *k, struct kres *r, json_t *edited);
const char *kstore_name(const json_t *obj);
const char *kstore_ns(const json_t *obj); /* NULL for cluster-scoped ones */
const char *kstore_uid(const json_t *obj);
const char *kstore_label(const json_t *obj, const char *label); /* NULL when absent */

/* kapi.c */
void kapi_handle(void *arg, struct http_exchange *x, const struct http_server_request *req);
void kapi_fail(struct kapi *k, struct http_exchange *x, int code, const char *reason, const struct kres *r,
	       const char *name, const char *fmt, ...) __attribute__((format(printf, 7, 8)));
void kapi_reply(struct kapi *k, struct http_exchange *x, int status, json_t *body);

/* A parsed request for a resource. */
struct kreq {
	struct kapi *k;
	struct http_exchange *x;
	const struct http_server_request *http;
	struct kres *res;
	const char *version, *ns, *name, *sub; /* NULL when absent */
};
void kwrite_create(struct kreq *q);
void kwrite_update(struct kreq *q);
void kwrite_patch(struct kreq *q);
void kwrite_delete(struct kreq *q);
void kwrite_delete_collection(struct kreq *q);
/* The object as the request's version shows it. New reference. */
json_t *kapi_view(const struct kreq *q, json_t *obj);
/* Answers with it, or with its metadata alone if that is what was asked for. */
void kapi_answer(struct kreq *q, int status, json_t *obj);

/* kselect.c */
bool kselect_labels(const char *selector, const json_t *obj);
bool kselect_labels_valid(const char *selector);
bool kselect_fields(const char *selector, const json_t *obj);
/* A LabelSelector object (matchLabels, matchExpressions) against labels. */
bool kselect_object(const json_t *selector, const json_t *labels);

/* kdiscovery.c: true when the path was one of discovery. */
bool kdiscovery_handle(struct kapi *k, struct http_exchange *x, const char *path);

/* kcontrol.c: something changed; the controllers look at it soon. */
void kcontrol_wake(struct kapi *k, int64_t after_ms);
void kcontrol_wake_gc(struct kapi *k);
/* Something changed that is not an object of this API: every controller looks. */
void kcontrol_poke(struct kapi *k);
/* A controller's own: it looks again in that time, whatever changes. */
void kcontrol_again(struct kapi *k, int64_t after_ms);
void kcontrol_start(struct kapi *k);
/* True when the wait of ms that begins with the first call for this key is over. */
bool kcontrol_due(struct kapi *k, const char *key, int64_t ms);
void kcontrol_condition(json_t *obj, const char *type, const char *status, const char *reason,
			const char *message);

/* kvolume.c */
void kvolume_run(struct kapi *k);

/* capictl.c */
void capictl_run(struct kapi *k);

#endif
