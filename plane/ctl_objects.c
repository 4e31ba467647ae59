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

bool ctl_plain(const char *s)
{
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == 0;
}

int ctl_pair(struct ctl *c, const char *arg)
{
	struct ctl_reply reply;
	char path[512];
	int64_t s;
	int n, r;

	if ((c->overlord && !ctl_plain(c->overlord)) || (c->name && !ctl_plain(c->name)) ||
	    (c->cloud && !ctl_plain(c->cloud)))
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
		s = json_int_or(reply.json, "expiresInSeconds", 0);
		puts(json_str_or(reply.json, "pairingCode", ""));
		fprintf(stderr,
			"Good for one gateway, for %lld %s. In its pcgd.conf, with a copy of %s/ca.crt:\n"
			"    plane = { url = \"%s\"; ca_file = \"THE-COPY\"; };\n"
			"then: pcgd --pair FILE, with the code in a file that only its user can read, or - for standard input\n",
			(long long)(s < 120 ? s : s / 60), s < 120 ? "seconds" : "minutes", c->state_dir, c->url);
	}
	ctl_reply_free(&reply);
	return r;
}

/* With one gateway there is nothing to choose. */
int ctl_choose_overlord(struct ctl *c, char uid[64])
{
	AUTO_JSON json_t *items = NULL;
	int r;

	if (c->overlord && !ctl_plain(c->overlord))
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

/* The cloud type stands in --cloud, or in the file as cloudType or kind; it is no part of the API's body. */
const char *ctl_cloud_of(const struct ctl *c, const json_t *doc)
{
	if (c->cloud)
		return c->cloud;
	if (json_str(doc, "cloudType"))
		return json_str(doc, "cloudType");
	if (json_str(doc, "kind"))
		return json_str(doc, "kind");
	return json_str(doc, "spec.cloudType");
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

int ctl_change(struct ctl *c, const char *method, const char *what, const char *done, const char *path,
	       const json_t *item, const json_t *body)
{
	struct ctl_reply reply;
	char one[384];
	int r;

	snprintf(one, sizeof(one), "%s/%.64s", path, json_str_or(item, "metadata.uid", ""));
	r = ctl_call(c, method, one, body, 0, &reply);
	if (!r && c->json)
		ctl_print_json(json_object_get(item, "metadata"));
	else if (!r)
		printf("%s %s %s\n", what, json_str_or(item, "metadata.name", ""), done);
	ctl_reply_free(&reply);
	return r;
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

int ctl_profile_remove(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *profile = NULL;
	int r = ctl_find_item(c, "/v1/dashboard/clusterprofiles/metadata", "profile", arg, &profile);

	return r ? r : ctl_change(c, "DELETE", "profile", "removed", "/v1/clusterprofiles", profile, NULL);
}

/* Profiles may share a name, with one version or several. */
static int name_profile(const json_t *items, json_t *given)
{
	const char *name = json_str_or(given, "uid", "-");
	json_t *p, *found = NULL;
	size_t i, named = 0;

	json_array_foreach((json_t *)items, i, p) {
		if (strcmp(json_str_or(p, "metadata.uid", ""), name) == 0)
			return CTL_DONE;
		if (strcmp(json_str_or(p, "metadata.name", ""), name) == 0) {
			found = p;
			named++;
		}
	}
	if (named > 1)
		return ctl_fail(CTL_FAILED, "%zu profiles have the name '%s': give the uid of one (pcg-planectl profile list)", named,
				name);
	if (found)
		json_object_set(given, "uid", json_at(found, "metadata.uid"));
	return CTL_DONE;
}

/* Names stand for uids where the API wants one. */
static int name_profiles(struct ctl *c, json_t *doc)
{
	AUTO_JSON json_t *items = NULL;
	json_t *given;
	size_t i;
	int r = ctl_get_items(c, "/v1/dashboard/clusterprofiles/metadata", &items);

	json_array_foreach(json_at(doc, "spec.profiles"), i, given)
		r = r ? r : name_profile(items, given);
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
	given = ctl_cloud_of(c, doc);
	if (!given)
		given = json_str_or(account, "kind", "");
	if (!ctl_plain(given))
		return ctl_fail(CTL_USAGE, "'%s' is no cloud type", given);
	snprintf(path, sizeof(path), "/v1/spectroclusters/%.32s", given);
	json_object_del(doc, "cloudType");
	json_object_del(doc, "kind");
	return ctl_post_new(c, path, "cluster", doc);
}
