/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of what each hook may return. Checked in the worker, so that the script is named, and
 * again in the host: the worker is where strangers' code runs. */
#include "config.h"

#include "host/policy/policy_impl.h"

#include "net/pki.h"
#include "net/proxy.h"

#include <stdio.h>
#include <string.h>

enum empty { AS_IT_IS, LIST, RECORD }; /* what an empty Lua table is in that place */

/* shape, an empty table, what it is called in errors; each has a function wrong_SHAPE */
#define SHAPES(X)                                                                  \
	X(flag, AS_IT_IS, "true or false")                                         \
	X(text, AS_IT_IS, "a text")                                                \
	X(proxy_url, AS_IT_IS, "a text http://HOST[:PORT], or \"\" for none")      \
	X(no_proxy, LIST, "a list of host names, domains, addresses and networks") \
	X(commands, LIST, "a list of texts")                                       \
	X(names, LIST, "a list of names")                                          \
	X(changes, RECORD, "a table of [\"path\"] = value")                        \
	X(certificates, LIST, "a list of {name = text, pem = text}")               \
	X(files, LIST, "a list of {path, content, owner, permissions}")

/* hook, field, shape */
#define FIELDS(X)                                       \
	X(admission, allow, flag)                       \
	X(admission, reason, text)                      \
	X(admission, change, changes)                   \
	X(ca_bundle, certificates, certificates)        \
	X(proxy, httpProxy, proxy_url)                  \
	X(proxy, httpsProxy, proxy_url)                 \
	X(proxy, noProxy, no_proxy)                     \
	X(node_bootstrap, files, files)                 \
	X(node_bootstrap, preKubeadmCommands, commands) \
	X(node_bootstrap, postKubeadmCommands, commands) \
	X(delete_guard, allow, flag)                    \
	X(delete_guard, reason, text)                   \
	X(delete_guard, keepVolumes, names)

