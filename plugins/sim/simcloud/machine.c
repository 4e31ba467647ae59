/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/simcloud/machine.h"

#include "core/clock.h"
#include "core/log.h"
#include "net/ip.h"
#include "plugins/sim/simcloud/node.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static const char *const state_names[] = {
#define X(id, name) name,
	MACHINE_STATES(X)
#undef X
};

const char *machine_state_name(const struct machine *m)
{
	return state_names[m->state];
}

const char *machine_mark(const struct machine *m, const char *member)
{
	return json_str_or(json_object_get(m->spec, "mark"), member, "");
}

static void machine_save(struct machine *m)
{
	AUTO_JSON json_t *j = json_pack(
		"{s:s, s:s, s:s, s:s, s:O, s:s, s:b, s:i, s:s, s:I, s:I, s:s, s:s?, s:b, s:b}", "name", m->name,
		"pool", m->pool, "role", m->role, "cluster", m->cluster, "spec", m->spec, "userData",
		m->user_data, "redacted", m->redacted, "state", m->state, "task", m->task, "taskId",
		(json_int_t)m->task_id, "due", (json_int_t)m->due_ms, "address", m->address, "console",
		m->console, "fails", m->fails, "static", m->is_static);

	assert(j);
	persist_doc(m->cloud->persist, "machine", m->uid, j);
}

static void machine_timer_closed(uv_handle_t *h)
{
	struct machine *m = h->data;

	m->timer_live = false;
	if (m->removed)
		machine_free(m);
}

static void machine_remove(struct machine *m)
{
	struct cloud *c = m->cloud;

	node_machine_gone(m);
	persist_doc(c->persist, "machine", m->uid, NULL);
	map_remove(&c->machines, m->uid);
	c->stats.machines_deleted++;
	cloud_changed(c, m->uid);
	m->removed = true;
	uv_close((uv_handle_t *)&m->timer, machine_timer_closed);
}

static void machine_fail_task(struct machine *m)
{
	m->fails = false;
	if (strcmp(m->task, "create") == 0 || strcmp(m->task, "on") == 0) {
		m->state = MACHINE_FAILED;
		machine_console(m, "the task failed, as the setting \"failures\" asked for");
	} else if (m->state == MACHINE_DELETING) {
		m->state = MACHINE_OFF;
	}
	m->task[0] = '\0';
	machine_save(m);
	cloud_changed(m->cloud, m->uid);
}

static void machine_task_done(uv_timer_t *t)
{
	struct machine *m = t->data;

	if (m->fails) {
		machine_fail_task(m);
		return;
	}
	if (strcmp(m->task, "delete") == 0) {
		machine_remove(m);
		return;
	}
	m->state = strcmp(m->task, "off") == 0 ? MACHINE_OFF : MACHINE_ON;
	m->task[0] = '\0';
	machine_save(m);
	cloud_changed(m->cloud, m->uid);
	if (m->state == MACHINE_ON)
		node_machine_on(m);
	else
		node_machine_off(m);
}

static void machine_arm(struct machine *m)
{
	int64_t left = m->due_ms - clock_wall_ms();

	uv_update_time(m->cloud->loop);
	uv_timer_start(&m->timer, machine_task_done, left > 0 ? (uint64_t)left : 0, 0);
}

static void machine_task(struct machine *m, const char *task)
{
	char class[32], op[32];
	int status;

	snprintf(m->task, sizeof(m->task), "%s", task);
	snprintf(op, sizeof(op), "task_%s", task);
	m->task_id = ++m->cloud->stats.tasks;
	m->due_ms = clock_wall_ms() + m->cloud->settings.task_ms;
	m->fails = cloud_take_failure(m->cloud, op, &status, class) == 1;
	machine_arm(m);
	machine_save(m);
	cloud_changed(m->cloud, m->uid);
}

static struct machine *machine_new(struct cloud *c, const char *uid, const json_t *body)
{
	struct machine *m = calloc(1, sizeof(*m));

	assert(m);
	m->cloud = c;
	m->uid = strdup(uid);
	m->name = strdup(json_str_or(body, "name", ""));
	m->pool = strdup(json_str_or(body, "pool", ""));
	m->role = strdup(json_str_or(body, "role", "worker"));
	m->cluster = strdup(json_str_or(body, "cluster", ""));
	m->user_data = strdup(json_str_or(body, "userData", ""));
	uv_timer_init(c->loop, &m->timer);
	m->timer.data = m;
	m->timer_live = true;
	map_put(&c->machines, uid, m);
	return m;
}

