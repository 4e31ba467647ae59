/* SPDX-License-Identifier: Apache-2.0 */
/* The queue to the writer thread, the thread, and the way back into the loop. Lock order: one
 * mutex, never held while SQL runs or a callback is called. */
#include "config.h"

#include "host/store/store.h"

#include "core/clock.h"
#include "core/db.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "host/store/batch.h"
#include "host/store/schema.h"
#include "net/pki.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define GROUP_MAX 512
#define REST_S 1

struct job {
	struct job *next;
	struct store_batch *batch; /* NULL: a read */
	store_cb cb;
	void *arg;
	char *subject;
	uint32_t limit;
	store_history_cb history_cb;
	json_t *result;
};

struct queue {
	struct job *head, **tail;
};

struct store {
	struct db *db;
	struct secret *key;
	uv_loop_t *loop;
	uv_async_t async;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct queue todo, done;
	bool stop;
	bool rested; /* the loop is to give back what it keeps */
	bool closing;
	void (*closed)(void *arg);
	void *closed_arg;
	struct log_outage outage;
	struct pcg_error unwritable; /* why, and since when: 0 when it can be written */
	int64_t unwritable_ms;
	uint64_t commits, batches, rows, cpu_us;
};

static void queue_init(struct queue *q)
{
	q->head = NULL;
	q->tail = &q->head;
}

static void queue_push(struct queue *q, struct job *j)
{
	j->next = NULL;
	*q->tail = j;
	q->tail = &j->next;
}

static struct job *queue_take(struct queue *q, size_t max)
{
	struct job *head = q->head, **p = &q->head;

	while (*p && max--)
		p = &(*p)->next;
	if (!*p) {
		queue_init(q);
		return head;
	}
	q->head = *p;
	*p = NULL;
	return head;
}

static void job_free(struct job *j)
{
	store_batch_free(j->batch);
	json_decref(j->result);
	free(j->subject);
	free(j);
}

/* One transaction over all batches of the list; 0 when committed. */
static int write_group(struct store *s, struct job *list, struct pcg_error *err)
{
	int r = db_begin(s->db, err);

	for (struct job *j = list; !r && j; j = j->next)
		if (j->batch)
			r = batch_run(j->batch, s->db, err);
	if (!r) {
		FAULT_POINT("store.before_commit");
		r = db_commit(s->db, err);
	}
	if (r)
		db_rollback(s->db);
	else
		FAULT_POINT("store.after_commit");
	return r;
}

static bool stopping(struct store *s)
{
	bool stop;

	pthread_mutex_lock(&s->lock);
	stop = s->stop;
	pthread_mutex_unlock(&s->lock);
	return stop;
}

/* The lock is held. 0, or ETIMEDOUT. */
static int wait_seconds_locked(struct store *s, int seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	return pthread_cond_timedwait(&s->cond, &s->lock, &until);
}

static void wait_a_second(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	if (!s->stop)
		wait_seconds_locked(s, 1);
	pthread_mutex_unlock(&s->lock);
}

static json_t *read_history(struct store *s, const struct job *j)
{
	AUTO_JSON json_t *items = json_array();
	struct pcg_error err;
	sqlite3_stmt *st;

	if (db_prepare(s->db,
		       "SELECT at, event, fields, name, cluster FROM (SELECT * FROM history WHERE"
		       " cluster = ?1 OR name = ?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
		       &st, &err) ||
	    db_bind(s->db, st, &err, "si", j->subject, (int64_t)j->limit)) {
		log_err("history_unreadable", &err);
		return json_pack("{s:O}", "items", items);
	}
	while (sqlite3_step(st) == SQLITE_ROW) {
		const char *fields = (const char *)sqlite3_column_text(st, 2);
		char at[CLOCK_RFC3339_SIZE];
		json_t *item = fields ? json_loads(fields, 0, NULL) : json_object();

		if (!item)
			item = json_object();
		clock_rfc3339(sqlite3_column_int64(st, 0), at);
		json_object_set_new(item, "at", json_string(at));
		json_object_set_new(item, "event",
				    json_string((const char *)sqlite3_column_text(st, 1)));
		json_object_set_new(item, "cluster",
				    json_string((const char *)sqlite3_column_text(st, 3)));
		json_object_set_new(item, "uid",
				    json_string((const char *)sqlite3_column_text(st, 4)));
		json_array_append_new(items, item);
	}
	sqlite3_reset(st);
	return json_pack("{s:O}", "items", items);
}

