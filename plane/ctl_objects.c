/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/ctl.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

int ctl_get_items(struct ctl *c, const char *path, json_t **items)
{
	struct ctl_reply reply;
	int r = ctl_call(c, "GET", path, NULL, 0, &reply);

	*items = r ? NULL : json_incref(json_object_get(reply.json, "items"));
	ctl_reply_free(&reply);
	return r;
}

static json_t *flat_gateway(const json_t *g)
{
	return json_pack("{s:s,s:s,s:s,s:b,s:s,s:s,s:o}", "uid", json_str_or(g, "metadata.uid", ""), "name",
			 json_str_or(g, "metadata.name", ""), "state", json_str_or(g, "status.state", ""),
			 "isActive", json_bool_or(g, "status.isActive", false), "lastContact",
			 json_str_or(g, "status.health.lastHeartBeatTimestamp", ""), "version",
			 json_str_or(g, "status.gateway.version", ""), "insecureAccounts",
			 json_is_array(json_at(g, "status.gateway.insecureAccounts")) ?
				 json_incref(json_at(g, "status.gateway.insecureAccounts")) :
				 json_array());
}

int ctl_gateway_list(struct ctl *c, const char *arg)
{
	static const char *const columns[] = { "UID", "NAME", "STATE", "LAST CONTACT", "VERSION", NULL };
	static const char *const paths[] = { "uid", "name", "state", "lastContact", "version", NULL };
	AUTO_JSON json_t *items = NULL;
	AUTO_JSON json_t *flat = json_array();
	json_t *g;
	size_t i;
	int r = ctl_get_items(c, "/v1/overlords", &items);

	json_array_foreach(items, i, g)
		json_array_append_new(flat, flat_gateway(g));
	return r ? r : ctl_print_list(c, flat, columns, paths);
}

static bool plain(const char *s)
{
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == 0;
}

int ctl_pair(struct ctl *c, const char *arg)
{
	struct ctl_reply reply;
	char path[512];
	int n, r;

	if ((c->overlord && !plain(c->overlord)) || (c->name && !plain(c->name)) ||
	    (c->cloud && !plain(c->cloud)))
		return ctl_fail(CTL_USAGE, "--overlord, --name and --cloud take letters, digits, '.', '_' and '-'");
	n = snprintf(path, sizeof(path), "/v1/overlords/pairing/code?cloudType=%.32s", c->cloud ? c->cloud : "");
	if (c->overlord)
		n += snprintf(path + n, sizeof(path) - (size_t)n, "&overlordUid=%.64s", c->overlord);
	if (c->name)
		snprintf(path + n, sizeof(path) - (size_t)n, "&name=%.128s", c->name);
	r = ctl_call(c, "GET", path, NULL, 0, &reply);
	if (!r && c->json) {
		json_put_str(reply.json, "planeUrl", c->url);
		ctl_print_json(reply.json);
	} else if (!r) {
		puts(json_str_or(reply.json, "pairingCode", ""));
		fprintf(stderr,
			"Good for one gateway, for %lld minutes. Put it into a file that only the gateway's user can read;\n"
			"in pcgd.conf: plane.url = \"%s\", plane.ca_file = a copy of %s/ca.crt,\n"
			"plane.pairing_code_file = that file.\n",
			(long long)json_int_or(reply.json, "expiresInSeconds", 0) / 60, c->url, c->state_dir);
	}
	ctl_reply_free(&reply);
	return r;
}

static const char *secret_member(const char *cloud)
{
	if (strcmp(cloud, "maas") == 0)
		return "apiKey";
	return strcmp(cloud, "sim") == 0 ? "token" : "password";
}