bool policy_hook_known(const char *hook)
{
#define X(id, input, result)    \
	if (!strcmp(hook, #id)) \
		return true;
	POLICY_HOOKS(X)
#undef X
	return false;
}

/* Each returns true with err filled when v does not fit. */
static bool wrong(struct pcg_error *err, const char *what)
{
	pcg_fail(err, PCG_CLASS_PERMANENT, "", "%s", what);
	return true;
}

static bool wrong_flag(const json_t *v, struct pcg_error *err)
{
	return !json_is_boolean(v) && wrong(err, "it is something else");
}

static bool wrong_text(const json_t *v, struct pcg_error *err)
{
	if (!json_is_string(v))
		return wrong(err, "it is something else");
	return !json_string_length(v) && wrong(err, "it is empty");
}

static bool wrong_proxy_url(const json_t *v, struct pcg_error *err)
{
	struct proxy_set *p;

	if (!json_is_string(v))
		return wrong(err, "it is something else");
	if (proxy_set_new(json_string_value(v), NULL, NULL, NULL, &p, err))
		return true;
	proxy_set_unref(p);
	return false;
}

static bool wrong_no_proxy(const json_t *v, struct pcg_error *err)
{
	size_t i;
	json_t *e;

	if (!json_is_array(v))
		return wrong(err, "it is something else");
	json_array_foreach (v, i, e) {
		const char *s = json_string_value(e);

		if (!s || !*s || strpbrk(s, ", \t\r\n\"'\\$`"))
			return wrong(err,
				     "an entry is not the text of one host, domain, address or "
				     "network");
		if (no_proxy_check(s, err))
			return true;
	}
	return false;
}

static bool wrong_commands(const json_t *v, struct pcg_error *err)
{
	size_t i;
	json_t *e;

	if (!json_is_array(v))
		return wrong(err, "it is something else");
	json_array_foreach (v, i, e)
		if (wrong_text(e, err))
			return wrong(err, "an entry is not a text, or empty");
	return false;
}

static bool wrong_names(const json_t *v, struct pcg_error *err)
{
	return wrong_commands(v, err);
}

static bool wrong_changes(const json_t *v, struct pcg_error *err)
{
	if (!json_is_object(v))
		return wrong(err, "it is something else");
	return policy_changes_check(v, err) != 0;
}

static bool record_of_texts(const json_t *o, const char *const *names, size_t needed)
{
	const char *key;
	json_t *v;
	size_t i;

	if (!json_is_object(o))
		return false;
	for (i = 0; i < needed; i++)
		if (!json_str(o, names[i]))
			return false;
	json_object_foreach ((json_t *)o, key, v) {
		for (i = 0; names[i] && strcmp(names[i], key); i++)
			;
		if (!names[i] || !json_is_string(v))
			return false;
	}
	return true;
}

static bool wrong_certificates(const json_t *v, struct pcg_error *err)
{
	static const char *const names[] = {"name", "pem", NULL};
	size_t i, count;
	json_t *c;

	if (!json_is_array(v))
		return wrong(err, "it is something else");
	json_array_foreach (v, i, c) {
		if (!record_of_texts(c, names, 2) || !*json_str(c, "name"))
			return wrong(err, "an entry is not {name = text, pem = text}");
		if (strstr(json_str(c, "pem"), "PRIVATE KEY"))
			return wrong(err,
				     "an entry holds a private key, which no node may be given");
		if (pki_bundle_check(json_str(c, "pem"), &count, err)) {
			pcg_fail_prefix(err, "certificate \"%.60s\"", json_str(c, "name"));
			return true;
		}
	}
	return false;
}

static bool permissions_wrong(const char *s)
{
	size_t n = strlen(s);

	return n < 3 || n > 4 || strspn(s, "01234567") != n;
}

static bool owner_wrong(const char *s)
{
	const char *colon = strchr(s, ':');
	const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
	size_t n = strspn(s, allowed);

	if (!colon)
		return !n || s[n];
	return !n || s + n != colon || !colon[1] || colon[1 + strspn(colon + 1, allowed)];
}

static bool path_wrong(const char *s)
{
	for (const char *c = s; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			return true;
	/* Cluster API writes it into YAML without quotes, and takes 512 characters. */
	return *s != '/' || strchr("/: ", s[strlen(s) - 1]) || strstr(s, "/../") || strlen(s) > 512 ||
	       strstr(s, ": ") || strstr(s, " #");
}

static bool wrong_files(const json_t *v, struct pcg_error *err)
{
	static const char *const names[] = {"path", "content", "owner", "permissions", NULL};
	size_t i;
	json_t *f;

	if (!json_is_array(v))
		return wrong(err, "it is something else");
	json_array_foreach (v, i, f) {
		if (!record_of_texts(f, names, 2))
			return wrong(err, "an entry needs path and content, may have owner and "
					  "permissions, all of them texts");
		if (path_wrong(json_str(f, "path")))
			return wrong(err, "a path is not that of a file from / on, of at most 512 "
					  "characters and without \": \" and \" #\"");
		if (permissions_wrong(json_str_or(f, "permissions", "0644")))
			return wrong(err, "permissions are not a text like \"0644\"");
		if (owner_wrong(json_str_or(f, "owner", "root:root")))
			return wrong(err, "an owner is not a text like \"root:root\"");
	}
	return false;
}

struct shape {
	enum empty empty;
	const char *doc;
	bool (*wrong)(const json_t *v, struct pcg_error *err);
};

#define X(id, empty, doc) static const struct shape shape_##id = {empty, doc, wrong_##id};
SHAPES(X)
#undef X

static const struct field {
	const char *hook, *name;
	const struct shape *shape;
} fields[] = {
#define X(hook, field, shape) {#hook, #field, &shape_##shape},
	FIELDS(X)
#undef X
};

static const struct field *find(const char *hook, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (!strcmp(fields[i].hook, hook) && !strcmp(fields[i].name, name))
			return &fields[i];
	return NULL;
}

/* An empty Lua table may be a list or a record: the hook's field decides. */
static void settle_empty(const char *hook, json_t *result)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		const struct field *f = &fields[i];
		json_t *v = json_object_get(result, f->name);

		if (strcmp(f->hook, hook) || !v)
			continue;
		if (f->shape->empty == RECORD && json_is_array(v) && !json_array_size(v))
			json_object_set_new(result, f->name, json_object());
		if (f->shape->empty == LIST && json_is_object(v) && !json_object_size(v))
			json_object_set_new(result, f->name, json_array());
	}
}

static int check_field(const char *hook, const char *name, const json_t *v, struct pcg_error *err)
{
	const struct field *f = find(hook, name);
	struct pcg_error why;

	if (!f)
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"leave it out; docs/policy.md lists what a hook may return",
				"the result has a field \"%s\" that is not known", name);
	if (!f->shape->wrong(v, &why))
		return 0;
	return pcg_fail(err, PCG_CLASS_PERMANENT,
			"correct the script; docs/policy.md lists what a hook may return",
			"the result's field \"%s\" is not %s: %s", name, f->shape->doc, why.text);
}

