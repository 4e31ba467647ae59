/* SPDX-License-Identifier: Apache-2.0 */
/* pcg-planectl account: credentials and endpoint of an infrastructure. */
#include "config.h"
#include "plane/ctl.h"

#include <stdio.h>
#include <string.h>

static const char *secret_member(const char *cloud)
{
	if (strcmp(cloud, "maas") == 0)
		return "apiKey";
	return strcmp(cloud, "sim") == 0 ? "token" : "password";
}

static int choose_overlord(struct ctl *c, json_t *doc)
{
	const char *given = json_str_or(doc, "metadata.annotations.overlordUid", "");
	char uid[64];
	int r;

	if (!c->overlord && *given)
		return CTL_DONE;
	r = ctl_choose_overlord(c, uid);
	if (!r)
		json_put_str(doc, "metadata.annotations.overlordUid", uid);
	return r;
}

static int read_account(struct ctl *c, json_t **doc, char cloud[32])
{
	const char *given;
	int r = ctl_read_file(c, doc);

	if (r)
		return r;
	given = ctl_cloud_of(c, *doc);
	if (!given || !ctl_plain(given))
		return ctl_fail(CTL_USAGE, "say which cloud it is with --cloud, or cloudType in %s", c->file);
	snprintf(cloud, 32, "%s", given);
	json_object_del(*doc, "cloudType");
	json_object_del(*doc, "kind");
	if (!json_is_object(json_object_get(*doc, "spec")))
		json_object_set_new(*doc, "spec", json_object());
	r = ctl_read_ca(c, json_object_get(*doc, "spec"));
	if (!r)
		r = ctl_read_secret(c, secret_member(cloud), json_object_get(*doc, "spec"));
	return r ? r : choose_overlord(c, *doc);
}

static void say_warnings(const json_t *warnings)
{
	json_t *w;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)warnings, i, w)
		fprintf(stderr, "  warning: %s\n", json_string_value(w) ? json_string_value(w) : "");
}

/* *detail: what the answer says, a new reference or NULL. */
static int validate_body(struct ctl *c, const char *cloud, const char *overlord, const json_t *body, json_t **detail)
{
	struct ctl_reply reply;
	char path[256];
	int r;

	if (!ctl_plain(cloud) || !ctl_plain(overlord))
		return ctl_fail(CTL_USAGE, "'%s' is no gateway's uid", overlord);
	snprintf(path, sizeof(path), "/v1/overlords/%s/%s/account/validate?detail=true", cloud, overlord);
	r = ctl_call(c, "POST", path, body, 0, &reply);
	*detail = json_incref(reply.json);
	if (!c->json)
		say_warnings(json_object_get(r ? json_object_get(*detail, "details") : *detail, "warnings"));
	ctl_reply_free(&reply);
	return r;
}

int ctl_account_add(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *detail = NULL;
	json_t *doc = NULL, *body = NULL;
	char cloud[32], path[128];
	int r = read_account(c, &doc, cloud);

	if (!r && !c->no_validate) {
		body = json_pack("{s:O}", "account", json_object_get(doc, "spec"));
		r = validate_body(c, cloud, json_str_or(doc, "metadata.annotations.overlordUid", ""), body, &detail);
		json_decref(body);
	}
	if (!r) {
		snprintf(path, sizeof(path), "/v1/cloudaccounts/%s", cloud);
		r = ctl_post_new(c, path, "account", doc);
	}
	json_wipe(doc);
	return r;
}

int ctl_find_account(struct ctl *c, const char *arg, json_t **found)
{
	AUTO_JSON json_t *items = NULL;
	json_t *a, *by_uid = NULL, *by_name = NULL;
	size_t i, named = 0;
	int r = ctl_get_items(c, "/v1/cloudaccounts/summary", &items);

	json_array_foreach(items, i, a) {
		if (strcmp(json_str_or(a, "metadata.uid", ""), arg) == 0)
			by_uid = a;
		if (strcmp(json_str_or(a, "metadata.name", ""), arg) == 0) {
			by_name = a;
			named++;
		}
	}
	*found = json_incref(by_uid ? by_uid : named == 1 ? by_name : NULL);
	if (!r && !*found && named)
		r = ctl_fail(CTL_FAILED, "%zu accounts have the name '%s': give the uid of one (pcg-planectl account list)", named,
			     arg);
	else if (!r && !*found)
		r = ctl_fail(CTL_NOT_FOUND, "there is no account with the uid or name '%s'", arg);
	return r;
}

static int validate_stored(struct ctl *c, const char *arg, json_t **detail)
{
	AUTO_JSON json_t *account = NULL;
	AUTO_JSON json_t *body = NULL;
	int r = ctl_find_account(c, arg, &account);

	if (r)
		return r;
	body = json_pack("{s:s}", "accountUid", json_str_or(account, "metadata.uid", ""));
	return validate_body(c, json_str_or(account, "kind", ""),
			     json_str_or(account, "metadata.annotations.overlordUid", ""), body, detail);
}

/* What is wrong, for a program; a person has read it already. */
static void print_invalid(const json_t *detail)
{
	AUTO_JSON json_t *out = json_pack("{s:b, s:O?, s:O?}", "valid", 0, "problems", json_at(detail, "details.fields"), "warnings",
					  json_at(detail, "details.warnings"));

	ctl_print_json(out);
}

