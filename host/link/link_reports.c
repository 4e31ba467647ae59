/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/link/link_impl.h"

#include "core/fault.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define POST_MS 60000
#define ANSWER_MS 10000
#define REPORT_ROOM 4096
#define GATHER_MS 50 /* what follows one another this soon is one request, and one document of a cluster */

static void on_post_timer(uv_timer_t *t)
{
	struct link_lane *lane = t->data;

	link_post_start(lane->link);
}

static void gather(struct link *l)
{
	if (l->closing || l->post.call || uv_is_active((uv_handle_t *)&l->post.timer))
		return;
	l->gathering = true;
	uv_timer_start(&l->post.timer, on_post_timer, GATHER_MS, 0);
}

static bool names_one(const json_t *sent, const json_t *seq)
{
	json_t *other;
	size_t i;

	json_array_foreach((json_t *)sent, i, other)
		if (json_equal(seq, other))
			return true;
	return false;
}

/* Ends reports: no one of them is sent again. */
static void finish(struct link *l, const json_t *acked, const json_t *refused)
{
	json_t *one;
	size_t i;

	json_array_foreach((json_t *)refused, i, one)
		log_warn("report_refused", LI("seq", json_int_or(one, "seq", 0)),
			 LS("cause", json_str_or(one, "text", "")));
	if (json_array_size(refused))
		l->hooks.refused(l->hooks.arg, refused);
	l->hooks.reported(l->hooks.arg, acked, l->reported);
}

/* A batch that the plane will not have as it is: made smaller, until the one that is wrong is found
 * and given up; the others get through. */
static void shrink(struct link *l, const struct pcg_error *err)
{
	AUTO_JSON json_t *refused = NULL;

	if (l->post_max > 1) {
		l->post_max /= 2;
		return;
	}
	refused = json_pack("[{s:O,s:s}]", "seq", json_array_get(l->post_seqs, 0), "text", err->text);
	finish(l, l->post_seqs, refused);
	l->post_max = LINK_REPORTS_MAX;
}

static void post_failed(struct link *l, const struct http_response *resp, const struct pcg_error *err)
{
	if (resp->status == 400 || resp->status == 413) {
		shrink(l, err);
		link_post_start(l);
		return;
	}
	log_outage_begin(&l->post.outage, "reports_not_taken", l->url, err);
	link_again(&l->post, resp->status == 401 || resp->status == 403 ? 60000 : 0, on_post_timer);
}

static bool names_any(const json_t *sent, const json_t *acked)
{
	json_t *seq;
	size_t i;

	json_array_foreach((json_t *)acked, i, seq)
		if (names_one(sent, seq))
			return true;
	return false;
}

static void on_post_done(void *arg, const struct http_response *resp)
{
	struct link *l = arg;
	struct pcg_error err = { 0 };
	AUTO_JSON json_t *doc = NULL;
	json_t *seq;
	size_t i;

	l->post.call = NULL;
	if (resp->status != 200)
		link_response_error(resp, "sending reports to the plane", &err);
	else if (json_parse(resp->body, resp->body_len, "the plane's acknowledgement", &doc, &err) == 0 &&
		 !names_any(l->post_seqs, json_object_get(doc, "acked")))
		pcg_fail(&err, PCG_CLASS_RETRY, "see that plane.url names a pcg-plane of this version",
			 "the plane's acknowledgement names no report");
	if (err.text[0]) {
		post_failed(l, resp, &err);
		return;
	}
	FAULT_POINT("link.after_reports_acked");
	l->post.failures = 0;
	l->post_max = LINK_REPORTS_MAX;
	log_outage_end(&l->post.outage, "reports_taken", l->url);
	json_array_foreach(json_object_get(doc, "acked"), i, seq)
		if (names_one(l->post_seqs, seq) && json_integer_value(seq) > l->reported)
			l->reported = json_integer_value(seq);
	finish(l, json_object_get(doc, "acked"), json_object_get(doc, "refused"));
	if (l->post_urgent || json_array_size(l->post_seqs) >= LINK_REPORTS_MAX)
		link_post_start(l);
	else
		gather(l);
}

void link_post_start(struct link *l)
{
	json_t *reports, *body, *report;
	size_t i, n, len = 0;
	char *text;

	if (l->closing || l->post.call || uv_is_active((uv_handle_t *)&l->post.timer))
		return;
	l->gathering = l->post_urgent = false;
	reports = l->hooks.reports(l->hooks.arg, l->post_max);
	if (!json_array_size(reports)) {
		json_decref(reports);
		return;
	}
	json_decref(l->post_seqs);
	l->post_seqs = json_array();
	json_array_foreach(reports, i, report)
		json_array_append(l->post_seqs, json_object_get(report, "seq"));
	n = json_array_size(reports);
	body = json_pack("{s:o}", "reports", reports);
	text = json_text_large(body, n * REPORT_ROOM, &len);
	json_decref(body);
	FAULT_POINT("link.before_reports_sent");
	l->post.call = link_request(l, "POST", "/gateway/v1/reports", text, len, POST_MS, false, on_post_done, l);
	secret_wipe(text, len);
	free(text);
}

void link_wake_reports(struct link *l, bool urgent)
{
	if (!urgent) {
		gather(l);
		return;
	}
	if (l->gathering)
		uv_timer_stop(&l->post.timer);
	l->post_urgent = l->post.call != NULL;
	link_post_start(l);
}

struct link_answer {
	struct link *link;
	struct link_answer *next;
	struct http_call *call;
};

static void on_answer_done(void *arg, const struct http_response *resp)
{
	struct link_answer *a = arg;
	struct link_answer **at = &a->link->answers;
	struct pcg_error err = { 0 };

	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	if (resp->status != 204 && resp->status != 404) {
		link_response_error(resp, "answering a query of the plane", &err);
		log_err("query_answer_lost", &err);
	}
	free(a);
}

void link_query_reply(struct link *l, const char *query_id, const json_t *reply)
{
	struct link_answer *a;
	char path[128];
	size_t len = 0;
	char *text;

	if (l->closing || strlen(query_id) > 64)
		return;
	a = calloc(1, sizeof(*a));
	assert(a);
	a->link = l;
	a->next = l->answers;
	l->answers = a;
	text = json_text_secret(reply, &len);
	snprintf(path, sizeof(path), "/gateway/v1/queries/%s", query_id);
	FAULT_POINT("link.before_query_reply_sent");
	a->call = link_request(l, "POST", path, text, len, ANSWER_MS, false, on_answer_done, a);
	secret_wipe(text, len);
	free(text);
}

void link_answers_end(struct link *l)
{
	while (l->answers) {
		struct link_answer *a = l->answers;

		l->answers = a->next;
		http_cancel(a->call);
		free(a);
	}
}
