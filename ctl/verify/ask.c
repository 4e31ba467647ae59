/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to their end, the way the lifecycle asks: the same document and the last checkpoint, again after the time that
 * the answer named or at a hint, with a back-off after what passes by itself. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "pcg/provider.h"

#include <stdio.h>
#include <string.h>

#define BACKOFF_MS 50u
#define BACKOFF_MAX_MS 2000u
#define AFTER_MAX_MS 600000u
#define TURN_MS 1000u

void step_init(struct step *s, const char *account, const char *op, const char *subject, json_t *doc, json_t *checkpoint)
{
	memset(s, 0, sizeof(*s));
	s->account = account;
	s->op = op;
	snprintf(s->subject, sizeof(s->subject), "%s", subject);
	s->doc = doc;
	s->checkpoint = checkpoint;
}

void step_free(struct step *s)
{
	json_wipe(s->doc);
	json_decref(s->checkpoint);
	json_decref(s->answer);
	s->doc = s->checkpoint = s->answer = NULL;
}

const char *step_status(const struct step *s)
{
	static char out[4][1400];
	static unsigned turn;
	char *o = out[turn++ % ARRAY_LEN(out)];

	if (s->status == PCG_STEP_DONE)
		return "done";
	if (s->status == PCG_STEP_PENDING)
		snprintf(o, sizeof(out[0]), "pending after %u calls in %.1f s", s->asked,
			 (double)(s->v->limits.done_ms) / 1000);
	else
		snprintf(o, sizeof(out[0]), "error %s: %s", pcg_class_name(s->err.class), *s->err.text ? s->err.text : "it was not answered");
	return o;
}

static void look_for_secrets(struct verify *v, const struct step *s, const json_t *doc, const char *what)
{
	char *text;
	size_t len;

	if (!doc)
		return;
	text = json_text_secret(doc, &len);
	if (rig_holds_secret(v, text))
		verify_note(v->leaks, "secrets are kept by secret_put alone; keys of the user data stay in it", "none",
			    "the %s of %s holds a secret", what, s->op);
	free(text);
}

static void look_at_error(struct verify *v, const struct step *s)
{
	const struct pcg_error *e = &s->err;
	bool passes = e->class == PCG_CLASS_RETRY || e->class == PCG_CLASS_CANCELLED;

	if (e->class == PCG_CLASS_BUG)
		verify_note(v->documents, "done, pending, error: exactly one of these before the op returns, doc is a JSON object or NULL",
			    "one answer", "%s: %s", s->op, e->text);
	if (!*e->text)
		verify_note(v->documents, "PCG_STEP_ERROR: class, text and remedy say why", "a text that says what was tried",
			    "error %s of %s has no text", pcg_class_name(e->class), s->op);
	if (!passes && e->class != PCG_CLASS_BUG && !*e->remedy)
		verify_note(v->documents, "PCG_STEP_ERROR: class, text and remedy say why", "a remedy",
			    "error %s of %s (%s) has no remedy", pcg_class_name(e->class), s->op, e->text);
	if (rig_holds_secret(v, e->text) || rig_holds_secret(v, e->remedy))
		verify_note(v->leaks, "error: no secrets", "a text without it", "an error of %s holds a secret", s->op);
}

/* What holds for every answer, whatever the check is about. */
static void look_at(struct verify *v, const struct step *s, const struct provider_reply *reply)
{
	char found[300], expected[200];

	if (reply->status == PCG_STEP_ERROR) {
		look_at_error(v, s);
		return;
	}
	if (reply->status == PCG_STEP_DONE && schema_wrong(s->op, reply->doc, found, sizeof(found), expected, sizeof(expected)))
		verify_note(v->documents, s->op, expected, "%s: %s", s->op, found);
	if (reply->status == PCG_STEP_PENDING && reply->after_ms > AFTER_MAX_MS)
		verify_note(v->documents, "PCG_STEP_PENDING: ask again in after_ms", "at most ten minutes",
			    "%s wants to be asked again in %u ms", s->op, reply->after_ms);
	look_for_secrets(v, s, reply->checkpoint, "checkpoint");
	/* The identity that controllers use is in what is exported. */
	if (strcmp(s->op, "export_objects") != 0)
		look_for_secrets(v, s, reply->doc, "answer");
}

