/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include "pcg/provider.h"
#include "plugins/vsphere/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Lives of a machine, created and deleted, each with one call that fails in one way: which call is counted, so that every
 * call of a life is met whatever its name. Each has to arrive, with exactly one machine in between and nothing after.
 * Without an argument a slice in which every way and every call occurs; "all" is every way at every call. The lives are
 * shared out between worlds that run at the same time, each with a simulator of its own.
 */

#define WORLDS 6      /* mostly they wait */
#define LATE_MS 700

struct way {
	const char *mode, *fault;
	int status;
};

/* Every fault is answered at once, and those of tasks at the end of a task; the others are of what is between us. */
#define FAULTS(X)                                                                                                      \
	X(NotAuthenticated)                                                                                            \
	X(NoPermission)                                                                                                \
	X(RestrictedByAdministrator)                                                                                   \
	X(ManagedObjectNotFound)                                                                                       \
	X(InvalidState)                                                                                                \
	X(InvalidPowerState)                                                                                           \
	X(InvalidHostConnectionState)                                                                                  \
	X(QuestionPending)                                                                                             \
	X(TaskInProgress)                                                                                              \
	X(ConcurrentAccess)                                                                                            \
	X(ResourceInUse)                                                                                               \
	X(DuplicateName)                                                                                               \
	X(InvalidName)                                                                                                 \
	X(InvalidArgument)                                                                                             \
	X(InvalidRequest)                                                                                              \
	X(InvalidProperty)                                                                                             \
	X(InvalidCollectorVersion)                                                                                     \
	X(NotSupported)                                                                                                \
	X(MethodDisabled)                                                                                              \
	X(NoDiskSpace)                                                                                                 \
	X(InsufficientResourcesFault)                                                                                  \
	X(InsufficientMemoryResourcesFault)                                                                            \
	X(InaccessibleDatastore)                                                                                       \
	X(CannotAccessFile)                                                                                            \
	X(FileLocked)                                                                                                  \
	X(HostNotConnected)                                                                                            \
	X(HostCommunication)                                                                                           \
	X(RequestCanceled)                                                                                             \
	X(Timedout)                                                                                                    \
	X(LimitExceeded)                                                                                               \
	X(NotEnoughLicenses)                                                                                           \
	X(InvalidVmConfig)                                                                                             \
	X(DatabaseError)                                                                                               \
	X(SystemError)

static const struct way ways[] = {
#define X(type) { "fault", #type, 0 },
	FAULTS(X)
#undef X
	{ "fault-after", "SystemError", 0 },
	{ "status", NULL, 503 },
	{ "status", NULL, 502 },
	{ "status", NULL, 404 },
	{ "garbage", NULL, 0 },
	{ "drop-before", NULL, 0 },
	{ "drop-after", NULL, 0 },
	{ "reset-before", NULL, 0 },
	{ "reset-after", NULL, 0 },
	{ "cut", NULL, 0 },
	{ "slow", NULL, 0 },
	{ "late", NULL, 0 },
	{ "twice", NULL, 0 },
	{ "duplicate", NULL, 0 },
	{ "expire", NULL, 0 },
};

/* At calls that answer with a task. */
static const char *const task_faults[] = {
#define X(type) #type,
	FAULTS(X)
#undef X
};

/* Calls of a life: from RetrieveServiceContent to the last inventory; and those that answer with a task:
 * clone, redaction, off, destroyed, the folder destroyed. */
#define CALLS 24
#define TASK_CALLS 5
#define LOGIN_CALL 1
#define AT_ONCE 4 /* faults in one life of the slice */

/* What a life asks of a vCenter, so that no call is passed over without notice. */
static const char *const asked[] = { "RetrieveServiceContent", "Login", "FindByInventoryPath", "RetrievePropertiesEx", "CreateFolder",
				     "CloneVM_Task", "CreateListView", "CreateFilter", "WaitForUpdatesEx", "ReconfigVM_Task",
				     "CreateContainerView", "PowerOffVM_Task", "Destroy_Task", "UnregisterAndDestroy_Task" };

struct fault_at {
	struct way way;
	int skip;
	bool task;
	const char *method; /* the first call of it, skip is 0; NULL: of any */
};

struct life {
	struct fault_at faults[AT_ONCE];
	int n;
};

static struct rig rig;
static int folders;

