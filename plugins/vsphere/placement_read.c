/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/placement_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MS 60000u

/* Type of the schema (also of types derived from it), and what is read of it beside name and parent. */
static const struct {
	const char *type, *also[3];
} wanted[] = {
	{ "Folder", { NULL } },
	{ "Datacenter", { NULL } },
	{ "ComputeResource", { "resourcePool" } },
	{ "ResourcePool", { NULL } },
	{ "Datastore", { NULL } },
	{ "Network", { NULL } },
	{ "DistributedVirtualPortgroup", { "config.key", "config.distributedVirtualSwitch" } },
	{ "OpaqueNetwork", { "summary" } },
	{ "DistributedVirtualSwitch", { "uuid" } },
};

static const struct {
	const char *name, *type, *path;
	const char *then[7];
} walks[] = {
	{ "children", "Folder", "childEntity", { "children", "hosts", "stores", "networks", "machines", "pools", NULL } },
	{ "hosts", "Datacenter", "hostFolder", { "children", NULL } },
	{ "stores", "Datacenter", "datastoreFolder", { "children", NULL } },
	{ "networks", "Datacenter", "networkFolder", { "children", NULL } },
	{ "machines", "Datacenter", "vmFolder", { "children", NULL } },
	{ "pools", "ComputeResource", "resourcePool", { "below", NULL } },
	{ "below", "ResourcePool", "resourcePool", { "below", NULL } },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void write_walks(struct soap *s)
{
	for (size_t i = 0; i < COUNT(walks); i++) {
		soap_open_type(s, "selectSet", "TraversalSpec");
		soap_text(s, "name", walks[i].name);
		soap_text(s, "type", walks[i].type);
		soap_text(s, "path", walks[i].path);
		soap_bool(s, "skip", false);
		for (const char *const *t = walks[i].then; *t; t++) {
			soap_open(s, "selectSet");
			soap_text(s, "name", *t);
			soap_close(s);
		}
		soap_close(s);
	}
}

static void write_spec(struct soap *s, const struct vs_ref *root)
{
	soap_open(s, "specSet");
	for (size_t i = 0; i < COUNT(wanted); i++) {
		soap_open(s, "propSet");
		soap_text(s, "type", wanted[i].type);
		soap_text(s, "pathSet", "name");
		soap_text(s, "pathSet", "parent");
		for (size_t k = 0; k < 3 && wanted[i].also[k]; k++)
			soap_text(s, "pathSet", wanted[i].also[k]);
		soap_close(s);
	}
	soap_open(s, "objectSet");
	soap_ref(s, "obj", root);
	soap_bool(s, "skip", false);
	write_walks(s);
	soap_close(s);
	soap_close(s);
}

static bool ends(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

static bool kind_of(const char *type, enum place_kind *kind)
{
	if (strcmp(type, "Folder") == 0)
		*kind = PLACE_FOLDER;
	else if (strcmp(type, "StoragePod") == 0)
		*kind = PLACE_POD;
	else if (strcmp(type, "Datacenter") == 0)
		*kind = PLACE_DATACENTER;
	else if (ends(type, "ComputeResource"))
		*kind = PLACE_CLUSTER;
	else if (strcmp(type, "ResourcePool") == 0 || strcmp(type, "VirtualApp") == 0)
		*kind = PLACE_POOL;
	else if (strcmp(type, "Datastore") == 0)
		*kind = PLACE_DATASTORE;
	else if (strcmp(type, "Network") == 0 || strcmp(type, "DistributedVirtualPortgroup") == 0 ||
		 strcmp(type, "OpaqueNetwork") == 0)
		*kind = PLACE_NETWORK;
	else if (ends(type, "DistributedVirtualSwitch"))
		*kind = PLACE_SWITCH;
	else
		return false;
	return true;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *plain_name(const char *name)
{
	char *out = strdup(name), *to = out;

	assert(out);
	for (const char *c = out; *c; c++) {
		int code = *c == '%' && hex(c[1]) >= 0 && hex(c[2]) >= 0 ? hex(c[1]) * 16 + hex(c[2]) : 0;

		if (code == '%' || code == '\\') {
			*to++ = (char)code;
			c += 2;
		} else {
			*to++ = *c;
		}
	}
	*to = 0;
	return out;
}

struct reading {
	struct place *places;
	size_t n, room;
};

static void on_object(void *arg, const struct xn *object)
{
	struct reading *r = arg;
	struct place p = { .kind = PLACE_FOLDER };
	const struct xn *summary = xn_prop(object, "summary");

	if (!xn_ref(xn_child(object, "obj"), &p.ref) || !kind_of(p.ref.type, &p.kind) || !xn_prop(object, "name"))
		return;
	p.name = plain_name(xn_text(xn_prop(object, "name")));
	xn_ref(xn_prop(object, "parent"), &p.parent);
	if (!xn_ref(xn_prop(object, "resourcePool"), &p.extra))
		xn_ref(xn_prop(object, "config.distributedVirtualSwitch"), &p.extra);
	p.key = strdup(p.kind == PLACE_SWITCH ? xn_text(xn_prop(object, "uuid")) :
		       summary ? xn_get(summary, "opaqueNetworkId") : xn_text(xn_prop(object, "config.key")));
	p.key_type = strdup(summary ? xn_get(summary, "opaqueNetworkType") : "");
	assert(p.key && p.key_type);
	if (r->n == r->room) {
		r->room = r->room ? 2 * r->room : 64;
		r->places = reallocarray(r->places, r->room, sizeof(*r->places));
		assert(r->places);
	}
	r->places[r->n++] = p;
}

static int by_ref(const void *a, const void *b)
{
	return strcmp(((const struct place *)a)->ref.value, ((const struct place *)b)->ref.value);
}

const struct place *placement_by_ref(const struct placement *p, const struct vs_ref *ref)
{
	struct place key;

	if (!p->n)
		return NULL;
	key.ref = *ref;
	return bsearch(&key, p->places, p->n, sizeof(*p->places), by_ref);
}

/* The root folder has a name that no path shows. */
static void path_of(const struct placement *p, struct place *at)
{
	const struct place *chain[32];
	size_t n = 0, len = 1;
	char *to;

	for (const struct place *x = at; x && x->parent.value[0] && n < 32; x = placement_by_ref(p, &x->parent)) {
		chain[n++] = x;
		len += strlen(x->name) + 1;
	}
	at->path = to = malloc(len);
	assert(to);
	*to = 0;
	while (n--) {
		*to++ = '/';
		to = stpcpy(to, chain[n]->name);
	}
}

static void places_free(struct placement *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->places[i].name);
		free(p->places[i].path);
		free(p->places[i].key);
		free(p->places[i].key_type);
	}
	free(p->places);
	p->places = NULL;
	p->n = 0;
}

int placement_read(struct vsphere *v, struct pcg_call *call, struct vs_err *err)
{
	struct placement *p = v->placement;
	struct reading r = { NULL, 0, 0 };
	struct soap s;
	unsigned generation;

	if (p->at && v->svc->mono_ms(v->host) - p->at < KEPT_MS)
		return 0;
	if (vs_session_open(&v->session, call, &generation, err))
		return -1;
	soap_begin(&s, "RetrievePropertiesEx", &v->session.collector);
	write_spec(&s, &v->session.root);
	if (vs_retrieve(&v->session, call, &s, 0, 0, on_object, &r, err)) {
		struct placement half = { .places = r.places, .n = r.n };

		places_free(&half);
		return -1;
	}
	places_free(p);
	p->places = r.places;
	p->n = r.n;
	if (p->n)
		qsort(p->places, p->n, sizeof(*p->places), by_ref);
	for (size_t i = 0; i < p->n; i++)
		path_of(p, &p->places[i]);
	p->at = v->svc->mono_ms(v->host);
	return 0;
}

struct placement *placement_new(void)
{
	struct placement *p = calloc(1, sizeof(*p));

	assert(p);
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

void placement_free(struct placement *p)
{
	places_free(p);
	template_free_all(p);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void placement_forget(struct vsphere *v)
{
	pthread_mutex_lock(&v->placement->lock);
	v->placement->at = 0;
	for (struct template *t = v->placement->templates; t; t = t->next)
		t->at = 0;
	pthread_mutex_unlock(&v->placement->lock);
}

bool path_below(const char *path, const char *within)
{
	size_t n = strlen(within);

	return strncmp(path, within, n) == 0 && (path[n] == '/' || !n);
}

bool path_is(const char *path, const char *given)
{
	size_t n = strlen(path), m = strlen(given);

	if (*given == '/')
		return strcmp(path, given) == 0;
	return m && n > m && path[n - m - 1] == '/' && strcmp(path + n - m, given) == 0;
}

bool place_is(const struct place *x, const char *given)
{
	return path_is(x->path, given) || (*given && strcmp(x->ref.value, given) == 0);
}

const struct place *placement_match(const struct placement *p, enum place_kind kind, const char *given,
				    const char *within, size_t *count)
{
	const struct place *found = NULL;

	*count = 0;
	for (size_t i = 0; i < p->n; i++) {
		const struct place *x = &p->places[i];

		if (x->kind != kind || !path_below(x->path, within) || !place_is(x, given))
			continue;
		/* The shortest is what somebody means who stands at "within". */
		if (!found || strlen(x->path) < strlen(found->path))
			found = x;
		(*count)++;
	}
	return found;
}
