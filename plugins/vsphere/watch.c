/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/clone_limit.h"
#include "plugins/vsphere/session_impl.h"
#include "plugins/vsphere/track_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The one wait for everything in flight: a list view whose members one filter sees. */

#define WAIT_S 30
#define WAIT_MS ((WAIT_S + 15) * 1000u)
#define GATHER_MS 25  /* changes that come together are told together */
#define JOIN_MS 30u   /* what begins together is added to the view together */
#define IDLE_MS 200
#define BEGIN_MS 15000u /* machines that are begun one after the other are waited for together, but after that time in any case */
#define PROBE_MS 10000u
#define EMPTY_MS 100u /* answers one after the other that come at once and say nothing are asked for that much later, and twice that, */
#define EMPTY_MAX 7   /* .. */
#define SAME_MAX 64u  /* news under one version (govmomi's simulator has one alone) that follow one another before they may be the old ones */
#define ANEW_MAX 3    /* views lost one after the other before the watch ends, and is begun again later */

static bool has(const struct vs_ref *list, size_t n, const struct vs_ref *ref)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i].value, ref->value) == 0 && strcmp(list[i].type, ref->type) == 0)
			return true;
	return false;
}

static void refs_except(struct soap *s, const char *name, const struct vs_ref *list, size_t n,
			const struct vs_ref *except, size_t n_except, size_t *written)
{
	for (size_t i = 0; i < n; i++)
		if (!has(except, n_except, &list[i])) {
			soap_ref(s, name, &list[i]);
			(*written)++;
		}
}

static void view_lost(struct vsphere *v, unsigned generation)
{
	pthread_mutex_lock(&v->tracks->lock);
	if (v->tracks->view.generation == generation)
		v->tracks->view.made = false;
	pthread_mutex_unlock(&v->tracks->lock);
}

static bool sync_needed(struct vsphere *v)
{
	size_t n;
	struct vs_ref *needed = track_needed(v, &n);
	bool yes = false;

	pthread_mutex_lock(&v->tracks->lock);
	for (size_t i = 0; i < n && !yes; i++)
		yes = !has(v->tracks->view.members, v->tracks->view.n, &needed[i]);
	pthread_mutex_unlock(&v->tracks->lock);
	free(needed);
	return yes;
}

/* What the view could not take up, for it is not there. */
static void unresolved(struct vsphere *v, const struct xn *reply)
{
	struct vs_ref ref;

	for (const struct xn *r = xn_child(vs_result(reply), "returnval"); r; r = xn_next(r, "returnval"))
		if (xn_ref(r, &ref))
			track_missing(v, &ref);
}

/* One ModifyListView for all that came together. */
static void sync_once(struct vsphere *v, struct pcg_call *call)
{
	struct watch_view *view = &v->tracks->view;
	size_t n, added = 0, removed = 0;
	struct vs_ref *needed = track_needed(v, &n);
	struct xn *reply = NULL;
	struct vs_err err;
	struct soap s;
	unsigned generation;

	pthread_mutex_lock(&v->tracks->lock);
	generation = view->generation;
	soap_begin(&s, "ModifyListView", &view->list);
	refs_except(&s, "add", needed, n, view->members, view->n, &added);
	refs_except(&s, "remove", view->members, view->n, needed, n, &removed);
	if (added) {
		free(view->members);
		view->members = needed;
		view->n = n;
		needed = NULL;
	}
	pthread_mutex_unlock(&v->tracks->lock);
	free(needed);
	if (!added) {
		soap_free(&s);
		return;
	}
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, VS_SESSION, generation, 0, &reply, &err))
		view_lost(v, generation);
	unresolved(v, reply);
	xn_free(reply);
}

static void sync_all(struct vsphere *v, struct pcg_call *call)
{
	struct watch_view *view = &v->tracks->view;

	if (!sync_needed(v))
		return;
	v->svc->wait(v->host, call, JOIN_MS);
	track_pace(v, call, view->synced_at, false);
	sync_once(v, call);
	view->synced_at = v->svc->mono_ms(v->host);
}

/* Who finds another one at it leaves its own to that one, which looks again. */
void watch_sync(struct vsphere *v, struct pcg_call *call)
{
	struct watch_view *view = &v->tracks->view;
	bool mine;

	pthread_mutex_lock(&v->tracks->lock);
	view->asked = true;
	mine = view->made && !view->syncing;
	view->syncing = view->syncing || mine;
	while (mine) {
		view->asked = false;
		pthread_mutex_unlock(&v->tracks->lock);
		sync_all(v, call);
		pthread_mutex_lock(&v->tracks->lock);
		mine = view->asked;
		view->syncing = mine;
	}
	pthread_mutex_unlock(&v->tracks->lock);
}

