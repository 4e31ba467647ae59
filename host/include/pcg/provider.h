/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PCG_PROVIDER_H
#define PCG_PROVIDER_H

/*
 * The contract between the gateway and an infrastructure provider, the only header that a plugin
 * author needs. Version 0.x: it may still change between minors until 1.0.
 *
 * A plugin is a shared object libpcg-NAME.so that exports one symbol, pcg_provider_v0, and needs
 * no symbol of the host. The gateway loads it into a worker process of its own, one for each
 * account (credentials and endpoint of one infrastructure), and never unloads it: the worker ends.
 *
 * Documents cross the line, structs do not: every op takes one UTF-8 JSON object and answers with
 * one. The schema of each op's documents stands below, at the op. Unknown members are ignored by
 * both sides. Times are milliseconds, sizes say their unit.
 *
 * Steps, not operations: an op does a bounded amount of work and answers. It is asked again, with
 * the same document and its own last checkpoint, until it says DONE. It may be asked again after
 * DONE, and after a crash at any point in between: it finds what an earlier call made (by name, uid
 * and mark, which stay the same), and never makes a second one.
 *
 * Threads: ops run in threads of the worker, at most max_parallel at once; start and stop run
 * alone. Services may be called from any of these threads, and from threads that the plugin made
 * in start() and joined in stop(). A plugin never forks, changes signal handlers, locale, umask or
 * working directory, and blocks only inside services, which obey deadline and cancel.
 *
 * Memory: nothing that one side allocated is freed by the other. Text given to a service or by
 * pcg_reply functions is copied before the call returns.
 */

#include <stddef.h>
#include <stdint.h>

#define PCG_PROVIDER_ABI_MAJOR 0
#define PCG_PROVIDER_ABI_MINOR 1

/* True when table t of the given size has member f and it is set. */
#define PCG_HAS(t, f) \
	((t)->struct_size >= offsetof(__typeof__(*(t)), f) + sizeof((t)->f) && (t)->f)

/* Status of a step. */
#define PCG_STEP_DONE 0u
#define PCG_STEP_PENDING 1u /* ask again in after_ms */
#define PCG_STEP_ERROR 2u   /* class, text and remedy say why */

/* Error classes, by the same names as in documents. */
#define PCG_ERR_RETRY 0u
#define PCG_ERR_PERMANENT 1u
#define PCG_ERR_AUTH 2u
#define PCG_ERR_QUOTA 3u
#define PCG_ERR_NOT_FOUND 4u
#define PCG_ERR_CONFLICT 5u
#define PCG_ERR_CANCELLED 6u
#define PCG_ERR_BUG 7u

/* Capabilities: what a plugin offers (optional) and what it needs of its host (required). A
 * required bit that the host does not know refuses the plugin. */
#define PCG_CAP_WATCH (UINT64_C(1) << 0)     /* has watch() */
#define PCG_CAP_REDACT (UINT64_C(1) << 1)    /* has machine_redact() */
#define PCG_CAP_POWER_OFF (UINT64_C(1) << 2) /* has machine_power_off() */

#define PCG_LOG_ERROR 0u
#define PCG_LOG_WARN 1u
#define PCG_LOG_INFO 2u
#define PCG_LOG_DEBUG 3u

struct pcg_http_header {
	const char *name;
	const char *value;
};

struct pcg_http_request {
	uint32_t struct_size;
	uint32_t timeout_ms;            /* 0: the op's deadline alone */
	const char *method;             /* "GET", "POST", ... */
	const char *url;                /* absolute, http or https */
	const struct pcg_http_header *headers;
	size_t n_headers;
	const void *body;
	size_t body_len;
	uint64_t max_response;          /* bytes; 0: 8 MiB */
	uint32_t flags;                 /* PCG_HTTP_... */
	uint32_t reserved0;
};

/* The one long wait of an account: it has one of the account's connections to itself, the others are for what
 * is asked meanwhile. */
#define PCG_HTTP_LONG_WAIT 1u

