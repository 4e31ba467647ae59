/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROVIDER_ACCOUNT_WORKER_H
#define HOST_PROVIDER_ACCOUNT_WORKER_H

/*
 * Inside the account worker. The main thread runs the loop: it reads frames and owns the HTTP
 * client. Op threads run the plugin and block in services. host->lock guards everything shared;
 * host->send_lock the writing side of the conversation; send_lock is never taken with lock held.
 *
 * Frames from the host: {"t":"op","id","op","subject","timeoutMs","account"}, followed by one with the document of the op, which
 * reaches the plugin as it came (account: the document's, where it has one); {"t":"cancel","id"}, {"t":"ack","id","result"}, {"t":"stop","final"}. To the host: {"t":"ready","name","version","abi",
 * "maxParallel","watch","missing"}, {"t":"refused","error"}, {"t":"reply","id","status","afterMs","doc",
 * "checkpoint","error"}, {"t":"secret_put","id","name","value"}, {"t":"turn","id","name","most","windowMs"}, {"t":"turn_end",
 * "id","name","counts"} (turns.h), {"t":"checkpoint","id","call","doc"},
 * {"t":"hint","subject"}, {"t":"peer","sha1","sha256"} (a certificate that was not seen before), {"t":"stopped"}, and under trial
 * {"t":"trial",...} (trial.h).
 */

#include "core/frame.h"
#include "host/provider/ops.h"
#include "host/provider/plugin_load.h"
#include "host/provider/redact.h"
#include "host/provider/trial.h"
#include "host/provider/turns.h"
#include "net/http_client.h"

#include <pthread.h>

enum job_kind { JOB_START, JOB_OP, JOB_STOP };

#define CALL_MAGIC 0x63616c6cu

struct pcg_call {
	uint32_t magic;
	struct pcg_host *host;
	struct pcg_call *next;         /* in the queue, or among the running */
	enum job_kind kind;
	uint64_t id;
	const struct provider_op *op;
	char *doc;
	int64_t deadline_ms;           /* monotonic; INT64_MAX: none */
	bool cancelled;
	pthread_cond_t cond;
	unsigned answers;
	json_t *reply;                 /* of the first answer */
};

/* One request on its way through the loop; lives on the stack of the thread that waits. */
struct http_job {
	struct http_job *next;
	struct pcg_call *call;         /* NULL: a thread of the plugin's own */
	bool in_stop, dies_when_sent;
	const struct http_request *req;
	struct http_call *live;
	void *live_arg;
	bool done;
	pthread_cond_t cond;
	struct http_result *result;
};

/* Waits for the host's word that something is durable; on the stack of the thread that waits. */
struct ack_wait {
	struct ack_wait *next;
	uint64_t id;
	bool done;
	int result;
	pthread_cond_t cond;
};

struct pcg_host {
	pthread_mutex_t lock, send_lock;
	uv_loop_t loop;
	uv_async_t async;
	uv_pipe_t conversation;
	struct frame_reader reader;
	json_t *op; /* whose document is the next frame; NULL: none */

	struct plugin plugin;
	void *state;
	json_t *identity;              /* {"uid","provider"}: no secret */
	char *account;                 /* text for the plugin */
	json_t *secrets;               /* {name: value} */
	struct redact *redact;

	struct http_client *http;
	struct http_tls_ctx *tls;
	struct proxy_set *proxy;
	struct http_job *jobs_new, *jobs_live;
	struct http_result *results;
	struct trial *trial;           /* NULL in a gateway */
	char peer_told[65];            /* SHA-256 of the certificate that the host knows of */

	struct pcg_call *queue, **queue_end, *running;
	size_t queued, busy;           /* busy: ops taken from the queue whose reply is not sent yet */
	pthread_cond_t work, changed;  /* changed: wakes threads of the plugin's own that wait */
	unsigned threads, idle, max_threads;
	struct ack_wait *acks;
	uint64_t next_ack;

	bool stopping, final;
	pthread_t stop_thread;
	int64_t stop_deadline_ms;
};

extern const struct pcg_services account_services;

/* A condition that waits by the monotonic clock. */
void account_cond_init(pthread_cond_t *cond);
/* lock held; false: the deadline has passed. */
bool account_cond_wait(struct pcg_host *h, pthread_cond_t *cond, int64_t deadline_ms);
/* Blocking, any thread, lock not held. The worker ends when the host is not there. Not 0: nothing was sent, the
 * frame would be too large. */
int account_send(struct pcg_host *h, const json_t *doc);

/* services.c, loop thread: */
void account_acked(struct pcg_host *h, const json_t *frame);
/* The call has its answer when the op returns: exactly one, or what the plugin did wrong. New reference. */
json_t *account_take_reply(struct pcg_call *call);
/* An error as an answer; steals nothing. */
void account_answer_error(struct pcg_call *call, unsigned class, const char *text, const char *remedy);

/* service_http.c */
int32_t account_http(struct pcg_host *h, struct pcg_call *call, const struct pcg_http_request *req,
		     struct pcg_http_response *resp);
void account_http_free(struct pcg_host *h, struct pcg_http_response *resp);
void account_http_free_call(struct pcg_host *h, struct pcg_call *call); /* what an op has left */
void account_http_submit_new(struct pcg_host *h);                       /* loop thread */
/* Loop thread: ends the requests of this call; call NULL: those of the plugin's own threads. */
void account_http_cancel(struct pcg_host *h, const struct pcg_call *call);

#endif