static void begin_fault(const struct fault_at *f)
{
	AUTO_JSON json_t *body = json_pack("{s:s, s:s, s:i, s:i, s:s*, s:i, s:s}", "method", f->method ?: f->task ? "*_Task" : "*", "mode",
					   f->way.mode, "times", 1, "skip", f->skip, "fault", f->way.fault, "delayMs", LATE_MS,
					   "message", "asked for by the test");
	AUTO_FREE char *text = NULL;

	if (f->way.status)
		json_object_set_new(body, "status", json_integer(f->way.status));
	text = json_dumps(body, 0);
	json_decref(rig_admin(&rig, "POST", "/fault", text));
}

static bool wrong(char *why, size_t size, const char *what, const struct run *run)
{
	snprintf(why, size, "%s: %.200s (%.100s)", what, run->err.text, run->err.remedy);
	return false;
}

/* Asked again whatever it answers, as the lifecycle does; each answer has to say what happened and what to do. */
static struct run *ask(const char *name, const char *subject, json_t *doc, const struct life *l)
{
	struct run *run = rig_begin(&rig, "a1", name, subject, doc);

	run->retry = run->any = true;
	rig_end_all(&rig);
	if (!*run->first.text)
		return run;
	if (!*run->first.remedy) {
		run->ok = false;
		snprintf(run->err.text, sizeof(run->err.text), "without a remedy: %.900s", run->first.text);
	} else if (l && l->n == 1 && l->faults[0].way.fault && !strstr(run->first.text, l->faults[0].way.fault) &&
		   strcmp(l->faults[0].way.fault, "DuplicateName") != 0) {
		run->ok = false;
		snprintf(run->err.text, sizeof(run->err.text), "another cause: %.900s", run->first.text);
	}
	return run;
}

static int count(json_t *inventory, const char *cluster)
{
	json_t *vm;
	size_t i;
	int n = 0;

	json_array_foreach(json_object_get(inventory, "items"), i, vm)
		n += strcmp(json_string_value(json_object_get(json_object_get(vm, "extraConfig"), "pcg.cluster")) ?: "", cluster) == 0;
	return n;
}

struct names {
	char cluster[40], machine[40], name[40], machine_name[60];
};

static void name_all(struct names *n, int number)
{
	snprintf(n->cluster, sizeof(n->cluster), "66f0c0ffee0000000000%04x", (unsigned)number);
	snprintf(n->machine, sizeof(n->machine), "11111111-2222-4333-8444-55555555%04x", (unsigned)number);
	snprintf(n->name, sizeof(n->name), "life-%d", number);
	snprintf(n->machine_name, sizeof(n->machine_name), "%s-cp-bcdfg", n->name);
}

struct docs {
	json_t *cluster, *machine, *infra, *observed;
};

static bool create(const struct life *l, const struct names *n, struct docs *d, char *why, size_t size)
{
	struct run *run = ask("cluster_ensure", n->cluster, rig_doc(d->cluster, NULL, NULL), l);

	if (!run->ok)
		return wrong(why, size, "cluster_ensure", run);
	d->infra = json_deep_copy(json_object_get(run->reply, "observed"));
	run = ask("machine_ensure", n->machine, rig_doc(d->cluster, d->machine, d->infra), l);
	if (!run->ok)
		return wrong(why, size, "machine_ensure", run);
	d->observed = json_deep_copy(json_object_get(run->reply, "observed"));
	run = ask("machine_redact", n->machine, rig_doc(d->cluster, d->machine, d->observed), l);
	return run->ok || wrong(why, size, "machine_redact", run);
}

/* As the lifecycle deletes: what an inventory tells, the machine, the folder, an inventory. */
static bool delete(const struct life *l, const struct names *n, struct docs *d, char *why, size_t size)
{
	struct run *run = ask("inventory", n->cluster, json_pack("{s:s}", "cluster", n->cluster), l);

	if (!run->ok)
		return wrong(why, size, "the inventory before", run);
	if (json_array_size(json_object_get(run->reply, "items")) != 1) {
		snprintf(why, size, "the inventory tells of %zu machines", json_array_size(json_object_get(run->reply, "items")));
		return false;
	}
	run = ask("machine_delete", n->machine, rig_doc(d->cluster, d->machine, d->observed), l);
	if (!run->ok)
		return wrong(why, size, "machine_delete", run);
	run = ask("cluster_delete", n->cluster, rig_doc(d->cluster, NULL, d->infra), l);
	if (!run->ok)
		return wrong(why, size, "cluster_delete", run);
	if (json_array_size(json_object_get(run->reply, "left"))) {
		snprintf(why, size, "left: %.300s", json_str_or(run->reply, "left.0.why", ""));
		return false;
	}
	run = ask("inventory", n->cluster, json_pack("{s:s}", "cluster", n->cluster), l);
	return (run->ok && !json_array_size(json_object_get(run->reply, "items"))) || wrong(why, size, "the inventory after", run);
}