/* With one gateway there is nothing to choose. */
int ctl_choose_overlord(struct ctl *c, char uid[64])
{
	AUTO_JSON json_t *items = NULL;
	int r;

	if (c->overlord && !plain(c->overlord))
		return ctl_fail(CTL_USAGE, "'%s' is no gateway's uid", c->overlord);
	if (c->overlord) {
		snprintf(uid, 64, "%s", c->overlord);
		return CTL_DONE;
	}
	r = ctl_get_items(c, "/v1/overlords", &items);
	if (r)
		return r;
	if (json_array_size(items) != 1)
		return ctl_fail(CTL_FAILED,
				"there are %zu gateways: say which one with --overlord UID (pcg-planectl gateway list)",
				json_array_size(items));
	snprintf(uid, 64, "%s", json_str_or(json_array_get(items, 0), "metadata.uid", ""));
	return CTL_DONE;
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

/* The cloud type stands in --cloud, or in the file as cloudType or kind; it is no part of the API's body. */
static const char *cloud_of(struct ctl *c, const json_t *doc)
{
	if (c->cloud)
		return c->cloud;
	if (json_str(doc, "cloudType"))
		return json_str(doc, "cloudType");
	if (json_str(doc, "kind"))
		return json_str(doc, "kind");
	return json_str(doc, "spec.cloudType");
}

static int read_account(struct ctl *c, json_t **doc, char cloud[32])
{
	const char *given;
	int r = ctl_read_file(c, doc);

	if (r)
		return r;
	given = cloud_of(c, *doc);
	if (!given || !plain(given))
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

	if (!plain(cloud) || !plain(overlord))
		return ctl_fail(CTL_USAGE, "'%s' is no gateway's uid", overlord);
	snprintf(path, sizeof(path), "/v1/overlords/%s/%s/account/validate?detail=true", cloud, overlord);
	r = ctl_call(c, "POST", path, body, 0, &reply);
	*detail = json_incref(reply.json);
	if (!c->json)
		say_warnings(json_object_get(r ? json_object_get(*detail, "details") : *detail, "warnings"));
	ctl_reply_free(&reply);
	return r;
}

static int print_created(struct ctl *c, const char *what, const char *name, const json_t *reply)
{
	if (c->json)
		ctl_print_json(reply);
	else
		printf("%s %s created, uid %s\n", what, name, json_str_or(reply, "uid", ""));
	return CTL_DONE;
}

int ctl_post_new(struct ctl *c, const char *path, const char *what, const json_t *body)
{
	struct ctl_reply reply;
	int r = ctl_call(c, "POST", path, body, 0, &reply);

	if (!r)
		r = print_created(c, what, json_str_or(body, "metadata.name", ""), reply.json);
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

/* By uid or name. *found: the summary's item, a new reference. */
int ctl_find_account(struct ctl *c, const char *arg, json_t **found)
{
	AUTO_JSON json_t *items = NULL;
	json_t *a;
	size_t i;
	int r = ctl_get_items(c, "/v1/cloudaccounts/summary", &items);

	*found = NULL;
	json_array_foreach(items, i, a)
		if (strcmp(json_str_or(a, "metadata.uid", ""), arg) == 0 ||
		    strcmp(json_str_or(a, "metadata.name", ""), arg) == 0)
			*found = a;
	json_incref(*found);
	if (!r && !*found)
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

int ctl_account_validate(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *detail = NULL;
	json_t *doc = NULL, *body;
	char cloud[32];
	int r;

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

int ctl_profile_add(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *doc = NULL;
	struct ctl_reply reply, published;
	char path[128];
	int r = ctl_read_file(c, &doc);

	if (r)
		return r;
	r = ctl_call(c, "POST", "/v1/clusterprofiles", doc, 0, &reply);
	if (!r) {
		snprintf(path, sizeof(path), "/v1/clusterprofiles/%.64s/publish", json_str_or(reply.json, "uid", ""));
		r = ctl_call(c, "PATCH", path, NULL, 0, &published);
		ctl_reply_free(&published);
	}
	if (!r)
		r = print_created(c, "profile", json_str_or(doc, "metadata.name", ""), reply.json);
	ctl_reply_free(&reply);
	return r;
}

int ctl_profile_list(struct ctl *c, const char *arg)
{
	static const char *const columns[] = { "UID", "NAME", "VERSION", "CLOUD", NULL };
	static const char *const paths[] = { "uid", "name", "version", "cloud", NULL };
	AUTO_JSON json_t *items = NULL;
	AUTO_JSON json_t *flat = json_array();
	json_t *p;
	size_t i;
	int r = ctl_get_items(c, "/v1/dashboard/clusterprofiles/metadata", &items);

	json_array_foreach(items, i, p)
		json_array_append_new(flat,
				      json_pack("{s:s,s:s,s:s,s:s}", "uid", json_str_or(p, "metadata.uid", ""), "name",
						json_str_or(p, "metadata.name", ""), "version",
						json_str_or(p, "spec.version", ""), "cloud",
						json_str_or(p, "spec.cloudType", "")));
	return r ? r : ctl_print_list(c, flat, columns, paths);
}

/* Names stand for uids where the API wants one. */
static int name_profiles(struct ctl *c, json_t *doc)
{
	AUTO_JSON json_t *items = NULL;
	json_t *given, *p;
	size_t i, k;
	int r = ctl_get_items(c, "/v1/dashboard/clusterprofiles/metadata", &items);

	json_array_foreach(json_at(doc, "spec.profiles"), i, given)
		json_array_foreach(items, k, p)
			if (strcmp(json_str_or(p, "metadata.name", ""), json_str_or(given, "uid", "-")) == 0)
				json_object_set(given, "uid", json_at(p, "metadata.uid"));
	return r;
}

int ctl_cluster_create(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_JSON json_t *account = NULL;
	const char *given;
	char path[128];
	int r = ctl_read_file(c, &doc);

	if (!r)
		r = ctl_find_account(c, json_str_or(doc, "spec.cloudAccountUid", ""), &account);
	if (!r)
		r = name_profiles(c, doc);
	if (!r)
		r = ctl_name_pools(c, json_str_or(account, "metadata.annotations.overlordUid", ""), doc);
	if (r)
		return r;
	json_put_str(doc, "spec.cloudAccountUid", json_str(account, "metadata.uid"));
	given = cloud_of(c, doc);
	if (!given)
		given = json_str_or(account, "kind", "");
	if (!plain(given))
		return ctl_fail(CTL_USAGE, "'%s' is no cloud type", given);
	snprintf(path, sizeof(path), "/v1/spectroclusters/%.32s", given);
	json_object_del(doc, "cloudType");
	json_object_del(doc, "kind");
	return ctl_post_new(c, path, "cluster", doc);
}
