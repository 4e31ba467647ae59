/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of what needs no machine: loading, accounts, pick lists, errors, deadlines. */
#include "config.h"

#include "ctl/verify/verify.h"

#include "pcg/provider.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define CLAUSE_VALIDATE "account_validate: done {\"problems\":[{\"field\",\"text\",\"remedy\"}]}: everything wrong at once"
#define DEADLINE_MS 400u
#define MARGIN_MS 1500u /* after a deadline: the pool kills 2 s after it */

static json_t *spec_of(const struct verify *v)
{
	return json_at(v->docs, "account.spec");
}

/* One answer to account_validate; what is given is stolen. */
static void validate(struct verify *v, struct step *s, json_t *spec)
{
	step_init(s, ACCOUNT, "account_validate", "validate", json_pack("{s:o}", "account", spec), NULL);
	s->once = true;
	steps_run(v, s, 1);
}

static bool names_field(const json_t *problems, const char *field)
{
	size_t i;
	json_t *e;

	json_array_foreach(problems, i, e)
		if (strstr(json_str_or(e, "field", ""), field))
			return true;
	return false;
}

static bool default_fits(const json_t *setting)
{
	const json_t *def = json_object_get(setting, "default");
	const char *type = json_str_or(setting, "type", ""), *text = json_string_value(def);

	if (!def || json_is_null(def) || strcmp(type, "string") == 0)
		return !def || json_is_null(def) || text;
	if (strcmp(type, "bool") == 0)
		return json_is_boolean(def) || (text && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0));
	return json_is_integer(def) || (text && *text && !text[strspn(text, "-0123456789")]);
}

int check_load(struct verify *v)
{
	static const char clause[] = "settings: [{\"name\",\"type\",\"default\",\"doc\",\"secret\":bool}]";
	char found[300], expected[200];
	json_t *settings, *e, *other;
	struct step s;
	size_t i, k;

	validate(v, &s, json_deep_copy(spec_of(v)));
	if (!v->loaded)
		verify_fail(v, "pcg_provider_v0, start", "a plugin that loads and starts", "%s", step_status(&s));
	step_free(&s);
	settings = json_object_get(v->loaded, "settings");
	if (v->loaded && schema_wrong_settings(settings, found, sizeof(found), expected, sizeof(expected)))
		verify_fail(v, clause, expected, "settings%s", found);
	json_array_foreach(settings, i, e) {
		const char *name = json_str_or(e, "name", "");

		if (!default_fits(e))
			verify_fail(v, clause, "a default of its type", "the default of setting %s is none of type %s", name,
				    json_str_or(e, "type", ""));
		json_array_foreach(settings, k, other)
			if (k < i && strcmp(json_str_or(other, "name", ""), name) == 0)
				verify_fail(v, clause, "each name once", "setting %s is there twice", name);
	}
	return v->loaded ? 0 : -1;
}

static int problems_wanted(struct verify *v, const struct step *s, const char *what)
{
	if (s->status == PCG_STEP_DONE && json_array_size(json_object_get(s->answer, "problems")))
		return 0;
	return verify_fail(v, CLAUSE_VALIDATE, "problems", "an account %s: %s", what,
			   s->status == PCG_STEP_DONE ? "found to be valid" : step_status(s));
}

static void validate_without(struct verify *v, const char *member)
{
	json_t *spec = json_deep_copy(spec_of(v));
	char what[120];
	struct step s;

	json_object_del(spec, member);
	snprintf(what, sizeof(what), "without %.80s", member);
	validate(v, &s, spec);
	if (!problems_wanted(v, &s, what) && !names_field(json_object_get(s.answer, "problems"), member))
		verify_fail(v, CLAUSE_VALIDATE, "a problem whose field is that member", "an account %s: no problem names it", what);
	step_free(&s);
}

