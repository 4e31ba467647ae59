/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/gateways_impl.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/id.h"
#include "core/log.h"
#include "plane/api.h"
#include "plane/rows.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define WAIT_MAX_S 55
#define QUERIES_MAX 16
#define CONTACT_SAVED_MS 20000

struct gateways_query {
	struct plane *p;
	struct gateway *gateway;
	struct gateways_query *next;
	char id[37];
	json_t *doc;        /* what is sent; NULL once it was */
	gateways_query_cb done;
	void *arg;
	uv_timer_t timer;
	bool ended;
};

/* What is known of a gateway in this process; made when it first asks, kept to the end. */
struct gateway {
	struct plane *p;
	struct gateway *next;
	char uid[64];
	struct http_exchange *waiting;
	int64_t cursor;       /* of the request that waits */
	json_t *ready;        /* items of its answer, which the open transaction records as sent */
	int64_t ready_cursor;
	bool resync;          /* its answer begins one */
	bool lost;            /* one that it must be told of, even when there is nothing to send */
	bool dirty;
	bool drop;            /* what waits came with a certificate that is refused now */
	int64_t contact_ms, saved_ms;
	uv_timer_t timer;
	struct gateways_query *queries;
	size_t n_queries;
};

struct gateways {
	struct plane *p;
	struct gateway *list;
	size_t open; /* handles that have not closed yet */
	bool closing;
	void (*closed)(void *arg);
	void *arg;
};

struct gateways *gateways_new(struct plane *p)
{
	struct gateways *g = calloc(1, sizeof(*g));

	assert(g);
	g->p = p;
	return g;
}

static void gone_if_last(struct gateways *g)
{
	void (*closed)(void *arg) = g->closed;
	void *arg = g->arg;

	if (!g->closing || g->open)
		return;
	free(g);
	if (closed)
		closed(arg);
}

static void on_gateway_closed(uv_handle_t *h)
{
	struct gateway *gw = h->data;
	struct gateways *g = gw->p->gateways;

	free(gw);
	g->open--;
	gone_if_last(g);
}

static void on_query_closed(uv_handle_t *h)
{
	struct gateways_query *q = h->data;
	struct gateways *g = q->p->gateways; /* the gateway may be gone first */

	json_wipe(q->doc);
	free(q);
	g->open--;
	gone_if_last(g);
}

static struct gateway *find(struct plane *p, const char *uid, bool make)
{
	struct gateways *g = p->gateways;
	struct gateway_row row;
	struct pcg_error ignored;
	struct gateway *gw;

	for (gw = g->list; gw; gw = gw->next)
		if (strcmp(gw->uid, uid) == 0)
			return gw;
	if (!make)
		return NULL;
	gw = calloc(1, sizeof(*gw));
	assert(gw);
	gw->p = p;
	snprintf(gw->uid, sizeof(gw->uid), "%s", uid);
	uv_timer_init(p->loop, &gw->timer);
	gw->timer.data = gw;
	g->open++;
	if (gateway_row_get(p, uid, &row, &ignored) == 1)
		gw->contact_ms = gw->saved_ms = row.contact_ms;
	gw->next = g->list;
	g->list = gw;
	return gw;
}

/* Ends a query: out of the list, callback at most once, freed when its timer has closed. */
static void query_end(struct gateways_query *q, const json_t *reply, const struct pcg_error *err)
{
	struct gateway *gw = q->gateway;

	if (q->ended)
		return;
	q->ended = true;
	for (struct gateways_query **at = &gw->queries; *at; at = &(*at)->next)
		if (*at == q) {
			*at = q->next;
			gw->n_queries--;
			break;
		}
	uv_timer_stop(&q->timer);
	uv_close((uv_handle_t *)&q->timer, on_query_closed);
	if (q->done)
		q->done(q->arg, reply, err);
}

static void on_query_late(uv_timer_t *t)
{
	struct gateways_query *q = t->data;
	struct pcg_error err = { 0 };

	pcg_fail(&err, PCG_CLASS_CANCELLED, "look at the gateway's log, and try again",
		 "the gateway %s did not answer within %lld ms", q->gateway->uid,
		 (long long)q->gateway->p->opt.query_timeout_ms);
	query_end(q, NULL, &err);
}

