/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/node.h"

#include "core/base64.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/yaml.h"
#include "plugins/sim/simcloud/kubeadm_config.h"
#include "plugins/sim/simcloud/kwatch.h"
#include "plugins/sim/simcloud/node_serve.h"
#include "plugins/sim/simcloud/user_data.h"

#include <assert.h>
#include <string.h>

struct node_search {
	const char *cluster;
	struct kapi *found;
	const struct machine *other;
	const struct machine *except;
};

static void node_match_api(void *arg, const char *id, void *value)
{
	struct node_search *s = arg;
	struct kapi *k = value;
	const struct machine *m = k->machine_uid ? map_get(&k->cloud->machines, k->machine_uid) : NULL;
	const char *cluster = m ? m->cluster : json_str_or(k->config, "simCluster", "");

	if (*cluster && strcmp(cluster, s->cluster) == 0)
		s->found = k;
}

struct kapi *node_api_of(struct cloud *c, const char *cluster_uid)
{
	struct node_search s = { .cluster = cluster_uid };

	map_each(&c->apis, node_match_api, &s);
	return s.found;
}

/* A control-plane machine that joined serves the same API as long as it is on. */
static void node_match_member(void *arg, const char *uid, void *value)
{
	struct node_search *s = arg;
	const struct machine *m = value;

	if (m != s->except && strcmp(m->cluster, s->cluster) == 0 && strcmp(m->role, "control-plane") == 0 &&
	    (m->state == MACHINE_ON || m->task[0]) && strstr(m->user_data, "kubeadm join"))
		s->other = m;
}

static bool node_has_other_member(struct cloud *c, const struct machine *m)
{
	struct node_search s = { .cluster = m->cluster, .except = m };

	map_each(&c->machines, node_match_member, &s);
	return s.other != NULL;
}

static struct kapi *node_new(struct cloud *c, const char *id, json_t *config)
{
	struct kapi *k = calloc(1, sizeof(*k));

	assert(k);
	k->cloud = c;
	k->id = strdup(id);
	k->config = json_incref(config);
	k->host_name = strdup(json_str_or(config, "hostName", ""));
	k->address = strdup(json_str_or(config, "address", ""));
	if (json_str(config, "machine"))
		k->machine_uid = strdup(json_str(config, "machine"));
	k->due = json_object();
	kres_add_builtins(k);
	map_put(&c->apis, id, k);
	return k;
}

void node_free(struct kapi *k)
{
	for (size_t i = 0; i < KAPI_EVENTS; i++) {
		json_decref(k->events[i].object);
		json_decref(k->events[i].before);
	}
	kres_free_all(k);
	json_decref(k->due);
	json_decref(k->config);
	free(k->id);
	free(k->host_name);
	free(k->address);
	free(k->machine_uid);
	free(k);
}

static void node_maybe_free(struct kapi *k)
{
	if (k->gone && !k->open_handles)
		node_free(k);
}

static void node_server_closed(void *arg)
{
	struct kapi *k = arg;

	k->open_handles--;
	node_maybe_free(k);
}

static void node_timer_closed(uv_handle_t *h)
{
	node_server_closed(h->data);
}

void node_stop(struct kapi *k)
{
	kwatch_close_all(k);
	for (size_t i = 0; i < k->n_servers; i++)
		http_server_close(k->servers[i], node_server_closed, k);
	k->n_servers = 0;
}

void node_close(struct kapi *k)
{
	node_stop(k);
	if (k->control_armed)
		uv_close((uv_handle_t *)&k->control, node_timer_closed);
	if (k->boot_armed)
		uv_close((uv_handle_t *)&k->boot, node_timer_closed);
	k->control_armed = k->boot_armed = false;
}

void node_api_remove(struct kapi *k)
{
	persist_drop_api(k->cloud->persist, k->id);
	persist_doc(k->cloud->persist, "api", k->id, NULL);
	map_remove(&k->cloud->apis, k->id);
	k->gone = true;
	k->open_handles++;
	node_close(k);
	k->open_handles--;
	node_maybe_free(k);
}

static void node_serve_now(struct kapi *k)
{
	struct machine *m = k->machine_uid ? map_get(&k->cloud->machines, k->machine_uid) : NULL;
	struct pcg_error err = { 0 };

	if (k->n_servers)
		return;
	if (node_serve_start(k, &err)) {
		log_err("simcloud_api_failed", &err, LS("api", k->id));
		if (m)
			machine_console(m, err.text);
		return;
	}
	if (!k->control_armed)
		kcontrol_start(k);
	log_info("simcloud_api_up", LS("api", k->id), LS("host", k->host_name));
}

static void node_booted(uv_timer_t *t)
{
	node_serve_now(t->data);
}

static void node_boot(struct kapi *k)
{
	if (!k->cloud->settings.boot_ms) {
		node_serve_now(k);
		return;
	}
	if (!k->boot_armed) {
		uv_timer_init(k->cloud->loop, &k->boot);
		k->boot.data = k;
		k->boot_armed = true;
		k->open_handles++;
	}
	uv_timer_start(&k->boot, node_booted, (uint64_t)k->cloud->settings.boot_ms, 0);
}