static void validate_without_all(struct verify *v, const json_t *required)
{
	json_t *spec = json_deep_copy(spec_of(v)), *e;
	struct step s;
	size_t i;

	json_array_foreach(required, i, e)
		json_object_del(spec, json_string_value(e));
	validate(v, &s, spec);
	if (!problems_wanted(v, &s, "without any of account.required"))
		json_array_foreach(required, i, e)
			if (!names_field(json_object_get(s.answer, "problems"), json_string_value(e)))
				verify_fail(v, CLAUSE_VALIDATE, "a problem for each member, at once",
					    "an account without any of account.required: no problem names %s", json_string_value(e));
	step_free(&s);
}

/* Wrong, and told by problems; or by the error that every other op would give. */
static void validate_wrong(struct verify *v, const char *wrong, enum pcg_class class)
{
	json_t *patch = json_at(v->docs, wrong);
	struct step s;

	if (!patch)
		return;
	validate(v, &s, input_patched(spec_of(v), patch));
	if (!(s.status == PCG_STEP_ERROR && s.err.class == class))
		problems_wanted(v, &s, wrong);
	step_free(&s);
}

int check_validate(struct verify *v)
{
	const json_t *required = json_at(v->docs, "account.required");
	struct step s;
	size_t i;
	json_t *e;

	validate(v, &s, json_deep_copy(spec_of(v)));
	if (!step_done(v, &s, "account_validate: validated by really using it; done {\"version\",\"warnings\"}") &&
	    json_array_size(json_object_get(s.answer, "problems"))) {
		AUTO_FREE char *text = json_text(json_object_get(s.answer, "problems"));

		verify_fail(v, "account_validate", "a valid account (mend DOCS.json if it is not)", "problems: %.600s", text);
	}
	step_free(&s);
	json_array_foreach(required, i, e)
		if (json_is_string(e))
			validate_without(v, json_string_value(e));
	if (json_array_size(required) > 1)
		validate_without_all(v, required);
	validate_wrong(v, "wrong.auth", PCG_CLASS_AUTH);
	validate_wrong(v, "wrong.unreachable", PCG_CLASS_RETRY);
	return 0;
}

#define CLAUSE_LIST "pick_list: {\"kind\",\"filter\",\"limit\",\"continue\"} -> done {\"items\",\"continue\"}, \"\" in continue after the last"
#define PAGES_MAX 200

/* One page; NULL: told. New reference. */
static json_t *page(struct verify *v, const json_t *list, json_int_t limit, const char *from)
{
	json_t *doc = json_deep_copy(list), *answer = NULL;
	struct step s;

	json_object_set_new(doc, "limit", json_integer(limit));
	if (from)
		json_object_set_new(doc, "continue", json_string(from));
	step_init(&s, ACCOUNT, "pick_list", json_str_or(list, "kind", ""), doc, NULL);
	steps_run(v, &s, 1);
	if (!step_done(v, &s, CLAUSE_LIST))
		answer = json_incref(s.answer);
	step_free(&s);
	return answer;
}

/* Its items by pages of about limit, each page asked for twice. NULL: told. New reference. */
static json_t *by_pages(struct verify *v, const json_t *list, json_int_t limit)
{
	const char *kind = json_str_or(list, "kind", "");
	json_t *all = json_array();
	char from[4096] = "";

	for (int i = 0; i < PAGES_MAX; i++) {
		AUTO_JSON json_t *one = page(v, list, limit, i ? from : NULL), *two = one ? page(v, list, limit, i ? from : NULL) : NULL;

		if (!two)
			break;
		if (!json_equal(json_object_get(one, "items"), json_object_get(two, "items"))) {
			verify_fail(v, "pick_list: the same page may be asked for again", "the same items", "page %d of list %s differs",
				    i + 1, kind);
			break;
		}
		json_array_extend(all, json_object_get(one, "items"));
		snprintf(from, sizeof(from), "%s", json_str_or(two, "continue", ""));
		if (!*from || (limit == 1 && json_array_size(all) >= PAGES_MAX / 2))
			return all;
	}
	if (!json_array_size(v->failures))
		verify_fail(v, CLAUSE_LIST, "an end", "list %s has no end after %d pages", kind, PAGES_MAX);
	json_decref(all);
	return NULL;
}