void gateways_query_cancel(struct gateways_query *q)
{
	q->done = NULL;
	query_end(q, NULL, NULL);
}

static void answer(struct gateway *gw, int64_t cursor, json_t *items)
{
	AUTO_JSON json_t *queries = json_array();
	struct http_exchange *x = TAKE(gw->waiting);
	json_t *reply;

	uv_timer_stop(&gw->timer);
	http_exchange_on_gone(x, NULL, NULL);
	for (struct gateways_query *q = gw->queries; q; q = q->next)
		if (q->doc)
			json_array_append_new(queries, TAKE(q->doc));
	reply = json_pack("{s:s,s:b,s:I,s:o,s:O}", "planeId", gw->p->id, "resync",
			  gw->resync && (json_array_size(items) || gw->lost), "cursor", (json_int_t)cursor, "items", items,
			  "queries", queries);
	FAULT_POINT("plane.before_instructions_reply");
	http_exchange_reply_json(x, 200, reply);
	json_wipe(reply);
	FAULT_POINT("plane.after_instructions_reply");
}

static bool has_query(const struct gateway *gw)
{
	for (const struct gateways_query *q = gw->queries; q; q = q->next)
		if (q->doc)
			return true;
	return false;
}

static void unready(struct gateway *gw)
{
	json_wipe(TAKE(gw->ready));
}

/* Picks what the request that waits is answered with. What is sent is durable before it is sent: a cursor
 * that comes back and is not in the row is one that this database never gave. The cursor that the gateway
 * came with is noted beside it: until then "sent" is the same number. */
static int prepare(struct gateway *gw, struct pcg_error *err)
{
	json_t *items = NULL;
	int r;

	unready(gw);
	gw->ready_cursor = gw->cursor;
	r = gateway_items(gw->p, gw->uid, &gw->ready_cursor, &items, err);
	if (!r && json_array_size(items))
		r = db_exec(gw->p->db, err, "UPDATE gateways SET acked=?, sent=? WHERE uid=?", "iis",
			    gw->cursor, gw->ready_cursor, gw->uid);
	if (r) {
		json_wipe(items);
		return r;
	}
	gw->ready = items;
	return 0;
}

/* What was prepared is durable: answers, or lets the request wait when there is nothing to say. */
static void send_ready(struct gateway *gw)
{
	gw->dirty = false;
	if (!json_array_size(gw->ready) && !has_query(gw) && !gw->lost) {
		unready(gw);
		return;
	}
	if (json_array_size(gw->ready))
		FAULT_POINT("plane.after_sent_stored");
	answer(gw, gw->ready_cursor, TAKE(gw->ready));
}

static int try_answer(struct gateway *gw, struct pcg_error *err)
{
	int r = gw->waiting && !gw->ready ? prepare(gw, err) : 0;

	if (!r && gw->ready)
		send_ready(gw);
	gw->dirty = false;
	return r;
}

int gateways_commit(struct plane *p, struct pcg_error *err)
{
	struct gateway *gw;
	int r;

	for (gw = p->gateways->list; gw; gw = gw->next)
		/* One that fails stays dirty: its request is answered with the error, not this one. */
		if (gw->dirty && gw->waiting && !gw->drop && prepare(gw, err))
			log_err("instructions_failed", err, LS("gateway", gw->uid));
	r = db_commit(p->db, err);
	for (gw = r ? p->gateways->list : NULL; gw; gw = gw->next)
		unready(gw);
	return r;
}

static void fail_waiting(struct gateway *gw, const struct pcg_error *err)
{
	struct http_exchange *x = TAKE(gw->waiting);

	unready(gw);
	log_err("instructions_failed", err, LS("gateway", gw->uid));
	uv_timer_stop(&gw->timer);
	if (!x)
		return;
	http_exchange_on_gone(x, NULL, NULL);
	api_answer_error(x, 500, "InternalError", err->text, NULL);
}

static void drop_waiting(struct gateway *gw)
{
	struct http_exchange *x = TAKE(gw->waiting);

	gw->drop = false;
	unready(gw);
	uv_timer_stop(&gw->timer);
	if (!x)
		return;
	http_exchange_on_gone(x, NULL, NULL);
	api_answer_error(x, 401, "CertificateRefused", "the gateway was paired again or removed", NULL);
}