static void give_back(struct store *s, struct job *list)
{
	pthread_mutex_lock(&s->lock);
	while (list) {
		struct job *next = list->next;

		queue_push(&s->done, list);
		list = next;
	}
	pthread_mutex_unlock(&s->lock);
	uv_async_send(&s->async);
}

/* Reads that came while nothing can be written: they show what is durable. */
static void answer_reads(struct store *s)
{
	struct queue reads, rest;
	struct job *j, *next;

	queue_init(&reads);
	queue_init(&rest);
	pthread_mutex_lock(&s->lock);
	for (j = queue_take(&s->todo, SIZE_MAX); j; j = next) {
		next = j->next;
		queue_push(j->batch ? &rest : &reads, j);
	}
	s->todo = rest;
	if (!rest.head)
		queue_init(&s->todo);
	pthread_mutex_unlock(&s->lock);
	for (j = reads.head; j; j = j->next)
		j->result = read_history(s, j);
	if (reads.head)
		give_back(s, reads.head);
}

static void tell_unwritable(struct store *s, const struct pcg_error *err)
{
	pthread_mutex_lock(&s->lock);
	if (err)
		s->unwritable = *err;
	if (!err || !s->unwritable_ms)
		s->unwritable_ms = err ? clock_wall_ms() : 0;
	pthread_mutex_unlock(&s->lock);
}

/* A full or failing disk: tried again until it takes the group, or the store is told to stop. */
static bool write_until_durable(struct store *s, struct job *list)
{
	struct pcg_error err;

	while (write_group(s, list, &err)) {
		log_outage_begin(&s->outage, "store_unwritable", "store", &err);
		tell_unwritable(s, &err);
		answer_reads(s);
		if (stopping(s))
			return false;
		wait_a_second(s);
	}
	if (s->outage.since_ms)
		tell_unwritable(s, NULL);
	log_outage_end(&s->outage, "store_writable", "store");
	return true;
}

static void account_time(struct store *s, const struct job *list)
{
	struct timespec cpu;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	pthread_mutex_lock(&s->lock);
	s->cpu_us = (uint64_t)cpu.tv_sec * 1000000u + (uint64_t)cpu.tv_nsec / 1000u;
	s->commits++;
	for (; list; list = list->next) {
		if (!list->batch)
			continue;
		s->batches++;
		s->rows += batch_len(list->batch);
	}
	pthread_mutex_unlock(&s->lock);
}

/* Not durable, and nobody may act on it: dropped without its callback. */
static void drop(struct job *list)
{
	while (list) {
		struct job *next = list->next;

		job_free(list);
		list = next;
	}
}

static void work(struct store *s, struct job *list)
{
	bool writes = false;

	for (struct job *j = list; j; j = j->next)
		writes = writes || j->batch;
	if (writes && !write_until_durable(s, list)) {
		drop(list);
		return;
	}
	if (writes)
		account_time(s, list);
	for (struct job *j = list; j; j = j->next)
		if (!j->batch)
			j->result = read_history(s, j);
	give_back(s, list);
}

static bool idle_locked(const struct store *s)
{
	return !s->todo.head && !s->stop;
}

/* Nothing changes without a row: when none has come for a while the whole program is at rest. */
static void rest(struct store *s)
{
	db_rest(s->db);
	pki_forget();
	pthread_mutex_lock(&s->lock);
	s->rested = true;
	pthread_mutex_unlock(&s->lock);
	uv_async_send(&s->async);
}

static void wait_for_work_locked(struct store *s, bool worked)
{
	int late = 0;

	while (worked && idle_locked(s) && late != ETIMEDOUT)
		late = wait_seconds_locked(s, REST_S);
	if (worked && idle_locked(s)) {
		pthread_mutex_unlock(&s->lock);
		rest(s);
		pthread_mutex_lock(&s->lock);
	}
	while (idle_locked(s))
		pthread_cond_wait(&s->cond, &s->lock);
}

static void *writer_main(void *arg)
{
	struct store *s = arg;

	for (bool worked = false;; worked = true) {
		struct job *list;

		pthread_mutex_lock(&s->lock);
		wait_for_work_locked(s, worked);
		list = queue_take(&s->todo, GROUP_MAX);
		pthread_mutex_unlock(&s->lock);
		if (!list)
			break;
		work(s, list);
	}
	return NULL;
}