static bool each_once(struct verify *v, const json_t *items, const char *kind)
{
	size_t i, k;
	json_t *e, *other;

	json_array_foreach(items, i, e)
		json_array_foreach(items, k, other)
			if (k < i && json_equal(e, other)) {
				verify_fail(v, CLAUSE_LIST, "each item once", "item %s comes twice in list %s", json_str_or(e, "name", ""),
					    kind);
				return false;
			}
	return true;
}

static void filter_by_name(struct verify *v, const json_t *list, const char *name)
{
	const char *kind = json_str_or(list, "kind", "");
	json_t *filtered = json_deep_copy(list);
	AUTO_JSON json_t *answer = NULL;
	char part[16];

	snprintf(part, sizeof(part), "%s", name);
	for (char *c = part; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	json_put_str(filtered, "filter.name", part);
	answer = page(v, filtered, 1000, NULL);
	json_decref(filtered);
	if (answer && !json_array_size(json_object_get(answer, "items")))
		verify_fail(v, "pick_list: every kind takes the filter \"name\", a part of the name in any case", "that item",
			    "list %s with filter name %s, of an item that it has, is empty", kind, part);
}

static void try_list(struct verify *v, const json_t *list)
{
	const char *kind = json_str_or(list, "kind", "");
	AUTO_JSON json_t *whole = by_pages(v, list, 1000), *pages = whole ? by_pages(v, list, 1) : NULL;

	if (!pages || !each_once(v, whole, kind) || !each_once(v, pages, kind))
		return;
	if (!json_array_size(whole)) {
		verify_fail(v, "pick_list", "items (or leave the list out of DOCS.json)", "list %s is empty", kind);
		return;
	}
	if (json_array_size(pages) != json_array_size(whole) && json_array_size(pages) < PAGES_MAX / 2)
		verify_fail(v, CLAUSE_LIST, "the same items", "list %s has %zu items at once and %zu by pages of 1", kind,
			    json_array_size(whole), json_array_size(pages));
	filter_by_name(v, list, json_str_or(json_array_get(whole, 0), "name", ""));
}

int check_lists(struct verify *v)
{
	AUTO_JSON json_t *kinds = json_pack("{s:s, s:{}}", "kind", "kinds", "filter");
	struct step s;
	size_t i;
	json_t *e;

	try_list(v, kinds);
	json_array_foreach(json_object_get(v->docs, "pickLists"), i, e)
		try_list(v, e);
	step_init(&s, ACCOUNT, "pick_list", "none", json_pack("{s:s, s:{}}", "kind", "no-such-list", "filter"), NULL);
	s.once = true;
	steps_run(v, &s, 1);
	if (s.status != PCG_STEP_ERROR || s.err.class != PCG_CLASS_NOT_FOUND)
		verify_fail(v, "pick_list: one that there is not: NOT_FOUND", "error not_found", "a list that there is not: %s",
			    step_status(&s));
	step_free(&s);
	return 0;
}

static const char *const ops[] = { "inventory", "cluster_ensure", "machine_ensure", "machine_delete" };

static json_t *op_doc(struct verify *v, struct life *l, const char *op)
{
	if (strcmp(op, "inventory") == 0)
		return json_pack("{s:s}", "cluster", l->uid);
	return life_doc(l, strncmp(op, "machine", 7) == 0 ? &l->machines[0] : NULL, op);
}

static void ask_wrong(struct verify *v, const char *account, const char *wrong, enum pcg_class class)
{
	struct life *l = life_new(v, 1);
	struct step s;

	if (!json_at(v->docs, wrong))
		return;
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		step_init(&s, account, ops[i], l->uid, op_doc(v, l, ops[i]), NULL);
		s.once = true;
		steps_run(v, &s, 1);
		if (s.status != PCG_STEP_ERROR || s.err.class != class)
			verify_fail(v, "PCG_ERR_AUTH: credentials were refused; PCG_ERR_RETRY: passes by itself",
				    class == PCG_CLASS_AUTH ? "error auth" : "error retry", "%s with %s: %s", ops[i], wrong,
				    step_status(&s));
		step_free(&s);
	}
}