/* Reads user data as the node would; makes the API with what kubeadm init leaves. config: members that the caller knows. */
static int node_init(struct cloud *c, const char *id, const char *user_data, const json_t *metadata,
		     const json_t *known, struct kapi **out, struct pcg_error *err)
{
	AUTO_JSON json_t *cloud_config = NULL, *config = NULL;
	const char *host = json_string_value(json_object_get(metadata, "local-hostname"));
	struct kapi *k;
	int r;

	if (!host || !*host)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "Give local-hostname and instance-id.",
				"cloud-init: the metadata has no local-hostname");
	r = user_data_read(user_data, metadata, &cloud_config, err);
	r = r ?: kubeadm_config_read(cloud_config, host, &config, err);
	if (r)
		return r;
	json_object_update(config, (json_t *)known);
	json_put_str(config, "hostName", host);
	k = node_new(c, id, config);
	node_serve_objects(k);
	persist_doc(c->persist, "api", id, config);
	*out = k;
	return 0;
}

static void node_init_machine(struct machine *m)
{
	struct cluster *cl = map_get(&m->cloud->clusters, m->cluster);
	AUTO_JSON json_t *metadata = NULL, *known = NULL;
	struct pcg_error err = { 0 };
	struct kapi *k = NULL;

	if (!cl) {
		machine_console(m, "the machine's cluster has no endpoint: PUT /v1/clusters/UID comes first");
		return;
	}
	metadata = json_pack("{s:s, s:s}", "instance-id", m->uid, "local-hostname", m->name);
	known = json_pack("{s:s, s:s, s:i, s:s}", "machine", m->uid, "address", m->address, "simPort", (int)cl->port,
			  "simCluster", m->cluster);
	if (node_init(m->cloud, m->uid, m->user_data, metadata, known, &k, &err)) {
		machine_console(m, err.text);
		log_err("simcloud_node_failed", &err, LS("machine", m->name));
		return;
	}
	machine_console(m, "Your Kubernetes control-plane has initialized successfully!");
	node_boot(k);
}

void node_machine_on(struct machine *m)
{
	struct kapi *own = map_get(&m->cloud->apis, m->uid), *k = own ?: node_api_of(m->cloud, m->cluster);

	if (own) {
		node_boot(own);
		return;
	}
	if (strcmp(m->role, "control-plane") == 0 && !m->redacted && !strstr(m->user_data, "kubeadm join")) {
		node_init_machine(m);
		return;
	}
	if (!k)
		return;
	if (strcmp(m->role, "control-plane") == 0)
		node_boot(k);
	if (k->control_armed)
		kcontrol_poke(k);
}

void node_machine_off(struct machine *m)
{
	struct kapi *own = map_get(&m->cloud->apis, m->uid), *k = own ?: node_api_of(m->cloud, m->cluster);

	if (k && strcmp(m->role, "control-plane") == 0 && !node_has_other_member(m->cloud, m))
		node_stop(k);
}

void node_machine_gone(struct machine *m)
{
	struct kapi *own = map_get(&m->cloud->apis, m->uid), *k = own ?: node_api_of(m->cloud, m->cluster);

	if (!k)
		return;
	if (k->control_armed)
		kcontrol_poke(k);
	if (strcmp(m->role, "control-plane") != 0)
		return;
	if (node_has_other_member(m->cloud, m))
		return;
	if (own || !map_get(&m->cloud->machines, k->machine_uid ?: ""))
		node_api_remove(k);
}

void node_load(struct cloud *c, const char *id, json_t *body)
{
	struct kapi *k = node_new(c, id, body);

	kstore_load(k);
	if (!k->machine_uid && !json_bool_or(k->config, "off", false))
		node_boot(k);
}

static void node_set_off(struct kapi *k, bool off)
{
	json_t *config = json_copy(k->config);

	json_object_set_new(config, "off", json_boolean(off));
	json_object_set_new(config, "address", json_string(k->address));
	persist_doc(k->cloud->persist, "api", k->id, config);
	json_decref(k->config);
	k->config = config;
}

void node_api_off(struct kapi *k)
{
	node_set_off(k, true);
	node_stop(k);
}

static char *node_text(const json_t *body, const char *member)
{
	const char *b64 = json_str_or(body, member, "");
	size_t len;
	uint8_t *raw = base64_decode(b64, strlen(b64), &len);
	char *text = raw ? strndup((char *)raw, len) : NULL;

	free(raw);
	return text;
}

int node_api_add(struct cloud *c, const json_t *body, struct kapi **out, struct pcg_error *err)
{
	const char *id = json_str(body, "id"), *address = json_str(body, "address");
	AUTO_FREE char *user_data = node_text(body, "userData"), *meta_text = node_text(body, "metadata");
	AUTO_JSON json_t *metadata = NULL, *known = NULL;
	int r;

	if (!id || !*id || !address || !user_data || !meta_text)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "Give \"id\", \"address\", \"userData\" and \"metadata\" (base64).",
				"a Kubernetes API needs an id, an address, user data and metadata");
	*out = map_get(&c->apis, id);
	if (*out) {
		free((*out)->address);
		(*out)->address = strdup(address);
		node_set_off(*out, false);
		node_boot(*out);
		return 0;
	}
	r = yaml_load_one(meta_text, strlen(meta_text), "metadata", &metadata, err);
	if (r)
		return r;
	known = json_pack("{s:s}", "address", address);
	if (json_str(body, "providerID"))
		json_put_str(known, "providerID", json_str(body, "providerID"));
	r = node_init(c, id, user_data, metadata, known, out, err);
	if (!r)
		node_boot(*out);
	return r;
}