struct machine_name_search {
	const struct machine *found;
	const char *cluster, *name;
};

static void machine_same_name(void *arg, const char *uid, void *value)
{
	struct machine_name_search *s = arg;
	const struct machine *m = value;

	if (strcmp(m->name, s->name) == 0 && strcmp(m->cluster, s->cluster) == 0)
		s->found = m;
}

static void machine_same_address(void *arg, const char *uid, void *value)
{
	struct machine_name_search *s = arg;
	const struct machine *m = value;

	if (strcmp(m->address, s->name) == 0)
		s->found = m;
}

/* A real network would answer for it twice. */
static const struct machine *machine_with_address(struct cloud *c, const char *address)
{
	struct machine_name_search s = { .name = address };

	map_each(&c->machines, machine_same_address, &s);
	return s.found;
}

static void machine_lease(struct cloud *c, struct machine *m)
{
	char text[sizeof(m->address)];

	do {
		c->next_address++;
		snprintf(text, sizeof(text), "10.%u.%u.%u", 64 + (c->next_address >> 16) % 64, (c->next_address >> 8) & 255,
			 c->next_address & 255);
	} while (machine_with_address(c, text));
	snprintf(m->address, sizeof(m->address), "%s", text);
}

static int machine_check_address(struct cloud *c, const json_t *body, struct pcg_error *err)
{
	const char *address = json_str(body, "address");
	const struct machine *other;
	struct ip ip;

	if (!address)
		return 0;
	if (!ip_parse(address, &ip))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "Give an IPv4 or IPv6 address, or none.",
				"\"address\" of machine %s is not an address: %.64s", json_str_or(body, "name", ""),
				address);
	other = machine_with_address(c, address);
	if (!other)
		return 0;
	return pcg_fail(err, PCG_CLASS_CONFLICT, "Give each machine an address of its own.",
			"address %s is that of machine %s of cluster %s", address, other->name, other->cluster);
}

static int machine_check(struct cloud *c, const json_t *body, struct pcg_error *err)
{
	struct machine_name_search s = { .cluster = json_str_or(body, "cluster", ""),
					 .name = json_str_or(body, "name", "") };

	if (!s.name[0] || !s.cluster[0])
		return pcg_fail(err, PCG_CLASS_PERMANENT, "Give both.",
				"a machine needs \"name\" and \"cluster\"");
	if (!json_is_object(json_object_get(body, "mark")))
		return pcg_fail(err, PCG_CLASS_PERMANENT, "Give {\"cluster\",\"pool\",\"machine\"}.",
				"machine %s has no \"mark\"", s.name);
	map_each(&c->machines, machine_same_name, &s);
	if (s.found)
		return pcg_fail(err, PCG_CLASS_CONFLICT, "Choose another name, or the same uid.",
				"cluster %s has a machine %s already, its uid is %s", s.cluster, s.name,
				s.found->uid);
	if (c->machines.n >= (size_t)c->settings.capacity)
		return pcg_fail(err, PCG_CLASS_QUOTA, "Delete machines, or raise \"capacity\".",
				"the capacity of %" PRId64 " machines is used up", c->settings.capacity);
	return machine_check_address(c, body, err);
}

int machine_ensure(struct cloud *c, const char *uid, const json_t *body, struct machine **out,
		   bool *made, struct pcg_error *err)
{
	struct machine *m = map_get(&c->machines, uid);
	int r;

	*made = false;
	*out = m;
	if (m && m->state == MACHINE_FAILED) {
		m->state = MACHINE_CREATING;
		machine_task(m, "create");
	}
	if (m)
		return 0;
	r = machine_check(c, body, err);
	if (r)
		return r;
	m = machine_new(c, uid, body);
	m->spec = json_pack("{s:O, s:I, s:I}", "mark", json_object_get(body, "mark"), "cpus",
			    (json_int_t)json_int_or(body, "cpus", 2), "memoryMiB",
			    (json_int_t)json_int_or(body, "memoryMiB", 4096));
	m->is_static = json_str(body, "address") != NULL;
	if (m->is_static)
		snprintf(m->address, sizeof(m->address), "%s", json_str(body, "address"));
	else
		machine_lease(c, m);
	c->stats.machines_made++;
	m->state = MACHINE_CREATING;
	machine_task(m, "create");
	*made = true;
	*out = m;
	return 0;
}

