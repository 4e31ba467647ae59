/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "host/lifecycle/phase.h"

#include <string.h>

static const struct {
	const char *name, *doc;
	uint32_t edges;
} phases[] = {
#define X(id, name, doc, edges) { name, doc, edges },
	LC_PHASES(X)
#undef X
};

enum when { DURABLE, AT_ONCE };

static const struct {
	const char *name, *waits;
	enum lc_phase phase;
	enum when when;
	enum lc_task next;
} tasks[] = {
#define X(id, name, phase, when, waits, next) { name, waits, LC_##phase, when, LC_TASK_##next },
	LC_TASKS(X)
#undef X
};

const char *lc_phase_name(enum lc_phase p)
{
	return phases[p].name;
}

const char *lc_phase_doc(enum lc_phase p)
{
	return phases[p].doc;
}

bool lc_phase_parse(const char *name, enum lc_phase *p)
{
	for (unsigned i = 0; name && i < LC_PHASE_COUNT; i++) {
		if (strcmp(phases[i].name, name))
			continue;
		*p = (enum lc_phase)i;
		return true;
	}
	return false;
}

bool lc_edge_allowed(enum lc_phase from, enum lc_phase to)
{
	return phases[from].edges & (1u << to);
}

const char *lc_task_name(enum lc_task t)
{
	return tasks[t].name;
}

const char *lc_task_waits(enum lc_task t)
{
	return tasks[t].waits;
}

enum lc_phase lc_task_phase(enum lc_task t)
{
	return tasks[t].phase;
}

enum lc_task lc_task_next(enum lc_task t)
{
	return tasks[t].next;
}

bool lc_task_at_once(enum lc_task t)
{
	return tasks[t].when == AT_ONCE;
}

bool lc_task_parse(const char *name, enum lc_task *t)
{
	for (unsigned i = 0; name && i < LC_TASK_COUNT; i++) {
		if (strcmp(tasks[i].name, name))
			continue;
		*t = (enum lc_task)i;
		return true;
	}
	return false;
}