void gateways_flush(struct plane *p)
{
	struct pcg_error err = { 0 };

	for (struct gateway *gw = p->gateways->list; gw; gw = gw->next) {
		if (gw->drop)
			drop_waiting(gw);
		if (gw->dirty && try_answer(gw, &err))
			fail_waiting(gw, &err);
	}
}

void gateways_drop(struct plane *p, const char *gateway)
{
	struct gateway *gw = find(p, gateway, false);

	if (gw)
		gw->drop = true;
}

static void on_wait_over(uv_timer_t *t)
{
	struct gateway *gw = t->data;

	if (gw->waiting)
		answer(gw, gw->cursor, json_array());
}

static void on_gone(void *arg, struct http_exchange *x)
{
	struct gateway *gw = arg;

	if (gw->waiting == x) {
		gw->waiting = NULL;
		unready(gw);
		uv_timer_stop(&gw->timer);
	}
}

int gateways_instruct(struct plane *p, const char *gateway, const char *kind, const char *uid,
		      struct pcg_error *err)
{
	struct gateway *gw = find(p, gateway, false);
	int64_t seq;
	int r = rows_next_seq(p, &seq, err);

	if (r)
		return r;
	if (gw)
		gw->dirty = true;
	return db_exec(p->db, err,
		       "INSERT INTO instructions(seq, gateway, kind, uid) VALUES(?,?,?,?)"
		       " ON CONFLICT(gateway, kind, uid) DO UPDATE SET seq=excluded.seq, released=0",
		       "isss", seq, gateway, kind, uid);
}

int gateways_release(struct plane *p, const char *gateway, const char *kind, const char *uid,
		     struct pcg_error *err)
{
	int r = gateways_instruct(p, gateway, kind, uid, err);

	return r ? r : db_exec(p->db, err,
			       "UPDATE instructions SET released=1 WHERE gateway=? AND kind=? AND uid=?",
			       "sss", gateway, kind, uid);
}

int gateways_forget(struct plane *p, const char *gateway, const char *uid, struct pcg_error *err)
{
	return db_exec(p->db, err, "DELETE FROM instructions WHERE gateway=?1 AND (?2 IS NULL OR uid=?2)",
		       "ss", gateway, uid);
}

int64_t gateways_last_contact_ms(struct plane *p, const char *gateway)
{
	struct gateway *gw = find(p, gateway, false);
	struct gateway_row row;
	struct pcg_error err;

	if (gw)
		return gw->contact_ms;
	return gateway_row_get(p, gateway, &row, &err) == 1 ? row.contact_ms : 0;
}

bool gateways_active(struct plane *p, const char *gateway)
{
	int64_t at = gateways_last_contact_ms(p, gateway), age = clock_wall_ms() - at;

	/* A contact that lies ahead is from before a clock was set back. */
	return at && age < GATEWAYS_ACTIVE_MS && age > -GATEWAYS_ACTIVE_MS;
}

int gateways_query(struct plane *p, const char *gateway, const char *op, json_t *account, json_t *doc,
		   gateways_query_cb done, void *arg, struct gateways_query **out, struct pcg_error *err)
{
	struct gateways_query *q;
	struct gateway *gw;

	if (!gateways_active(p, gateway))
		return pcg_fail(err, PCG_CLASS_RETRY, "start the gateway, or see why it does not reach this plane",
				"gateway %s is offline: it has not asked for instructions in the last %d s",
				gateway, GATEWAYS_ACTIVE_MS / 1000);
	/* Right after a start of the plane an active gateway may not have asked this process yet. */
	gw = find(p, gateway, true);
	if (gw->n_queries >= QUERIES_MAX)
		return pcg_fail(err, PCG_CLASS_QUOTA, "try again in a few seconds",
				"gateway %s has %d queries to answer already", gateway, QUERIES_MAX);
	q = calloc(1, sizeof(*q));
	assert(q);
	q->p = p;
	q->gateway = gw;
	q->done = done;
	q->arg = arg;
	id_uuid4(q->id);
	q->doc = json_pack("{s:s,s:s,s:I,s:o,s:o}", "id", q->id, "op", op, "deadlineMs",
			   (json_int_t)p->opt.query_timeout_ms, "account",
			   account ? json_deep_copy(account) : json_null(), "doc",
			   doc ? json_deep_copy(doc) : json_object());
	uv_timer_init(p->loop, &q->timer);
	q->timer.data = q;
	p->gateways->open++;
	uv_timer_start(&q->timer, on_query_late, (uint64_t)p->opt.query_timeout_ms, 0);
	q->next = gw->queries;
	gw->queries = q;
	gw->n_queries++;
	gw->dirty = true;
	*out = q;
	return 0;
}