static int view_list(struct vsphere *v, struct pcg_call *call, unsigned generation, struct vs_ref *needed, size_t n,
		     struct vs_ref *list, struct vs_err *err)
{
	size_t written = 0;
	struct xn *reply;
	struct soap s;
	int r;

	soap_begin(&s, "CreateListView", &v->session.views);
	refs_except(&s, "obj", needed, n, NULL, 0, &written);
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, VS_SESSION, generation, 0, &reply, err))
		return -1;
	r = vs_returned(reply, "CreateListView", true, list, err);
	xn_free(reply);
	return r;
}

static int view_filter(struct vsphere *v, struct pcg_call *call, unsigned generation, const struct vs_ref *list,
		       struct vs_ref *filter, struct vs_err *err)
{
	struct xn *reply;
	struct soap s;
	int r;

	soap_begin(&s, "CreateFilter", &v->tracks->view.collector);
	soap_open(&s, "spec");
	track_vm_paths(&s, false);
	soap_open(&s, "objectSet");
	soap_ref(&s, "obj", list);
	soap_bool(&s, "skip", true);
	soap_open_type(&s, "selectSet", "TraversalSpec");
	soap_text(&s, "name", "members");
	soap_text(&s, "type", "ListView");
	soap_text(&s, "path", "view");
	soap_bool(&s, "skip", false);
	soap_open_type(&s, "selectSet", "TraversalSpec");
	soap_text(&s, "name", "machines");
	soap_text(&s, "type", "Folder");
	soap_text(&s, "path", "childEntity");
	soap_bool(&s, "skip", false);
	soap_close(&s);
	soap_close(&s);
	soap_close(&s);
	soap_close(&s);
	soap_bool(&s, "partialUpdates", false);
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, VS_SESSION, generation, 0, &reply, err))
		return -1;
	r = vs_returned(reply, "CreateFilter", true, filter, err);
	xn_free(reply);
	return r;
}

/* A filter and a view that the same session still has would tell everything twice. */
static void view_drop(struct vsphere *v, struct pcg_call *call, unsigned generation)
{
	struct watch_view *view = &v->tracks->view;
	struct vs_ref *const olds[] = { &view->filter, &view->list };
	static const char *const methods[] = { "DestroyPropertyFilter", "DestroyView" };

	for (size_t i = 0; i < 2; i++) {
		struct xn *reply = NULL;
		struct vs_err err;
		struct soap s;

		if (view->generation == generation && olds[i]->value[0]) {
			soap_begin(&s, methods[i], olds[i]);
			soap_finish(&s);
			vs_call(&v->session, call, &s, VS_SESSION, generation, 0, &reply, &err);
			xn_free(reply);
		}
		memset(olds[i], 0, sizeof(*olds[i]));
	}
}

/* One that was made for a view before: the server holds it, and the wait on it, until the session ends. */
static void collector_drop(struct vsphere *v, struct pcg_call *call, unsigned generation, const struct vs_ref *collector)
{
	struct vs_err err;
	struct xn *reply;
	struct soap s;

	if (!collector->value[0] || track_same(collector, &v->session.collector))
		return;
	soap_begin(&s, "DestroyPropertyCollector", collector);
	soap_finish(&s);
	if (!vs_call(&v->session, call, &s, VS_SESSION, generation, 0, &reply, &err))
		xn_free(reply);
}

/* After an interrupted wait that could not be taken back the next one gets a collector of its own. */
static int view_collector(struct vsphere *v, struct pcg_call *call, unsigned generation, struct vs_err *err)
{
	struct watch_view *view = &v->tracks->view;
	struct vs_ref before = view->collector;
	struct xn *reply;
	struct soap s;
	int r;

	/* Generation 1 is a session that a killed worker left, with its wait perhaps still there. */
	if (generation != 1 && (view->generation != generation || !view->collector.value[0])) {
		view->collector = v->session.collector;
		return 0;
	}
	soap_begin(&s, "CreatePropertyCollector", &v->session.collector);
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, VS_SESSION, generation, 0, &reply, err))
		return -1;
	r = vs_returned(reply, "CreatePropertyCollector", true, &view->collector, err);
	xn_free(reply);
	if (r)
		view->collector = before;
	else if (view->generation == generation)
		collector_drop(v, call, generation, &before);
	return r;
}