/* What came back. status 0: no HTTP answer; then error_class, error and remedy are set. */
struct pcg_http_response {
	uint32_t struct_size;
	uint32_t status;
	uint32_t error_class;
	uint32_t reserved0;
	const char *error;
	const char *remedy;
	const struct pcg_http_header *headers; /* names in lower case */
	size_t n_headers;
	const void *body;               /* zero-terminated after body_len */
	size_t body_len;
	char *peer_sha256;              /* of the server's certificate, lower-case hex; NULL: no TLS, or no answer */
};

struct pcg_host;
struct pcg_call;

/*
 * Services of the host. All of them are called with the host or call pointer that the plugin was
 * given. TLS verification, trusted CA, thumbprint, proxy, NO_PROXY, connection pool and limits come from the
 * account and are not the plugin's business: they hold for every request it makes.
 */
struct pcg_services {
	uint32_t struct_size;
	uint16_t abi_major, abi_minor;

	/* The account: {"uid","name","provider","spec":{...},"settings":{...},"gatewayUid"}, spec as in Palette's
	 * cloud account of that type, secrets included. Valid until stop(). */
	const char *(*account)(struct pcg_host *host);

	/* One event with fixed name [a-z0-9_]; fields is a JSON object of strings and numbers, or NULL. Never give secrets. */
	void (*log)(struct pcg_host *host, uint32_t level, const char *event, const char *fields);

	/* Sends and waits. Returns 0 when resp is filled (also without an HTTP answer). resp is the caller's
	 * struct (zeroed, struct_size set); what it points to lives until http_free or the end of the op.
	 * call may be NULL in stop() and in threads of the plugin's own: then timeout_ms must be set. Ends early with
	 * PCG_ERR_CANCELLED when the op is cancelled or past its deadline; requests of the plugin's own threads when
	 * stop() begins. Other than 0: a struct_size was too small. A request without an answer may have been carried
	 * out; no POST and no PATCH is sent twice by the host. */
	int32_t (*http)(struct pcg_host *host, struct pcg_call *call, const struct pcg_http_request *req,
			struct pcg_http_response *resp);
	void (*http_free)(struct pcg_host *host, struct pcg_http_response *resp);

	/* Milliseconds left for this op; 0: past it, or cancelled. */
	uint64_t (*remaining_ms)(struct pcg_call *call);
	/* Sleeps at most ms, at most an hour; returns early, with 1, when the op is cancelled or past its deadline. call
	 * NULL (a thread of the plugin's own): early, with 1, when stop() begins. */
	uint32_t (*wait)(struct pcg_host *host, struct pcg_call *call, uint64_t ms);

	/* Keeps small things of the account across the worker's death, by name, as secrets of the store (a session
	 * cookie). value NULL removes. Durable when it returns 0. Names [a-z0-9_.-]. A worker of a validation keeps those
	 * alone that have ".validation." in their name, and shares them with all validations: nothing of the account may be in them. */
	int32_t (*secret_put)(struct pcg_host *host, const char *name, const char *value);
	/* NULL: none. Valid until the next secret_get of this thread. */
	const char *(*secret_get)(struct pcg_host *host, const char *name);

	/* Durable when it returns 0: this op's checkpoint, a JSON object; the next call of the same op for the
	 * same subject is given it. For long steps that must not lose what they know before they answer. */
	int32_t (*checkpoint)(struct pcg_call *call, const char *json);

	/* A hint that the subject (machine uid) may be ready for its next step: it is asked earlier. Only a hint. */
	void (*hint)(struct pcg_host *host, const char *subject_uid);

	/* The mark of ours, for a pool: {"cluster":UID,"pool":NAME,"machine":UID,"gateway":UID,"epoch":N} is in the
	 * documents of the ops; nothing else is needed to recognise a resource. */