static void query_answered(struct plane *p, struct http_exchange *x, const struct gateway_row *row,
			   const char *id, const json_t *body)
{
	struct gateway *gw = find(p, row->uid, false);

	for (struct gateways_query *q = gw ? gw->queries : NULL; q; q = q->next) {
		if (strcmp(q->id, id) != 0)
			continue;
		http_exchange_reply_json(x, 204, NULL);
		query_end(q, body, NULL);
		return;
	}
	api_answer_error(x, 404, "ResourceNotFound", "nobody waits for this query any longer", NULL);
}

static int64_t query_number(struct http_exchange *x, const char *name, int64_t def)
{
	const char *s = http_exchange_query(x, name);
	char *end;
	long long n;

	if (!s || !*s)
		return def;
	n = strtoll(s, &end, 10);
	return *end || n < 0 ? -1 : n;
}

static void contact(struct gateway *gw)
{
	struct pcg_error err;

	gw->contact_ms = clock_wall_ms();
	if (gw->contact_ms >= gw->saved_ms && gw->contact_ms - gw->saved_ms < CONTACT_SAVED_MS)
		return;
	gw->saved_ms = gw->contact_ms;
	if (db_exec(gw->p->db, &err, "UPDATE gateways SET contact_ms=? WHERE uid=?", "is",
		    gw->contact_ms, gw->uid))
		log_err("contact_not_stored", &err, LS("gateway", gw->uid));
}

static int drop_released(struct gateway *gw, struct pcg_error *err)
{
	return db_exec(gw->p->db, err, "DELETE FROM instructions WHERE gateway=? AND released=1 AND seq<=?",
		       "si", gw->uid, gw->cursor);
}

static int begin_resync(struct gateway *gw, bool raised, int64_t reported, struct pcg_error *err)
{
	struct plane *p = gw->p;
	int r = db_begin(p->db, err);

	if (r)
		return r;
	r = gateway_resequence(p, gw->uid, raised, err);
	if (!r)
		r = db_exec(p->db, err, "UPDATE gateways SET acked=0 WHERE uid=?", "s", gw->uid);
	if (!r)
		r = gateway_reported_put(p, gw->uid, reported, err);
	FAULT_POINT("plane.before_cursor_commit");
	if (!r)
		r = db_commit(p->db, err);
	if (r)
		db_rollback(p->db);
	FAULT_POINT("plane.after_cursor_commit");
	return r;
}

/* Takes the cursor for what it is: an acknowledgement, the wish for everything, or one that this
 * database never gave; it has also lost something when the gateway was acknowledged a report that is not in it. An acknowledgement by itself is worth no commit: it is noted with what is sent next. */
static int take_cursor(struct gateway *gw, const struct gateway_row *row, int64_t cursor, int64_t reported,
		       bool same_plane, struct pcg_error *err)
{
	bool known = same_plane && (cursor == row->acked || cursor == row->sent);
	int64_t have = 0;
	int r = gateway_reported(gw->p, gw->uid, &have, err);

	if (r)
		return r;
	known = known && reported <= have;
	gw->resync = cursor == 0 || !known;
	gw->lost = cursor != 0 && !known;
	gw->cursor = gw->resync ? 0 : cursor;
	if (!gw->resync)
		return drop_released(gw, err);
	r = begin_resync(gw, cursor != 0, reported, err);
	if (!r && cursor)
		log_warn("gateway_resync", LS("gateway", gw->uid), LI("cursor", cursor),
			 LI("reported", reported), LI("reported_here", have));
	return r;
}