/* From the simulator's own tables, past the front and its faults. */
static bool one_between(const struct names *n, char *why, size_t size)
{
	AUTO_JSON json_t *seen = NULL;
	char path[128];

	snprintf(path, sizeof(path), "/marked?key=pcg.cluster&value=%s", n->cluster);
	seen = rig_admin(&rig, "GET", path, NULL);
	if (json_array_size(json_object_get(seen, "machines")) == 1 &&
	    strcmp(json_str_or(seen, "machines.0.name", ""), n->machine_name) == 0 &&
	    strcmp(json_str_or(seen, "machines.0.power", ""), "poweredOn") == 0)
		return true;
	snprintf(why, size, "%zu machines in between, the first %s", json_array_size(json_object_get(seen, "machines")),
		 json_str_or(seen, "machines.0.power", ""));
	return false;
}

/* By govmomi's own reader. */
static bool none_after(const struct names *n, char *why, size_t size)
{
	AUTO_JSON json_t *inventory = rig_vmread(&rig);
	size_t seen = json_array_size(json_object_get(inventory, "folders"));

	if (count(inventory, n->cluster) == 0 && seen == (size_t)folders)
		return true;
	snprintf(why, size, "%d machines and %zu folders after, not 0 and %d", count(inventory, n->cluster), seen, folders);
	folders = (int)seen; /* the next life is not blamed for it */
	return false;
}

static int sessions_open(void)
{
	AUTO_JSON json_t *calls = rig_admin(&rig, "GET", "/calls", NULL);

	return (int)json_int_or(calls, "sessions.open", 99);
}

static int logouts_disowned(void)
{
	AUTO_JSON json_t *calls = rig_admin(&rig, "GET", "/calls", NULL);

	return (int)json_int_or(calls, "faultsAt.Logout", 0);
}

/* disowned_before: log-outs before this life that a fault took the place of; -1: of this life that says nothing. */
static bool life_ends(int disowned_before, char *why, size_t size)
{
	int left, disowned;

	rig_pool_close(&rig);
	left = sessions_open();
	/* A fault that took the place of the log-out says to us that there is no session. The simulator keeps it. */
	disowned = disowned_before < 0 ? 0 : logouts_disowned() - disowned_before;
	json_decref(rig_admin(&rig, "POST", "/expire-sessions", ""));
	json_object_clear(rig.secrets);
	json_object_clear(rig.checkpoints);
	rig_pool_open(&rig);
	if (left <= disowned)
		return true;
	snprintf(why, size, "%d sessions are left", left);
	return false;
}

static bool live(const struct life *l, int number, char *why, size_t size)
{
	struct names n;
	struct docs d = { 0 };
	bool disowns = l && l->faults[0].way.fault && strcmp(l->faults[0].way.fault, "NotAuthenticated") == 0, good;
	int disowned = disowns ? logouts_disowned() : -1;

	name_all(&n, number);
	d.cluster = rig_cluster(&rig, n.cluster, n.name);
	d.machine = rig_machine(d.cluster, n.machine, n.machine_name);
	for (int i = 0; l && i < l->n; i++)
		begin_fault(&l->faults[i]);
	good = create(l, &n, &d, why, size) && one_between(&n, why, size) && delete(l, &n, &d, why, size);
	json_decref(rig_admin(&rig, "DELETE", "/fault", NULL));
	good = good && none_after(&n, why, size);
	if (!life_ends(disowned, why, size))
		good = false;
	json_decref(d.cluster);
	json_decref(d.machine);
	json_decref(d.infra);
	json_decref(d.observed);
	return good;
}