void machine_power(struct machine *m, bool on)
{
	if (m->state == MACHINE_DELETING || (on ? m->state == MACHINE_ON : m->state == MACHINE_OFF))
		return;
	if (strcmp(m->task, on ? "on" : "off") != 0)
		machine_task(m, on ? "on" : "off");
}

void machine_redact(struct machine *m)
{
	static const char redacted[] = "## template: jinja\n#cloud-config\n\nwrite_files: []\n";

	if (m->redacted)
		return;
	secret_wipe(m->user_data, strlen(m->user_data));
	free(m->user_data);
	m->user_data = strdup(redacted);
	m->redacted = true;
	machine_save(m);
}

void machine_delete(struct machine *m)
{
	if (m->state == MACHINE_DELETING)
		return;
	m->state = MACHINE_DELETING;
	machine_task(m, "delete");
}

void machine_console(struct machine *m, const char *text)
{
	free(m->console);
	m->console = text ? strdup(text) : NULL;
	machine_save(m);
}

json_t *machine_json(const struct machine *m)
{
	AUTO_FREE char *provider_id = NULL;
	int64_t left = m->due_ms - clock_wall_ms();
	json_t *j;

	if (asprintf(&provider_id, "sim://%s", m->uid) < 0)
		abort();
	j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:b, s:[{s:s, s:s}, {s:s, s:s}]}", "uid",
		      m->uid, "name", m->name, "pool", m->pool, "role", m->role, "cluster", m->cluster,
		      "state", machine_state_name(m), "providerID", provider_id, "mark",
		      json_object_get(m->spec, "mark"), "redacted", m->redacted, "addresses", "type",
		      "InternalIP", "address", m->address, "type", "Hostname", "address", m->name);
	if (m->task[0])
		json_object_set_new(j, "task", json_pack("{s:I, s:s, s:I}", "id", (json_int_t)m->task_id,
							 "kind", m->task, "leftMs",
							 (json_int_t)(left > 0 ? left : 0)));
	if (m->console)
		json_object_set_new(j, "console", json_string(m->console));
	return j;
}

void machine_load(struct cloud *c, const char *uid, const json_t *body)
{
	struct machine *m = machine_new(c, uid, body);
	unsigned a, b, d;

	m->spec = json_incref(json_object_get(body, "spec"));
	m->redacted = json_bool_or(body, "redacted", false);
	m->state = (enum machine_state)json_int_or(body, "state", MACHINE_OFF);
	snprintf(m->task, sizeof(m->task), "%s", json_str_or(body, "task", ""));
	m->task_id = (uint64_t)json_int_or(body, "taskId", 0);
	m->due_ms = json_int_or(body, "due", 0);
	snprintf(m->address, sizeof(m->address), "%s", json_str_or(body, "address", ""));
	if (json_str(body, "console"))
		m->console = strdup(json_str(body, "console"));
	m->fails = json_bool_or(body, "fails", false);
	m->is_static = json_bool_or(body, "static", false);
	if (!m->is_static && sscanf(m->address, "10.%u.%u.%u", &a, &b, &d) == 3) {
		uint32_t n = ((a - 64) << 16) | (b << 8) | d;

		if (n > c->next_address)
			c->next_address = n;
	}
	if (m->task_id > c->stats.tasks)
		c->stats.tasks = m->task_id;
}

void machine_resume(struct machine *m)
{
	if (m->task[0])
		machine_arm(m);
	if (m->state == MACHINE_ON)
		node_machine_on(m);
}

void machine_close(struct machine *m)
{
	if (!uv_is_closing((uv_handle_t *)&m->timer))
		uv_close((uv_handle_t *)&m->timer, machine_timer_closed);
}

void machine_free(struct machine *m)
{
	secret_wipe(m->user_data, strlen(m->user_data));
	free(m->uid);
	free(m->name);
	free(m->pool);
	free(m->role);
	free(m->cluster);
	free(m->user_data);
	free(m->console);
	json_decref(m->spec);
	free(m);
}