static int poll(struct plane *p, struct http_exchange *x, const struct gateway_row *row,
		struct pcg_error *err)
{
	struct gateway *gw = find(p, row->uid, true);
	int64_t cursor = query_number(x, "cursor", 0), wait_s = query_number(x, "wait", 25);
	int64_t reported = query_number(x, "reported", 0);
	const char *plane = http_exchange_query(x, "plane");
	int r;

	if (cursor < 0 || reported < 0 || wait_s < 0 || wait_s > WAIT_MAX_S) {
		api_answer_error(x, 400, "InvalidRequest",
				 "cursor and reported must be numbers from 0 on, wait one from 0 to 55", NULL);
		return 0;
	}
	if (gw->waiting)
		answer(gw, gw->cursor, json_array());
	contact(gw);
	r = take_cursor(gw, row, cursor, reported, !plane || !*plane || strcmp(plane, p->id) == 0, err);
	if (r)
		return r;
	gw->waiting = x;
	http_exchange_on_gone(x, on_gone, gw);
	r = try_answer(gw, err);
	if (r) {
		fail_waiting(gw, err);
		return 0;
	}
	if (gw->waiting && !wait_s)
		answer(gw, gw->cursor, json_array());
	else if (gw->waiting)
		uv_timer_start(&gw->timer, on_wait_over, (uint64_t)wait_s * 1000, 0);
	return 0;
}

static int route(struct plane *p, struct http_exchange *x, const struct http_server_request *req,
		 const json_t *body, struct pcg_error *err)
{
	const char *path = req->path + strlen("/gateway/v1/");
	bool post = strcmp(req->method, "POST") == 0;
	struct gateway_row row;
	int r;

	if (post && strcmp(path, "enrol") == 0)
		return gateway_enrol(p, x, body, err);
	if (!post && strcmp(path, "ca") == 0) {
		AUTO_JSON json_t *ca = json_pack("{s:s}", "ca", p->ca_pem);

		http_exchange_reply_json(x, 200, ca);
		return 0;
	}
	r = gateway_identify(p, x, req, &row, err);
	if (r <= 0)
		return r;
	if (!post && strcmp(req->method, "GET") == 0 && strcmp(path, "instructions") == 0)
		return poll(p, x, &row, err);
	if (post && strcmp(path, "reports") == 0)
		return gateway_reports(p, x, &row, body, err);
	if (post && strcmp(path, "certificate") == 0)
		return gateway_renew(p, x, &row, body, err);
	if (post && strncmp(path, "queries/", 8) == 0) {
		query_answered(p, x, &row, path + 8, body);
		return 0;
	}
	api_answer_error(x, 404, "ResourceNotFound", "not part of the gateway protocol", NULL);
	return 0;
}

void gateways_handle(struct plane *p, struct http_exchange *x, const struct http_server_request *req)
{
	struct pcg_error err = { 0 };
	json_t *body = NULL;

	if (strcmp(req->method, "POST") == 0 &&
	    (json_parse(req->body, req->body_len, "the request's body", &body, &err) ||
	     !json_is_object(body))) {
		api_answer_error(x, 400, "InvalidRequest",
				 err.text[0] ? err.text : "the request's body is not a JSON object", NULL);
		json_wipe(body);
		return;
	}
	if (route(p, x, req, body, &err)) {
		log_err("gateway_request_failed", &err, LS("path", req->path));
		api_answer_error(x, 500, "InternalError", err.text, NULL);
	}
	json_wipe(body);
	gateways_flush(p);
}

void gateways_free(struct gateways *g, void (*closed)(void *arg), void *arg)
{
	struct pcg_error err = { 0 };
	struct gateway *gw, *next;

	g->closing = true;
	g->closed = closed;
	g->arg = arg;
	g->open++;
	pcg_fail(&err, PCG_CLASS_CANCELLED, "try again", "the plane is stopping");
	for (gw = g->list; gw; gw = next) {
		next = gw->next;
		while (gw->queries)
			query_end(gw->queries, NULL, &err);
		if (gw->waiting)
			answer(gw, gw->cursor, json_array());
		uv_close((uv_handle_t *)&gw->timer, on_gateway_closed);
	}
	g->open--;
	gone_if_last(g);
}