/* What this world is to do, and what it has done. */
static struct {
	int number, lives, failed;
	bool all;
	int out;               /* what came of it, for the sum of all worlds */
} world;

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	char line[1200];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	n = n < (int)sizeof(line) - 1 ? n : (int)sizeof(line) - 2;
	line[n] = '\n';
	ck_assert_int_eq(write(world.out, line, (size_t)n + 1), n + 1);
}

static bool forbids(const char *fault)
{
	return fault && (strcmp(fault, "NoPermission") == 0 || strcmp(fault, "RestrictedByAdministrator") == 0);
}

/* A login that is refused waits two minutes before the next (check_login: tries_a_wrong_password_once). One that was
 * carried out though a fault came back, or carried out twice by something between, leaves a session that nobody knows of. */
static bool not_at(const struct way *w, int call)
{
	return call == LOGIN_CALL && (forbids(w->fault) || strcmp(w->mode, "fault-after") == 0 || strcmp(w->mode, "twice") == 0);
}

static void add(struct life *l, const struct way *w, int call, bool task)
{
	if (!task && not_at(w, call))
		call += CALLS / 2;
	l->faults[l->n++] = (struct fault_at){ *w, call, task, NULL };
}

static int injected(void)
{
	AUTO_JSON json_t *calls = rig_admin(&rig, "GET", "/calls", NULL);

	return (int)json_int_or(calls, "faultsInjected", 0);
}

static void one_life(const struct life *l)
{
	char why[512] = "", what[400] = "";
	size_t at = 0;
	int before = injected(), came;

	for (int i = 0; i < l->n; i++)
		at += (size_t)snprintf(what + at, sizeof(what) - at, "%s%s%s%s at %s %d", i ? ", " : "", l->faults[i].way.mode,
				       l->faults[i].way.fault ? " " : "", l->faults[i].way.fault ? l->faults[i].way.fault : "",
				       l->faults[i].method ?: l->faults[i].task ? "task" : "call", l->faults[i].skip);
	if (!live(l, world.lives++, why, sizeof(why))) {
		world.failed++;
		say("FAIL %s: %s", what, why);
	}
	came = injected() - before;
	/* How often changes are waited for is not the same in every life: the last calls may not be there. */
	if (came < l->n && l->faults[0].skip < CALLS - 3) {
		world.failed++;
		say("FAIL %s: only %d of %d faults came", what, came, l->n);
	}
}

/* Each way at each call, and each failed task at each task. */
static void all_lives(void)
{
	int number = 0;

	for (size_t w = 0; w < ARRAY_LEN(ways); w++)
		for (int call = 0; call < CALLS; call++) {
			struct life l = { .n = 0 };

			if (not_at(&ways[w], call) || number++ % WORLDS != world.number)
				continue;
			add(&l, &ways[w], call, false);
			one_life(&l);
		}
	for (size_t f = 0; f < ARRAY_LEN(task_faults); f++)
		for (int call = 0; call < TASK_CALLS; call++) {
			struct life l = { .n = 0 };
			struct way way = { "task", task_faults[f], 0 };

			/* A folder that may not be removed is left, and told. */
			if ((call == TASK_CALLS - 1 && forbids(task_faults[f])) || number++ % WORLDS != world.number)
				continue;
			add(&l, &way, call, true);
			one_life(&l);
		}
}

/* Where in a life a call stands is not the same in every run: the slice names them. */
static void add_named(struct life *l, const struct way *w, const char *method)
{
	if (strcmp(method, "Login") == 0 && not_at(w, LOGIN_CALL))
		method = "CreateContainerView";
	l->faults[l->n++] = (struct fault_at){ *w, 0, false, method };
}

/* The front counts for a fault the calls that it lets pass: not one that the life's named fault came to before. */
static int task_number(const struct life *l, int call)
{
	static const char *const tasks[TASK_CALLS] = { "CloneVM_Task", "ReconfigVM_Task", "PowerOffVM_Task", "Destroy_Task",
						       "UnregisterAndDestroy_Task" };

	for (int i = 0; i < call; i++)
		if (l->n > 1 && l->faults[1].method && strcmp(l->faults[1].method, tasks[i]) == 0)
			return call - 1;
	return call;
}

