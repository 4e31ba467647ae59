/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/ctl.h"

#include "core/clock.h"
#include "core/stdout.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define WATCH_MS 300

/* A cluster as this program shows it, from the API's item. */
static json_t *flat_cluster(const json_t *item)
{
	const json_t *status = json_object_get(item, "status");
	json_t *out = json_pack(
		"{s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:s,s:s,s:s,s:s}", "uid", json_str_or(item, "metadata.uid", ""), "name",
		json_str_or(item, "metadata.name", ""), "state", json_str_or(status, "state", ""), "phase",
		json_str_or(status, "phase", ""), "generation", (json_int_t)json_int_or(status, "generation", 0),
		"epoch", (json_int_t)json_int_or(status, "epoch", 0), "provider",
		json_str_or(item, "spec.cloudConfig.cloudType", ""), "account",
		json_str_or(item, "spec.cloudaccount.name", ""), "health",
		json_str_or(status, "health.state", "Unknown"), "kubernetesVersion",
		json_str_or(status, "kubeMeta.kubernetesVersion", ""), "created",
		json_str_or(item, "metadata.creationTimestamp", ""));

	json_object_set(out, "conditions", json_object_get(status, "conditions"));
	json_object_set(out, "machines", json_object_get(status, "machines"));
	if (json_object_get(status, "left"))
		json_object_set(out, "left", json_object_get(status, "left"));
	return out;
}

/* The first condition that is not as it should be says what is waited for. */
static void waiting_for(const json_t *conditions, char out[400])
{
	json_t *cond;
	size_t i;

	*out = 0;
	json_array_foreach((json_t *)conditions, i, cond) {
		const json_t *status = json_object_get(cond, "status");

		if (json_is_true(status) || (json_is_string(status) && strcmp(json_string_value(status), "True") == 0))
			continue;
		snprintf(out, 400, "%.80s: %.150s%s%.140s", json_str_or(cond, "type", ""),
			 json_str_or(cond, "message", ""),
			 json_str(cond, "remedy") && *json_str(cond, "remedy") ? "; " : "",
			 json_str_or(cond, "remedy", ""));
		return;
	}
}

static int all_clusters(struct ctl *c, json_t **items)
{
	AUTO_JSON json_t *body = json_object();
	struct ctl_reply reply;
	int r = ctl_call(c, "POST", "/v1/dashboard/spectroclusters/search", body, 0, &reply);

	*items = r ? NULL : json_incref(json_object_get(reply.json, "items"));
	ctl_reply_free(&reply);
	return r;
}

/* By uid, or by name: one that is there before one that is deleted, the newest of these. */
static int find_cluster(struct ctl *c, const char *arg, json_t **found)
{
	AUTO_JSON json_t *items = NULL;
	const json_t *best = NULL;
	json_t *item;
	size_t i;
	int r = all_clusters(c, &items);

	*found = NULL;
	json_array_foreach(items, i, item) {
		bool gone = strcmp(json_str_or(item, "status.state", ""), "Deleted") == 0;

		if (strcmp(json_str_or(item, "metadata.uid", ""), arg) != 0 &&
		    strcmp(json_str_or(item, "metadata.name", ""), arg) != 0)
			continue;
		if (!best || !gone || strcmp(json_str_or(best, "status.state", ""), "Deleted") == 0)
			best = item;
	}
	if (r)
		return r;
	if (!best)
		return ctl_fail(CTL_NOT_FOUND, "there is no cluster with the uid or name '%s'", arg);
	*found = flat_cluster(best);
	return CTL_DONE;
}

int ctl_cluster_list(struct ctl *c, const char *arg)
{
	static const char *const columns[] = { "UID",    "NAME",	"STATE",   "PHASE",
					       "HEALTH", "KUBERNETES", "ACCOUNT", NULL };
	static const char *const paths[] = { "uid",    "name",		    "state",   "phase",
					     "health", "kubernetesVersion", "account", NULL };
	AUTO_JSON json_t *items = NULL;
	AUTO_JSON json_t *flat = json_array();
	json_t *item;
	size_t i;
	int r = all_clusters(c, &items);

	json_array_foreach(items, i, item)
		if (strcmp(json_str_or(item, "status.state", ""), "Deleted") != 0)
			json_array_append_new(flat, flat_cluster(item));
	return r ? r : ctl_print_list(c, flat, columns, paths);
}