int ctl_account_validate(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *detail = NULL;
	json_t *doc = NULL, *body;
	char cloud[32];
	int r;

	if (arg && (c->file || c->password_file || c->ca_file || c->cloud || c->overlord))
		return ctl_fail(CTL_USAGE, "of an account that is kept give the name or uid alone, of one that is not yet -f FILE "
					   "alone");
	if (arg) {
		r = validate_stored(c, arg, &detail);
	} else {
		r = read_account(c, &doc, cloud);
		if (!r) {
			body = json_pack("{s:O}", "account", json_object_get(doc, "spec"));
			r = validate_body(c, cloud, json_str_or(doc, "metadata.annotations.overlordUid", ""), body,
					  &detail);
			json_decref(body);
		}
		json_wipe(doc);
	}
	if (!r && c->json)
		ctl_print_json(detail);
	else if (c->json && json_at(detail, "details.fields"))
		print_invalid(detail);
	else if (!r && *json_str_or(detail, "version", ""))
		printf("the account is valid: %s\n", json_str_or(detail, "version", ""));
	else if (!r)
		puts("the account is valid");
	return r;
}

int ctl_account_list(struct ctl *c, const char *arg)
{
	static const char *const columns[] = { "UID", "NAME", "CLOUD", "GATEWAY", NULL };
	static const char *const paths[] = { "uid", "name", "cloud", "gateway", NULL };
	AUTO_JSON json_t *items = NULL;
	AUTO_JSON json_t *flat = json_array();
	json_t *a;
	size_t i;
	int r = ctl_get_items(c, "/v1/cloudaccounts/summary", &items);

	json_array_foreach(items, i, a)
		json_array_append_new(flat,
				      json_pack("{s:s,s:s,s:s,s:s}", "uid", json_str_or(a, "metadata.uid", ""), "name",
						json_str_or(a, "metadata.name", ""), "cloud",
						json_str_or(a, "kind", ""), "gateway",
						json_str_or(a, "metadata.annotations.overlordUid", "")));
	return r ? r : ctl_print_list(c, flat, columns, paths);
}

/* ---- change and end ---- */

/* What the account shall be: the file's, or as it is now. */
static int wanted_account(struct ctl *c, const char *path, json_t **doc)
{
	struct pcg_error err = { 0 };
	struct ctl_reply reply;
	int r;

	if (c->file)
		return ctl_read_file(c, doc);
	r = ctl_call(c, "GET", path, NULL, 0, &reply);
	/* As it came: reply.json is made for a terminal, a certificate in it has no lines any more. */
	if (!r && json_parse(secret_data(reply.raw), secret_len(reply.raw), "the account", doc, &err))
		r = ctl_fail(CTL_FAILED, "%s", err.text);
	json_object_del(*doc, "status");
	ctl_reply_free(&reply);
	return r;
}

/* A file need not repeat what the account is called, and it cannot make it one of another cloud. */
static int complete_account(struct ctl *c, const json_t *account, json_t *doc)
{
	const char *kind = json_str_or(account, "kind", ""), *given = ctl_cloud_of(c, doc);
	json_t *spec;
	int r;

	if (given && strcmp(given, kind) != 0)
		return ctl_fail(CTL_USAGE, "the account is one of %s, and %s says %s: make a new account for another cloud", kind,
				c->cloud ? "--cloud" : c->file, given);
	json_object_del(doc, "cloudType");
	json_object_del(doc, "kind");
	if (!json_str(doc, "metadata.name"))
		json_put_str(doc, "metadata.name", json_str(account, "metadata.name"));
	if (c->overlord)
		json_put_str(doc, "metadata.annotations.overlordUid", c->overlord);
	else if (!json_str(doc, "metadata.annotations.overlordUid"))
		json_put_str(doc, "metadata.annotations.overlordUid", json_str(account, "metadata.annotations.overlordUid"));
	if (!json_is_object(json_object_get(doc, "spec")))
		json_object_set_new(doc, "spec", json_object());
	spec = json_object_get(doc, "spec");
	r = ctl_read_ca(c, spec);
	/* Without one the plane keeps the one that it has. */
	return r || !c->password_file ? r : ctl_read_secret(c, secret_member(kind), spec);
}

static int validate_change(struct ctl *c, const json_t *account, const json_t *doc)
{
	AUTO_JSON json_t *detail = NULL;
	json_t *body;
	int r;

	if (c->no_validate)
		return CTL_DONE;
	body = json_pack("{s:O,s:s}", "account", json_object_get(doc, "spec"), "accountUid",
			 json_str_or(account, "metadata.uid", ""));
	r = validate_body(c, json_str_or(account, "kind", ""), json_str_or(doc, "metadata.annotations.overlordUid", ""), body,
			  &detail);
	json_decref(body);
	return r;
}

int ctl_account_update(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *account = NULL;
	json_t *doc = NULL;
	char list[64], path[160];
	int r;

	if (!c->file && !c->password_file && !c->ca_file && !c->overlord)
		return ctl_fail(CTL_USAGE, "say what shall change: the whole account with -f FILE, or its password with "
					   "--password-file FILE, its CA with --ca-file FILE");
	r = ctl_find_account(c, arg, &account);
	if (r)
		return r;
	snprintf(list, sizeof(list), "/v1/cloudaccounts/%.32s", json_str_or(account, "kind", ""));
	snprintf(path, sizeof(path), "%s/%.64s", list, json_str_or(account, "metadata.uid", ""));
	r = wanted_account(c, path, &doc);
	if (!r)
		r = complete_account(c, account, doc);
	if (!r)
		r = validate_change(c, account, doc);
	if (!r)
		r = ctl_change(c, "PUT", "account", "changed", list, account, doc);
	json_wipe(doc);
	return r;
}

int ctl_account_remove(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *account = NULL;
	char path[128];
	int r = ctl_find_account(c, arg, &account);

	if (r)
		return r;
	snprintf(path, sizeof(path), "/v1/cloudaccounts/%.32s", json_str_or(account, "kind", ""));
	return ctl_change(c, "DELETE", "account", "removed", path, account, NULL);
}