	/* The answer of an op. Exactly one of these before the op returns. doc is a JSON object or NULL. */
	void (*done)(struct pcg_call *call, const char *doc);
	void (*pending)(struct pcg_call *call, uint32_t after_ms, const char *doc, const char *checkpoint);
	void (*error)(struct pcg_call *call, uint32_t error_class, const char *text, const char *remedy);

	/* Monotonic milliseconds, and wall clock milliseconds since 1970. */
	uint64_t (*mono_ms)(struct pcg_host *host);
	int64_t (*wall_ms)(struct pcg_host *host);

	/* A fixed place for named fault points of tests; does nothing in production builds. */
	void (*fault_point)(struct pcg_host *host, const char *name);

	/* From here on only where struct_size says so. */

	/* Bounds what an infrastructure counts (log-ins that it refuses), over all workers of this provider in this gateway, those
	 * of validations too, and across restarts. Begins one of the "most" that may count in any window_ms; while others run
	 * that may come to count, it waits for their end, at most until the call is over. 0; else milliseconds until one may begin; -1: not
	 * now. Names [a-z0-9_.-], nothing of the account may be in them. */
	int64_t (*turn_begin)(struct pcg_host *host, struct pcg_call *call, const char *name, uint32_t most,
			      uint32_t window_ms);
	/* Each that was begun is ended, once: counts is 1 when it counted, and then it is durable when this returns 0. One that a
	 * worker had begun when it died has not counted. */
	int32_t (*turn_end)(struct pcg_host *host, const char *name, uint32_t counts);
};

/* Every op: doc is the op's document; the answer goes through done, pending or error. */
typedef void (*pcg_op)(void *plugin, struct pcg_call *call, const char *doc);

/*
 * The table of a provider. The members up to "version" are the frozen prefix.
 *
 * Common parts of the documents:
 *   "cluster": {"uid","name","tenant","project","epoch",
 *               "spec": {...}}          the cluster's spec (docs/spec.md), with cloudConfig as in Palette's API
 *   "machine": {"uid","name","pool","role":"control-plane"|"worker",
 *               "addresses": [{"device":0,"pool":NAME,"address","prefix":24,"gateway","nameservers":[],"search":[]}],
 *                                       static ones, reserved for this machine; absent or empty: by DHCP
 *               "poolSpec": {...}}      the pool as in docs/spec.md, with cloudConfig
 *   "mark":    {"cluster","pool","machine","gateway","epoch"}
 *   "checkpoint": what the last call of this op for this subject answered or wrote. null or absent: no call
 *                 has done either, so an op that writes one before it acts knows that nothing was done. An answer
 *                 without a checkpoint leaves the last; a gateway that lost its store gives {} for what it does not know
 */
struct pcg_provider {
	uint32_t struct_size;
	uint16_t abi_major, abi_minor;
	uint64_t caps_optional, caps_required;
	uint32_t max_parallel; /* how many ops may run at once, 1 to 64 */
	uint32_t reserved0;
	const char *name;      /* "vsphere": also the cloud type of Palette's API */
	const char *version;

	/* Called once before any op; plugin's state to *plugin. 0, or -1 with text in err. Makes no request. */
	int32_t (*start)(struct pcg_host *host, const struct pcg_services *services, void **plugin,
			 char *err, size_t err_size);
	/* Called once, no op is running: ends sessions within 5 s, joins threads. final is 1 when the account is removed or replaced. */
	void (*stop)(void *plugin, uint32_t final);

	/* {"account":spec} validated by really using it. done {"version":..,"warnings":[text]} or
	 * {"problems":[{"field","text","remedy"}]}: everything wrong at once. error only when nothing could be tried. */
	pcg_op account_validate;
	/* {"kind","filter":{NAME:text},"limit","continue"} -> done {"items":[{"name","id","path",...}],"continue"}: what
	 * the infrastructure has of a kind, to choose from; a page of about limit (1 to 1000) items, "" in continue after the last.
	 * continue is opaque, and asked with the kind and filter that it came for; the same page may be asked for again
	 * when its reply was lost. A list that is not open any more: CONFLICT; one that there is not: NOT_FOUND, and the text says
	 * which there are. Every kind takes the filter "name", a part of the name in any case. The kind "kinds" answers the
	 * list of kinds, {"name","id","path","text","filters":[..]}. Memory does not grow with the number of objects. */
	pcg_op pick_list;