static void deliver(struct store *s)
{
	struct job *list;
	bool rested;

	pthread_mutex_lock(&s->lock);
	list = queue_take(&s->done, SIZE_MAX);
	rested = s->rested;
	s->rested = false;
	pthread_mutex_unlock(&s->lock);
	if (rested)
		memory_give_back();
	while (list) {
		struct job *next = list->next;

		if (list->history_cb)
			list->history_cb(list->arg, list->result);
		else if (list->cb)
			list->cb(list->arg);
		job_free(list);
		list = next;
	}
}

static void on_async(uv_async_t *async)
{
	deliver(async->data);
}

static void submit(struct store *s, struct job *j)
{
	pthread_mutex_lock(&s->lock);
	assert(!s->stop);
	queue_push(&s->todo, j);
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

int store_open(uv_loop_t *loop, const char *path, struct secret *key, struct store **out,
	       struct pcg_error *err)
{
	struct db_spec spec = {
		.path = path,
		.kind = "pcgd",
		.application_id = STORE_APPLICATION_ID,
		.version = STORE_VERSION,
		.schema = STORE_SCHEMA,
	};
	struct store *s = calloc(1, sizeof(*s));
	int r;

	assert(s);
	r = db_open(&spec, &s->db, err);
	if (r) {
		free(s);
		return r;
	}
	s->loop = loop;
	s->key = secret_ref(key);
	queue_init(&s->todo);
	queue_init(&s->done);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->cond, NULL);
	s->async.data = s;
	uv_async_init(loop, &s->async, on_async);
	uv_unref((uv_handle_t *)&s->async);
	*out = s;
	return 0;
}

/* The thread begins with the first write, so that loading has the database to itself. */
static void start_writer(struct store *s)
{
	pthread_attr_t attr;

	if (s->thread)
		return;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	if (pthread_create(&s->thread, &attr, writer_main, s))
		abort();
	pthread_setname_np(s->thread, "pcg-store");
	pthread_attr_destroy(&attr);
}

void store_batch_commit(struct store_batch *b, store_cb cb, void *arg)
{
	struct job *j = calloc(1, sizeof(*j));

	assert(j);
	j->batch = b;
	j->cb = cb;
	j->arg = arg;
	start_writer(batch_store(b));
	submit(batch_store(b), j);
}

void store_history(struct store *s, const char *uid_or_name, uint32_t limit, store_history_cb cb,
		   void *arg)
{
	struct job *j = calloc(1, sizeof(*j));

	assert(j);
	j->subject = strdup(uid_or_name);
	j->limit = limit;
	j->history_cb = cb;
	j->arg = arg;
	start_writer(s);
	submit(s, j);
}

struct secret *store_key(struct store *s)
{
	return s->key;
}

struct db *store_db(struct store *s)
{
	assert(!s->thread);
	return s->db;
}

json_t *store_stats(struct store *s)
{
	char since[CLOCK_RFC3339_SIZE];
	json_t *j;

	pthread_mutex_lock(&s->lock);
	j = json_pack("{s:I,s:I,s:I,s:I}", "commits", (json_int_t)s->commits, "batches",
		      (json_int_t)s->batches, "rows", (json_int_t)s->rows, "cpu_us",
		      (json_int_t)s->cpu_us);
	if (s->unwritable_ms)
		json_object_set_new(j, "unwritable", json_pack("{s:s,s:s,s:s}", "since",
							       clock_rfc3339(s->unwritable_ms, since), "cause",
							       s->unwritable.text, "remedy", s->unwritable.remedy));
	pthread_mutex_unlock(&s->lock);
	return j;
}

static void on_async_closed(uv_handle_t *handle)
{
	struct store *s = handle->data;
	void (*closed)(void *) = s->closed;
	void *arg = s->closed_arg;

	db_close(s->db);
	secret_unref(s->key);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->cond);
	free(s);
	if (closed)
		closed(arg);
}

void store_close(struct store *s, void (*closed)(void *arg), void *arg)
{
	assert(!s->closing);
	s->closing = true;
	s->closed = closed;
	s->closed_arg = arg;
	if (s->thread) {
		pthread_mutex_lock(&s->lock);
		s->stop = true;
		pthread_cond_signal(&s->cond);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
		deliver(s);
	}
	uv_close((uv_handle_t *)&s->async, on_async_closed);
}