/* Two ways and two failed tasks a life, so that each way, each failed task and each call occurs. */
static void some_lives(void)
{
	int n = ((int)ARRAY_LEN(ways) + 1) / 2;

	for (int i = 0; i < n; i++) {
		struct life l = { .n = 0 };

		if (i % WORLDS != world.number)
			continue;
		add(&l, &ways[i], i % CALLS, false);
		if (i + n < (int)ARRAY_LEN(ways))
			add_named(&l, &ways[i + n], asked[i % (int)ARRAY_LEN(asked)]);
		for (int f = i; f < (int)ARRAY_LEN(task_faults); f += n) {
			struct way way = { "task", task_faults[f], 0 };

			add(&l, &way, task_number(&l, f % TASK_CALLS), true);
		}
		one_life(&l);
	}
}

static void fault_bases_hold(void)
{
	static const struct { const char *type, *base; } table[] = {
#define FAULT(type, class, text, remedy) { #type, NULL },
#define FAULT_AS(type, base) { #type, #base },
#include "plugins/vsphere/fault_types.def"
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		AUTO_JSON json_t *reply = NULL;
		char path[128];
		json_t *base;
		size_t k;
		bool found = !table[i].base;

		snprintf(path, sizeof(path), "/fault-type?type=%s", table[i].type);
		reply = rig_admin(&rig, "GET", path, NULL);
		json_array_foreach(json_object_get(reply, "bases"), k, base)
			found = found || strcmp(json_string_value(base), table[i].base) == 0;
		ck_assert_msg(found, "%s is no %s", table[i].type, table[i].base);
		ck_assert_str_eq(vs_fault_type(i), table[i].type);
	}
	ck_assert_ptr_null(vs_fault_type(ARRAY_LEN(table)));
}

START_TEST(lives_of_a_world)
{
	char why[512] = "";
	AUTO_JSON json_t *inventory = NULL, *calls = NULL;
	const char *method;
	json_t *n;

	rig_open(&rig, "");
	inventory = rig_vmread(&rig);
	folders = (int)json_array_size(json_object_get(inventory, "folders"));
	if (world.number == 0)
		fault_bases_hold();
	if (!live(NULL, world.lives++, why, sizeof(why)))
		say("FAIL nothing: %s", why);
	if (world.all)
		all_lives();
	else
		some_lives();
	calls = rig_admin(&rig, "GET", "/calls", NULL);
	json_object_foreach(json_object_get(calls, "faultsAt"), method, n)
		say("at %s", method);
	say("lives %d %d", world.lives, world.failed);
	rig_close(&rig);
}
END_TEST

static int world_run(int number, bool all, int out)
{
	Suite *s = suite_create("vsphere faults");
	TCase *tc = tcase_create("world");
	SRunner *r;
	int failed;

	world.number = number;
	world.all = all;
	world.out = out;
	tcase_add_test(tc, lives_of_a_world);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}

static int sum(FILE *in, bool *at)
{
	char line[1300], *end;
	int lives = 0, failed = 0, n, bad;

	while (fgets(line, sizeof(line), in)) {
		end = strchr(line, '\n');
		if (end)
			*end = 0;
		for (size_t i = 0; i < ARRAY_LEN(asked); i++)
			at[i] = at[i] || (strncmp(line, "at ", 3) == 0 && strcmp(line + 3, asked[i]) == 0);
		if (sscanf(line, "lives %d %d", &n, &bad) == 2) {
			lives += n;
			failed += bad;
		} else if (strncmp(line, "at ", 3) != 0) {
			printf("%s\n", line);
			failed += strncmp(line, "FAIL nothing", 12) == 0;
		}
	}
	printf("%d lives, %d of them wrong\n", lives, failed);
	return failed;
}

static int worlds_run(bool all)
{
	bool at[ARRAY_LEN(asked)] = { false };
	int out[2], status, failed = 0;
	pid_t pids[WORLDS];

	if (pipe(out))
		return 1;
	for (int i = 0; i < WORLDS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(out[0]);
			exit(world_run(i, all, out[1]));
		}
	}
	close(out[1]);
	failed += sum(fdopen(out[0], "r"), at);
	for (int i = 0; i < WORLDS; i++)
		failed += waitpid(pids[i], &status, 0) < 0 || status != 0;
	for (size_t i = 0; i < ARRAY_LEN(asked); i++)
		if (!at[i]) {
			printf("FAIL no fault came to %s\n", asked[i]);
			failed++;
		}
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	int status;

	return rig_main(argc, argv, "vcsim vmread", &status) ? worlds_run(argc == 2 && strcmp(argv[1], "all") == 0) : status;
}