/* With no room left a machine is refused by quota, and made once there is some. */
static int ask_exhausted(struct verify *v)
{
	AUTO_FREE char *out = NULL, *other = NULL;
	struct life *l = life_new(v, 1);
	struct machine *m = &l->machines[0];
	struct step s;

	if (life_cluster(v, l) || command_run(v, "exhaust", l, m, &out))
		return -1;
	m->maybe = true;
	step_init(&s, ACCOUNT, "machine_ensure", m->uid, life_doc(l, m, "machine_ensure"), NULL);
	steps_run(v, &s, 1);
	if (s.status != PCG_STEP_ERROR || s.err.class != PCG_CLASS_QUOTA)
		verify_fail(v, "PCG_ERR_QUOTA: a limit was reached", "error quota", "machine_ensure after commands.exhaust: %s",
			    step_status(&s));
	life_ensured(l, m, &s);
	step_free(&s);
	if (command_run(v, "restore", l, m, &other) || life_machine(v, l, m) || life_count(v, l, 1, "after commands.restore"))
		return -1;
	return life_remove(v, l);
}

int check_errors(struct verify *v)
{
	if (!json_object_get(v->docs, "wrong"))
		return verify_skip(v, "DOCS.json has no \"wrong\"");
	ask_wrong(v, ACCOUNT_AUTH, "wrong.auth", PCG_CLASS_AUTH);
	ask_wrong(v, ACCOUNT_CLOSED, "wrong.unreachable", PCG_CLASS_RETRY);
	if (command_there(v, "exhaust") && command_there(v, "restore"))
		ask_exhausted(v);
	return 0;
}

static void ask_silent(struct verify *v, struct life *l, const char *op)
{
	struct step s;

	step_init(&s, ACCOUNT_SILENT, op, l->uid, op_doc(v, l, op), NULL);
	s.once = true;
	s.timeout_ms = DEADLINE_MS;
	steps_run(v, &s, 1);
	if (s.took_ms > DEADLINE_MS + MARGIN_MS)
		verify_fail(v, CLAUSE_SERVICES, "an answer at its deadline", "%s with a deadline of %u ms and a silent endpoint answered after %llu ms",
			    op, DEADLINE_MS, (unsigned long long)s.took_ms);
	else if (s.status != PCG_STEP_ERROR || (s.err.class != PCG_CLASS_CANCELLED && s.err.class != PCG_CLASS_RETRY))
		verify_fail(v, CLAUSE_SERVICES, "error cancelled or retry", "%s with a silent endpoint: %s", op, step_status(&s));
	step_free(&s);
}

static void noop(void *arg, const struct provider_reply *reply)
{
}

/* Calls of one subject never overlap: when the second is answered, the cancelled one has ended. */
static void cancel_silent(struct verify *v, struct life *l)
{
	AUTO_JSON json_t *doc = op_doc(v, l, "inventory");
	struct provider_call *c;
	uint64_t began;
	struct step s;

	c = provider_call(v->pool, ACCOUNT_SILENT, "inventory", l->uid, doc, v->limits.op_ms, noop, NULL);
	began = verify_now(v);
	while (verify_now(v) - began < 300)
		verify_turn(v, 50);
	provider_call_cancel(c);
	began = verify_now(v);
	step_init(&s, ACCOUNT_SILENT, "inventory", l->uid, json_incref(doc), NULL);
	s.once = true;
	s.timeout_ms = DEADLINE_MS;
	steps_run(v, &s, 1);
	if (verify_now(v) - began > DEADLINE_MS + MARGIN_MS)
		verify_fail(v, CLAUSE_SERVICES, "an end as soon as it is cancelled",
			    "inventory of a silent endpoint had not ended %llu ms after it was cancelled",
			    (unsigned long long)(verify_now(v) - began));
	step_free(&s);
}

int check_deadline(struct verify *v)
{
	struct life *l;

	if (!json_at(v->docs, "wrong.silent"))
		return verify_skip(v, "DOCS.json has no wrong.silent");
	l = life_new(v, 1);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		ask_silent(v, l, ops[i]);
	cancel_silent(v, l);
	return 0;
}