static void print_cluster(const json_t *cluster)
{
	static const char *const members[] = { "uid",	  "name",    "state",	   "phase",		"health",
					       "provider", "account", "kubernetesVersion", "created" };
	static const char *const columns[] = { "MACHINE", "POOL", "ROLE", "STATE", "PROVIDER ID", NULL };
	static const char *const paths[] = { "name", "pool", "role", "state", "providerID", NULL };
	json_t *cond;
	size_t i;

	for (i = 0; i < ARRAY_LEN(members); i++)
		printf("%-18s %s\n", members[i], json_str_or(cluster, members[i], ""));
	json_array_foreach(json_object_get(cluster, "conditions"), i, cond)
		printf("%-18s %s: %s%s%s\n", i ? "" : "conditions", json_str_or(cond, "type", ""),
		       json_str_or(cond, "message", ""), json_str(cond, "remedy") ? "; " : "",
		       json_str_or(cond, "remedy", ""));
	json_array_foreach(json_object_get(cluster, "left"), i, cond)
		printf("%-18s %s %s%s%s%s%s: %s\n", i ? "" : "left", json_str_or(cond, "id", ""),
		       json_str_or(cond, "name", ""), json_str(cond, "providerID") ? ", " : "",
		       json_str_or(cond, "providerID", ""), json_str(cond, "addresses.0.address") ? ", " : "",
		       json_str_or(cond, "addresses.0.address", ""), json_str_or(cond, "why", ""));
	if (json_array_size(json_object_get(cluster, "machines"))) {
		putchar('\n');
		ctl_table(json_object_get(cluster, "machines"), columns, paths);
	}
}

int ctl_cluster_get(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *cluster = NULL;
	int r = find_cluster(c, arg, &cluster);

	if (r)
		return r;
	if (c->json)
		ctl_print_json(cluster);
	else
		print_cluster(cluster);
	return CTL_DONE;
}

static int check_until(const struct ctl *c)
{
	static const char *const states[] = { "Pending", "Provisioning", "Running", "Deleting", "Deleted", "Error" };

	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (!c->until || strcmp(c->until, states[i]) == 0)
			return CTL_DONE;
	return ctl_fail(CTL_USAGE, "--until %s: no state; there are Pending, Provisioning, Running, Deleting, Deleted and Error",
			c->until);
}

static bool reached(struct ctl *c, const char *state)
{
	if (c->until)
		return strcmp(c->until, state) == 0;
	return strcmp(state, "Running") == 0 || strcmp(state, "Deleted") == 0 || strcmp(state, "Error") == 0;
}

static void show_progress(struct ctl *c, const json_t *cluster, int64_t started, char last[512])
{
	char line[512], wait[400];
	int64_t ms = clock_mono_ms() - started;

	waiting_for(json_object_get(cluster, "conditions"), wait);
	snprintf(line, sizeof(line), "%-13s %s", json_str_or(cluster, "phase", ""), wait);
	if (strcmp(line, last) == 0)
		return;
	strcpy(last, line);
	if (c->json)
		ctl_print_json(cluster);
	else
		printf("%7.1fs  %s\n", (double)ms / 1000, line);
}

static int refresh(struct ctl *c, json_t *cluster)
{
	struct ctl_reply reply;
	const json_t *status;
	char path[128];
	int r;

	snprintf(path, sizeof(path), "/v1/spectroclusters/%.64s/status", json_str_or(cluster, "uid", ""));
	r = ctl_call(c, "GET", path, NULL, 404, &reply);
	if (!r && reply.status == 404) {
		json_put_str(cluster, "state", "Deleted");
		json_put_str(cluster, "phase", "Deleted");
	} else if (!r) {
		status = json_object_get(reply.json, "status");
		json_put_str(cluster, "state", json_str(status, "state"));
		json_put_str(cluster, "phase", json_str(status, "phase"));
		json_put_str(cluster, "health", json_str(status, "health.state"));
		json_object_set(cluster, "generation", json_object_get(status, "generation"));
		json_object_set(cluster, "epoch", json_object_get(status, "epoch"));
		json_object_set(cluster, "conditions", json_object_get(status, "conditions"));
		json_object_set(cluster, "machines", json_object_get(status, "machines"));
		if (json_object_get(status, "left"))
			json_object_set(cluster, "left", json_object_get(status, "left"));
	}
	ctl_reply_free(&reply);
	return r;
}