/* The view is written by this thread alone while it is not made. */
static int view_make(struct vsphere *v, struct pcg_call *call, struct vs_err *err)
{
	struct watch_view *view = &v->tracks->view;
	struct vs_ref list = { "", "" }, filter = { "", "" }, *needed;
	unsigned generation;
	size_t n;
	int r = vs_session_open(&v->session, call, &generation, err);

	if (r)
		return r;
	view_drop(v, call, generation);
	needed = track_needed(v, &n);
	r = view_collector(v, call, generation, err);
	if (!r)
		r = view_list(v, call, generation, needed, n, &list, err);
	/* Something of it has gone meanwhile. An empty view is told of each afterwards, and answers which it was. */
	if (r && strcmp(err->fault, "ManagedObjectNotFound") == 0) {
		n = 0;
		r = view_list(v, call, generation, needed, n, &list, err);
	}
	if (!r)
		r = view_filter(v, call, generation, &list, &filter, err);
	pthread_mutex_lock(&v->tracks->lock);
	view->generation = generation;
	view->list = list;
	view->filter = filter;
	if (!r) {
		free(view->members);
		view->members = needed;
		view->n = n;
		view->version[0] = 0;
		view->made = true;
		needed = NULL;
	}
	pthread_mutex_unlock(&v->tracks->lock);
	free(needed);
	return r;
}

/* Without a session every property is missing for that reason. */
static bool disowned(const struct xn *object)
{
	const struct xn *fault = xn_child(xn_child(xn_child(object, "missingSet"), "fault"), "fault");

	return fault && fault->xsi && strcmp(fault->xsi, "NotAuthenticated") == 0;
}

/* What an update told. */
struct told {
	bool any, tracked;
};

/* False: the session is over. */
static bool take_up(struct vsphere *v, const struct xn *update, struct told *told)
{
	struct vs_ref ref;

	for (const struct xn *f = xn_child(update, "filterSet"); f; f = xn_next(f, "filterSet")) {
		for (const struct xn *o = xn_child(f, "objectSet"); o; o = xn_next(o, "objectSet")) {
			if (disowned(o))
				return false;
			told->any = true;
			told->tracked |= track_observe(v, o, strcmp(xn_get(o, "kind"), "leave") == 0);
		}
		for (const struct xn *m = xn_child(f, "missingSet"); m; m = xn_next(m, "missingSet"))
			if (xn_ref(xn_child(m, "obj"), &ref)) {
				told->any = told->tracked = true;
				track_missing(v, &ref);
			}
	}
	return true;
}

/* A wait that nobody listens to any more would swallow what comes next. */
static void wait_cancel(struct vsphere *v, unsigned generation)
{
	struct xn *reply = NULL;
	struct vs_err err;
	struct soap s;

	soap_begin(&s, "CancelWaitForUpdates", &v->tracks->view.collector);
	soap_finish(&s);
	if (vs_call(&v->session, NULL, &s, VS_SESSION, generation, 3000, &reply, &err))
		view_lost(v, generation);
	xn_free(reply);
}

/* The next one has to begin with a view of its own: the session went, or a vCenter that was started anew has forgotten. */
static bool begins_anew(const struct vs_err *err)
{
	static const char *const faults[] = { "NotAuthenticated", "InvalidCollectorVersion", "ManagedObjectNotFound" };

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (strcmp(err->fault, faults[i]) == 0)
			return true;
	return false;
}

enum news { NOTHING, MAYBE_AGAIN, NEWS };

/* *more: the answer was cut short, and the rest is there already. *news: what was in it. */
static int wait_once(struct vsphere *v, struct pcg_call *call, bool *more, enum news *news, struct vs_err *err)
{
	struct watch_view *view = &v->tracks->view;
	unsigned generation = view->generation;
	const char *version;
	const struct xn *update;
	struct told told = { false, false };
	struct xn *reply;
	struct soap s;

	*more = false;
	*news = NOTHING;
	soap_begin(&s, "WaitForUpdatesEx", &view->collector);
	soap_text(&s, "version", view->version);
	soap_open(&s, "options");
	soap_int(&s, "maxWaitSeconds", WAIT_S);
	soap_close(&s);
	soap_finish(&s);
	if (vs_call(&v->session, call, &s, VS_LONG | VS_SESSION, generation, WAIT_MS, &reply, err)) {
		if (!v->svc->remaining_ms(call) || err->class == PCG_ERR_CANCELLED)
			wait_cancel(v, generation);
		else
			view_lost(v, generation);
		return -1;
	}
	update = xn_child(vs_result(reply), "returnval");
	if (update) {
		if (!take_up(v, update, &told))
			view_lost(v, generation);
		version = xn_get(update, "version");
		if (told.any && *version && strcmp(version, view->version) != 0)
			*news = NEWS;
		else if (told.tracked)
			*news = MAYBE_AGAIN;
		*more = *news != NOTHING && strcmp(xn_get(update, "truncated"), "true") == 0;
		snprintf(view->version, sizeof(view->version), "%s", version);
	}
	xn_free(reply);
	return 0;
}

/* What the view does not have yet: an op began it while the view was made, or was cut short before it could tell it. Once alone, for as long as
 * machines are begun there would be more: whoever comes then tells it by its op, which is asked to look again now. */