static void on_reply(void *arg, const struct provider_reply *reply)
{
	struct step *s = arg;
	struct verify *v = s->v;

	s->call = NULL;
	s->status = reply->status;
	s->err = reply->err;
	json_decref(s->answer);
	s->answer = json_deep_copy(reply->doc);
	s->took_ms = verify_now(v) - s->began;
	look_at(v, s, reply);
	if (reply->checkpoint) {
		json_decref(s->checkpoint);
		s->checkpoint = json_deep_copy(reply->checkpoint);
	}
	if (reply->status == PCG_STEP_PENDING) {
		s->due = verify_now(v) + reply->after_ms;
		s->failed = 0;
		s->over = s->once;
	} else if (reply->status == PCG_STEP_ERROR && reply->err.class == PCG_CLASS_RETRY) {
		s->due = verify_now(v) + (s->failed < 6 ? BACKOFF_MS << s->failed : BACKOFF_MAX_MS);
		s->failed++;
		s->over = s->once;
	} else {
		s->over = true;
	}
}

static void step_call(struct step *s)
{
	struct verify *v = s->v;

	if (s->checkpoint)
		json_object_set(s->doc, "checkpoint", s->checkpoint);
	s->asked++;
	s->began = verify_now(v);
	s->call = provider_call(v->pool, s->account, s->op, s->subject, s->doc, s->timeout_ms ? s->timeout_ms : v->limits.op_ms,
				on_reply, s);
}

void step_cancel(struct step *s)
{
	if (!s->call)
		return;
	provider_call_cancel(s->call);
	s->call = NULL;
	s->due = verify_now(s->v);
}

void ask_hint(struct verify *v, const char *subject)
{
	for (size_t i = 0; i < v->n_steps; i++)
		if (!v->steps[i].call && strcmp(v->steps[i].subject, subject) == 0)
			v->steps[i].due = 0;
}

/* Calls what is due. Returns when the next one is, UINT64_MAX when nothing is left. */
static uint64_t steps_turn(struct verify *v)
{
	uint64_t now = verify_now(v), next = UINT64_MAX;

	for (size_t i = 0; i < v->n_steps; i++) {
		struct step *s = &v->steps[i];

		if (s->over)
			continue;
		if (!s->call && now >= s->until)
			s->over = true;
		else if (!s->call && now >= s->due)
			step_call(s);
		if (s->over)
			continue;
		if (s->call)
			next = next < now + TURN_MS ? next : now + TURN_MS;
		else
			next = s->due < next ? s->due : next;
	}
	return next;
}

static void cancel_all(struct verify *v)
{
	for (size_t i = 0; i < v->n_steps; i++) {
		step_cancel(&v->steps[i]);
		if (!v->steps[i].over && !v->steps[i].asked)
			pcg_fail(&v->steps[i].err, PCG_CLASS_CANCELLED, "", "the verification was ended");
		if (!v->steps[i].over && v->steps[i].status == PCG_STEP_DONE)
			v->steps[i].status = PCG_STEP_ERROR;
		v->steps[i].over = true;
	}
}

void steps_run(struct verify *v, struct step *steps, size_t n)
{
	unsigned deaths = v->deaths;
	uint64_t next;

	v->steps = steps;
	v->n_steps = n;
	for (size_t i = 0; i < n; i++) {
		steps[i].v = v;
		steps[i].status = PCG_STEP_ERROR;
		steps[i].until = verify_now(v) + v->limits.done_ms;
	}
	/* What crashes once does so again: no need to wait for it. */
	while ((next = steps_turn(v)) != UINT64_MAX && !v->stopped && v->deaths == deaths) {
		uint64_t now = verify_now(v);

		verify_turn(v, next > now ? next - now : 0);
	}
	cancel_all(v);
	v->steps = NULL;
	v->n_steps = 0;
}

int step_done(struct verify *v, const struct step *s, const char *clause)
{
	if (s->status == PCG_STEP_DONE)
		return 0;
	return verify_fail(v, clause, "done", "%s of %.24s: %s", s->op, s->subject, step_status(s));
}