int ctl_cluster_watch(struct ctl *c, const char *arg)
{
	const struct timespec pause = { 0, WATCH_MS * 1000000L };
	int64_t started = clock_mono_ms();
	AUTO_JSON json_t *cluster = NULL;
	char last[512] = "";
	int r = check_until(c);

	if (!r)
		r = find_cluster(c, arg, &cluster);
	while (!r) {
		const char *state;

		show_progress(c, cluster, started, last);
		if (!stdout_flush())
			return CTL_FAILED;
		state = json_str_or(cluster, "state", "");
		if (reached(c, state))
			return strcmp(state, "Error") == 0 ? CTL_FAILED : CTL_DONE;
		if (strcmp(state, "Deleted") == 0)
			return ctl_fail(CTL_FAILED, "cluster %s is Deleted, and will not be %s", arg, c->until);
		if (c->timeout_s && clock_mono_ms() - started > c->timeout_s * 1000)
			return ctl_fail(CTL_FAILED, "cluster %s is %s after %lld s", arg, state,
					(long long)c->timeout_s);
		nanosleep(&pause, NULL);
		r = refresh(c, cluster);
	}
	return r;
}

int ctl_cluster_kubeconfig(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *cluster = NULL;
	struct ctl_reply reply;
	char path[128];
	int r = find_cluster(c, arg, &cluster);

	if (r)
		return r;
	snprintf(path, sizeof(path), "/v1/spectroclusters/%.64s/assets/kubeconfig",
		 json_str_or(cluster, "uid", ""));
	r = ctl_call(c, "GET", path, NULL, 0, &reply);
	if (!r)
		fwrite(secret_data(reply.raw), 1, secret_len(reply.raw), stdout);
	ctl_reply_free(&reply);
	return r;
}

int ctl_cluster_delete(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *cluster = NULL;
	struct ctl_reply reply;
	char path[128];
	int r;

	if (c->abandon && !c->force)
		return ctl_fail(CTL_USAGE, "--abandon: say --force too; it is for a forced delete whose infrastructure "
					   "does not come back");
	r = find_cluster(c, arg, &cluster);
	if (r)
		return r;
	snprintf(path, sizeof(path), "/v1/spectroclusters/%.64s%s", json_str_or(cluster, "uid", ""),
		 c->abandon ? "?forceDelete=true&abandon=true" :
		 c->force   ? "?forceDelete=true" :
			      "");
	r = ctl_call(c, "DELETE", path, NULL, 0, &reply);
	ctl_reply_free(&reply);
	if (!r && c->json)
		ctl_print_json(cluster);
	else if (!r)
		printf("cluster %s is being deleted\n", json_str_or(cluster, "name", ""));
	return r;
}

int ctl_cluster_found(struct ctl *c, const char *arg)
{
	static const char *const columns[] = { "UID", "NAME", "CLOUD", "PHASE", "ACCOUNT", "GATEWAY", NULL };
	static const char *const paths[] = { "metadata.uid",		"metadata.name", "spec.cloudType",
					     "status.phase",		"spec.cloudAccountName",
					     "metadata.annotations.overlordUid", NULL };
	struct ctl_reply reply;
	int r = ctl_call(c, "GET", "/v1/pcg/clusters/found", NULL, 0, &reply);

	if (!r)
		r = ctl_print_list(c, json_object_get(reply.json, "items"), columns, paths);
	ctl_reply_free(&reply);
	return r;
}

int ctl_cluster_adopt(struct ctl *c, const char *arg)
{
	AUTO_JSON json_t *account = NULL, *body = json_object(), *adopted = json_pack("{s:s}", "uid", arg);
	struct ctl_reply reply;
	char path[128];
	int r = c->account ? ctl_find_account(c, c->account, &account) : CTL_DONE;

	if (!r && (!*arg || !ctl_plain(arg)))
		r = ctl_fail(CTL_NOT_FOUND, "found cluster '%s' does not exist: pcg-planectl cluster found lists them by uid", arg);
	if (r)
		return r;
	if (account)
		json_put_str(body, "cloudAccountUid", json_str(account, "metadata.uid"));
	snprintf(path, sizeof(path), "/v1/pcg/clusters/found/%.64s/adopt", arg);
	r = ctl_call(c, "POST", path, body, 0, &reply);
	if (!r && c->json)
		ctl_print_json(adopted);
	else if (!r)
		printf("cluster %s is adopted\n", arg);
	ctl_reply_free(&reply);
	return r;
}