static void sync_before_wait(struct vsphere *v, struct pcg_call *call)
{
	struct watch_view *view = &v->tracks->view;
	char subject[64];
	bool mine;

	pthread_mutex_lock(&v->tracks->lock);
	mine = !view->syncing;
	view->syncing = true;
	pthread_mutex_unlock(&v->tracks->lock);
	if (!mine)
		return;
	if (sync_needed(v)) {
		sync_once(v, call);
		view->synced_at = v->svc->mono_ms(v->host);
	}
	pthread_mutex_lock(&v->tracks->lock);
	view->syncing = false;
	pthread_mutex_unlock(&v->tracks->lock);
	if (track_uncovered(v, subject))
		v->svc->hint(v->host, subject);
}

/* The view is there, and what is in flight in it. */
static int view_ready(struct vsphere *v, struct pcg_call *call, struct vs_err *err)
{
	struct watch_view *view = &v->tracks->view;
	int r = 0;

	if (!vs_session_current(&v->session, view->generation))
		view_lost(v, view->generation);
	if (!view->made)
		r = view_make(v, call, err);
	if (!r)
		sync_before_wait(v, call);
	return r;
}

/* Until the vCenter answers somebody; it is asked what asks for no session. False: the op is over. */
static bool outage_over(struct vsphere *v, struct pcg_call *call)
{
	static const struct vs_ref instance = { "ServiceInstance", "ServiceInstance" };
	struct vs_err err;

	while (vs_outage_on(v->session.outage)) {
		struct xn *reply;
		struct soap s;

		if (v->svc->wait(v->host, call, vs_outage_wait_ms(v->session.outage) + 1))
			return false;
		soap_begin(&s, "RetrieveServiceContent", &instance);
		soap_finish(&s);
		vs_exchange(&v->session, call, &s, NULL, 0, PROBE_MS, &reply, NULL, &err);
		soap_free(&s);
		xn_free(reply);
	}
	return true;
}

/* Answers in a row: without news, with what may be the same again. */
struct row {
	unsigned empty, same;
};

/* A server that has nothing to tell says so after WAIT_S. One that says so at once, or tells the same again, is not asked in a
 * hurry. */
static void rest(struct vsphere *v, struct pcg_call *call, uint64_t took_ms, enum news news, struct row *row)
{
	if (news == NEWS || took_ms >= WAIT_S * 500u) {
		row->empty = row->same = 0;
	} else if (news == NOTHING) {
		v->svc->wait(v->host, call, EMPTY_MS << row->empty);
		row->empty += row->empty < EMPTY_MAX;
	} else {
		row->empty = 0;
		if (++row->same > SAME_MAX)
			v->svc->wait(v->host, call, EMPTY_MS);
	}
}

/* Until all clones that are on their way have been taken, and what comes right behind them. A wait that began before would be answered for
 * each of them, and be told of each. False: the op is over. */
static bool all_begun(struct vsphere *v, struct pcg_call *call)
{
	uint64_t since = v->svc->mono_ms(v->host);
	bool more;

	do {
		if (v->svc->wait(v->host, call, GATHER_MS) && !v->svc->remaining_ms(call))
			return false;
		more = clone_limit_sending(v->clones) && v->svc->mono_ms(v->host) - since < BEGIN_MS;
	} while (more && v->svc->remaining_ms(call));
	return true;
}

void vs_watch(void *plugin, struct pcg_call *call, const char *text)
{
	struct vsphere *v = plugin;
	json_t *doc = vs_doc(v, call, text);
	struct vs_err err;
	struct row row = { 0, 0 };
	enum news news;
	bool more = false;
	unsigned anew = 0;
	int r = 0;

	if (!doc)
		return;
	json_decref(doc);
	while (!r && v->svc->remaining_ms(call)) {
		if (!outage_over(v, call))
			break;
		if (!more && !track_any_active(v, IDLE_MS))
			continue;
		/* What was begun a moment ago is often over when its neighbours are. */
		if (!more && !all_begun(v, call))
			break;
		if (!more && !track_any_active(v, 0))
			continue;
		more = false;
		r = view_ready(v, call, &err);
		if (!r && v->tracks->view.made) {
			uint64_t began = v->svc->mono_ms(v->host);

			track_watch_live(v, true);
			r = wait_once(v, call, &more, &news, &err);
			if (!r)
				rest(v, call, v->svc->mono_ms(v->host) - began, news, &row);
		}
		anew = r ? anew + 1 : 0;
		if (r && begins_anew(&err) && anew < ANEW_MAX)
			r = 0;
		/* The watch is what sees the end of an outage, whoever waits for what. */
		if (r && vs_outage_on(v->session.outage))
			r = 0;
	}
	track_watch_live(v, false);
	if (r && v->svc->remaining_ms(call))
		vs_error(v, call, &err);
	else
		v->svc->error(call, PCG_ERR_CANCELLED, "the watch was ended", "");
}