	/* {"cluster","mark","check":true|false}. check: everything the request names is looked up, nothing is made; done
	 * {"problems":[{"field","text","remedy"}], "endpoint":...}. Otherwise makes what machines need (folder, endpoint): done
	 * {"endpoint":{"host","port"}|null, "observed":{...}}; endpoint null: the request must have given one. */
	pcg_op cluster_ensure;
	/* {"cluster","mark","observed"}: what cluster_ensure made; machines are gone before. done {"left":[{"id","name","why"}]} */
	pcg_op cluster_delete;

	/* {"cluster","machine","mark","userData":text,"checkpoint","observed"}. done {"observed":{"id","providerID","addresses":
	 * [{"type":"InternalIP|ExternalIP|Hostname|InternalDNS","address"}],...}}: powered on and has an address. */
	pcg_op machine_ensure;
	/* {"cluster","machine","mark","observed","checkpoint"}: by mark and uid, whether observed is there or not. done {} = gone. */
	pcg_op machine_delete;
	/* Same document: takes keys out of what the infrastructure keeps of the user data. */
	pcg_op machine_redact;
	/* Same document: hard power off, nothing removed. */
	pcg_op machine_power_off;

	/* {"cluster":UID|null} -> done {"items":[{"id","name","cluster","pool","machine":UID|"","kind":"machine|cluster",
	 * "power":"on|off","providerID","addresses":[..],"role":"control-plane|worker|"}]}: everything with our mark, by the infrastructure
	 * itself, also what controllers made. An item with a "stranger" too, a text that says why, carries the mark and is none of
	 * ours (somebody's copy of a machine): it is left alone, and told. "settled": true in the document, when all that is found will be
	 * deleted: the cluster's controllers have been stopped, and what they have begun may not be seen yet. pending while such work runs. */
	pcg_op inventory;

	/* Runs until cancelled: waits for changes and gives hints. done when there is nothing to watch. */
	pcg_op watch;

	/* {"cluster","machines":[{machine..., "observed"}], "pools":[..], "endpoint"} -> done {"objects":[{"role":"identity|cluster|
	 * controlPlaneTemplate|workerTemplate|machine|extra","pool","machine":UID,"owner":"Cluster|Machine|","object":{...},"status":{...}}]}: the provider's
	 * Cluster API objects in the infrastructure.cluster.x-k8s.io group, spec only, status apart. No owner references. What is made of
	 * a pool whose "addressPools" names an IP pool of the cluster's spec has "addressesFromPools" with that one's "object", of kind
	 * InClusterIPPool. The object of a machine that owns its IPAddressClaims (named NAME-DEVICE-N after it) has "claims":
	 * {"finalizer"} beside it, what its controller protects them by: the host makes them for the machine's "addresses". "clusterScoped":
	 * true beside an object that has no namespace. "failureDomain" in a machine's "observed" is its Machine's. A pool of workers has
	 * a workerTemplate, or one for each place that its machines are spread over, with "failureDomain" beside it where the place is
	 * one; the host names them as their MachineDeployments. */
	pcg_op export_objects;
	/* {"objects":[...]} as read back from the cluster -> done {"machines":[{"name","pool","role","observed":{...}}]} */
	pcg_op import_objects;

	/* Settings of an account of this provider, as JSON: [{"name","type","default","doc","secret":bool}]. Any time after load. */
	const char *settings;
};

#define PCG_PROVIDER_EXPORT __attribute__((visibility("default")))

/* The one exported symbol. host_abi is the host's major << 16 | minor. NULL: refuses that host. */
typedef const struct pcg_provider *(*pcg_provider_entry)(uint32_t host_abi);
#define PCG_PROVIDER_SYMBOL "pcg_provider_v0"

#endif