static bool decides(const char *hook)
{
	return !strcmp(hook, "admission") || !strcmp(hook, "delete_guard");
}

/* A decision is always said, and a refusal always has a reason. */
static int check_decision(const json_t *result, struct pcg_error *err)
{
	if (!json_object_get(result, "allow"))
		return pcg_fail(
			err, PCG_CLASS_PERMANENT,
			"return {allow = true} or {allow = false, reason = \"...\"}, or nothing",
			"the result has no field \"allow\"");
	if (json_is_false(json_object_get(result, "allow")) && !json_object_get(result, "reason"))
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"return {allow = false, reason = \"...\"}: the reason is shown to "
				"whoever asked for the cluster",
				"the result refuses without a field \"reason\"");
	return 0;
}

int policy_schema_check(const char *hook, json_t *result, struct pcg_error *err)
{
	const char *key;
	json_t *v;
	int r;

	if (!json_is_object(result))
		return pcg_fail(
			err, PCG_CLASS_PERMANENT, "return a table, or nothing",
			"the result is not a table of the fields that docs/policy.md lists");
	settle_empty(hook, result);
	json_object_foreach (result, key, v) {
		r = check_field(hook, key, v, err);
		if (r)
			return r;
	}
	return decides(hook) ? check_decision(result, err) : 0;
}

static void extend(json_t *total, const char *key, const json_t *more)
{
	json_t *list = json_object_get(total, key);

	if (!list) {
		list = json_array();
		json_object_set_new(total, key, list);
	}
	json_array_extend(list, (json_t *)more);
}

static int merge_admission(json_t *total, const json_t *result, json_t *input,
			   struct pcg_error *err)
{
	const json_t *changes = json_object_get(result, "change");

	json_object_set(total, "allow", json_object_get(result, "allow"));
	if (!json_is_true(json_object_get(result, "allow"))) {
		json_object_set(total, "reason", json_object_get(result, "reason"));
		json_object_del(total, "change");
		return 0;
	}
	if (!json_object_size(changes))
		return 0;
	if (!json_object_get(total, "change"))
		json_object_set_new(total, "change", json_object());
	policy_changes_join(json_object_get(total, "change"), changes);
	return policy_changes_apply(input, changes, err);
}

static void merge_proxy(json_t *result, json_t *input)
{
	json_t *proxy = json_object_get(input, "proxy");

	if (json_is_object(proxy))
		json_object_update(proxy, result);
	else
		json_object_set(input, "proxy", result);
}

int policy_merge(const char *hook, json_t *total, json_t *result, json_t *input,
		 struct pcg_error *err)
{
	const char *key;
	json_t *v;

	if (!strcmp(hook, "admission"))
		return merge_admission(total, result, input, err);
	json_object_foreach (result, key, v) {
		if (!strcmp(hook, "node_bootstrap") || !strcmp(key, "keepVolumes"))
			extend(total, key, v);
		else
			json_object_set(total, key, v);
		if (!strcmp(hook, "ca_bundle"))
			json_object_set(input, key, v);
	}
	if (!strcmp(hook, "proxy"))
		merge_proxy(result, input);
	return 0;
}
