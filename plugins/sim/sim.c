/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *sim_str(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

const char *sim_at(const json_t *j, const char *a, const char *b)
{
	return sim_str(json_object_get(j, a), b);
}

void sim_done(struct sim *s, struct pcg_call *call, json_t *doc)
{
	char *text = json_dumps(doc, JSON_COMPACT);

	s->svc->done(call, text);
	free(text);
	json_decref(doc);
}

json_t *sim_doc(struct sim *s, struct pcg_call *call, const char *text)
{
	json_t *doc = json_loads(text ? text : "", 0, NULL);

	if (!doc)
		s->svc->error(call, PCG_ERR_BUG, "the op's document is no JSON object", "");
	return doc;
}

static uint32_t sim_class(int status, const json_t *reply)
{
	static const struct { const char *name; uint32_t class; } classes[] = {
		{ "retry", PCG_ERR_RETRY }, { "permanent", PCG_ERR_PERMANENT }, { "auth", PCG_ERR_AUTH },
		{ "quota", PCG_ERR_QUOTA }, { "not_found", PCG_ERR_NOT_FOUND }, { "conflict", PCG_ERR_CONFLICT },
	};
	const char *given = sim_at(reply, "error", "class");

	for (size_t i = 0; given && i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strcmp(classes[i].name, given) == 0)
			return classes[i].class;
	return status == 401 || status == 403 ? PCG_ERR_AUTH : status == 404 ? PCG_ERR_NOT_FOUND :
	       status == 409 ? PCG_ERR_CONFLICT : status == 429 ? PCG_ERR_QUOTA :
	       status >= 500 ? PCG_ERR_RETRY : PCG_ERR_PERMANENT;
}

static const char *sim_remedy(uint32_t class)
{
	switch (class) {
	case PCG_ERR_AUTH: return "Put the token that pcg-simcloud was started with into the cloud account.";
	case PCG_ERR_QUOTA: return "Delete machines, or raise \"capacity\" of the simulated cloud.";
	case PCG_ERR_CONFLICT: return "Remove the other machine of that name, or choose another name.";
	case PCG_ERR_RETRY: return "Nothing: it is tried again.";
	default: return "Look at the simulated cloud's log.";
	}
}

void sim_refused(struct sim *s, struct pcg_call *call, const char *what, int status, const json_t *reply)
{
	uint32_t class = sim_class(status, reply);
	const char *message = sim_at(reply, "error", "message");
	char text[512];

	snprintf(text, sizeof(text), "%s at %s answered %d%s%s", what, s->endpoint, status, message ? ": " : "",
		 message ? message : "");
	s->svc->error(call, class, text, sim_remedy(class));
}

bool sim_http(struct sim *s, struct pcg_call *call, const char *method, const char *path, const json_t *body, int *status,
	      json_t **reply)
{
	char *url = NULL, *auth = NULL, *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct pcg_http_header headers[] = { { "authorization", NULL }, { "content-type", "application/json" } };
	struct pcg_http_request req = { .struct_size = sizeof(req), .method = method, .headers = headers,
					.n_headers = body ? 2 : 1, .body = text, .body_len = text ? strlen(text) : 0 };
	struct pcg_http_response resp = { .struct_size = sizeof(resp) };
	bool ok = false;

	*reply = NULL;
	if (asprintf(&url, "%s%s", s->endpoint, path) < 0 || asprintf(&auth, "Bearer %s", s->token) < 0)
		abort();
	req.url = url;
	headers[0].value = auth;
	if (strncmp(path, "/v1/wait", 8) == 0) {
		req.flags = PCG_HTTP_LONG_WAIT;
		req.timeout_ms = 40000;
	}
	if (s->svc->http(s->host, call, &req, &resp)) {
		s->svc->error(call, PCG_ERR_BUG, "the host refused a request", "");
	} else if (!resp.status) {
		s->svc->error(call, resp.error_class, resp.error ? resp.error : "no answer",
			      resp.remedy && *resp.remedy ? resp.remedy :
			      "Start pcg-simcloud, or correct \"endpoint\" of the cloud account.");
	} else {
		*status = (int)resp.status;
		*reply = json_loadb(resp.body ? resp.body : "", resp.body_len, 0, NULL);
		ok = true;
	}
	s->svc->http_free(s->host, &resp);
	if (text) {
		explicit_bzero(text, strlen(text));
		free(text);
	}
	explicit_bzero(auth, strlen(auth));
	free(auth);
	free(url);
	return ok;
}

static int32_t sim_start(struct pcg_host *host, const struct pcg_services *services, void **plugin, char *err, size_t err_size)
{
	struct sim *s = calloc(1, sizeof(*s));
	const char *account = services->account(host);

	if (!s || !account) {
		snprintf(err, err_size, "no account");
		free(s);
		return -1;
	}
	s->host = host;
	s->svc = services;
	s->account = json_loads(account, 0, NULL);
	s->endpoint = sim_at(s->account, "spec", "endpoint");
	s->token = sim_at(s->account, "spec", "token");
	s->endpoint = s->endpoint ? s->endpoint : "";
	s->token = s->token ? s->token : "";
	*plugin = s;
	return 0;
}

static void sim_stop(void *plugin, uint32_t final)
{
	struct sim *s = plugin;

	json_decref(s->account);
	free(s);
}

static const char settings[] =
	"[{\"name\":\"connections\",\"type\":\"int\",\"default\":\"64\",\"doc\":\"connections to the simulated cloud\","
	"\"secret\":false}]";

static const struct pcg_provider provider = {
	.struct_size = sizeof(provider),
	.abi_major = PCG_PROVIDER_ABI_MAJOR,
	.abi_minor = PCG_PROVIDER_ABI_MINOR,
	.caps_optional = PCG_CAP_WATCH | PCG_CAP_REDACT | PCG_CAP_POWER_OFF,
	.max_parallel = 64,
	.name = "sim",
	.version = PACKAGE_VERSION,
	.start = sim_start,
	.stop = sim_stop,
	.account_validate = sim_account_validate,
	.pick_list = sim_pick_list,
	.cluster_ensure = sim_cluster_ensure,
	.cluster_delete = sim_cluster_delete,
	.machine_ensure = sim_machine_ensure,
	.machine_delete = sim_machine_delete,
	.machine_redact = sim_machine_redact,
	.machine_power_off = sim_machine_power_off,
	.inventory = sim_inventory,
	.watch = sim_watch,
	.export_objects = sim_export_objects,
	.import_objects = sim_import_objects,
	.settings = settings,
};

PCG_PROVIDER_EXPORT const struct pcg_provider *pcg_provider_v0(uint32_t host_abi);
const struct pcg_provider *pcg_provider_v0(uint32_t host_abi)
{
	return host_abi >> 16 == PCG_PROVIDER_ABI_MAJOR ? &provider : NULL;
}
