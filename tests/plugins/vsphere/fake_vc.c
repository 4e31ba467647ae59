/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/plugins/vsphere/fake_vc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char content[] = HEAD
	"<RetrieveServiceContentResponse xmlns=\"urn:vim25\"><returnval><rootFolder type=\"Folder\">group-d1</rootFolder>"
	"<propertyCollector type=\"PropertyCollector\">pc</propertyCollector><viewManager type=\"ViewManager\">vm</viewManager>"
	"<about><apiType>VirtualCenter</apiType></about><sessionManager type=\"SessionManager\">sm</sessionManager>"
	"<searchIndex type=\"SearchIndex\">si</searchIndex><taskManager type=\"TaskManager\">tm</taskManager></returnval>"
	"</RetrieveServiceContentResponse>" TAIL;

struct fake_vc end;

static const char *made(const char *method, const char *type, const char *id)
{
	static char text[512];

	snprintf(text, sizeof(text), HEAD "<%sResponse xmlns=\"urn:vim25\"><returnval type=\"%s\">%s</returnval></%sResponse>" TAIL,
		 method, type, id, method);
	return text;
}

static const char *empty(const char *method)
{
	static char text[512];

	snprintf(text, sizeof(text), HEAD "<%sResponse xmlns=\"urn:vim25\"/>" TAIL, method);
	return text;
}

static const char *answer_wait(const char *body)
{
	const char *version = strstr(body, "<version>"), *text = end.updates[end.next];

	ck_assert_uint_lt(end.waits, ARRAY_LEN(end.versions));
	snprintf(end.versions[end.waits], sizeof(end.versions[0]), "%.*s", version ? (int)strcspn(version + 9, "<") : 0,
		 version ? version + 9 : "");
	end.pauses_before[end.waits++] = end.pauses;
	end.pauses = 0;
	if (text)
		end.next++;
	else
		end.ended = true;
	return text;
}

static void note_destroyed(const char *body)
{
	const char *this = strstr(body, "type=\"PropertyCollector\">");

	ck_assert_ptr_nonnull(this);
	this = strchr(this, '>') + 1;
	snprintf(end.destroyed + strlen(end.destroyed), sizeof(end.destroyed) - strlen(end.destroyed), "%.*s ", (int)strcspn(this, "<"), this);
}

static const char *answer(const char *method, const char *body)
{
	char id[24];

	if (strcmp(method, "RetrieveServiceContent") == 0)
		return content;
	if (end.nameless && strcmp(method, end.nameless) == 0)
		return end.absent ? empty(method) : made(method, "x", "");
	if (end.refused && strcmp(method, end.refused) == 0)
		return FAULT("InvalidPowerState");
	if (strcmp(method, "RetrievePropertiesEx") == 0 && end.objects)
		return end.objects;
	if (strcmp(method, "WaitForUpdatesEx") == 0)
		return answer_wait(body);
	if (strcmp(method, "FindByUuid") == 0)
		return end.found ? made(method, "VirtualMachine", end.found) : empty(method);
	if (strcmp(method, "CreateListView") == 0 && end.list_refused && strstr(body, "<obj "))
		return FAULT("ManagedObjectNotFound");
	if (strcmp(method, "ModifyListView") == 0)
		return made(method, "Task", "task-1");
	if (strcmp(method, "CreateListView") == 0)
		return made(method, "ListView", "list-1");
	if (strcmp(method, "CreateFilter") == 0)
		return made(method, "PropertyFilter", "f-1");
	if (strcmp(method, "CreatePropertyCollector") == 0) {
		snprintf(id, sizeof(id), "pc-%u", 2 + end.collectors++);
		return made(method, "PropertyCollector", id);
	}
	if (strcmp(method, "DestroyPropertyCollector") == 0) {
		note_destroyed(body);
		return empty(method);
	}
	return made(method, "x", "x");
}

static int32_t fake_http(struct pcg_host *h, struct pcg_call *call, const struct pcg_http_request *req,
			 struct pcg_http_response *resp)
{
	static const struct pcg_http_header cookie[] = { { "set-cookie", "vmware_soap_session=abc-1; Path=/" } };
	const char *at = strstr(req->body, "Body><"), *text;
	char method[48];

	ck_assert_ptr_nonnull(at);
	snprintf(method, sizeof(method), "%.*s", (int)strcspn(at + 6, " >/"), at + 6);
	snprintf(end.calls + strlen(end.calls), sizeof(end.calls) - strlen(end.calls), "%s ", method);
	if (end.on_call)
		end.on_call(method);
	text = end.away ? "" : answer(method, req->body);
	end.away -= end.away > 0;
	resp->status = !text || !*text ? 0 : strstr(text, "<Fault>") ? 500 : 200;
	resp->error_class = text ? PCG_ERR_RETRY : PCG_ERR_CANCELLED;
	resp->headers = cookie;
	resp->n_headers = strcmp(method, "Login") == 0;
	resp->body = strdup(text ? text : "");
	resp->body_len = strlen(resp->body);
	return 0;
}

static void fake_free(struct pcg_host *h, struct pcg_http_response *resp)
{
	free((void *)(uintptr_t)resp->body);
}

static uint64_t fake_remaining(struct pcg_call *call)
{
	return end.ended ? 0 : 10000;
}

static uint32_t fake_wait(struct pcg_host *h, struct pcg_call *call, uint64_t ms)
{
	end.pauses++;
	end.clock += ms;
	if (end.on_wait)
		end.on_wait();
	return end.ended;
}

static int32_t fake_put(struct pcg_host *h, const char *name, const char *value)
{
	if (strcmp(name, "vsphere.outage") == 0)
		snprintf(end.kept, sizeof(end.kept), "%s", value ? value : "");
	return 0;
}

static const char *fake_get(struct pcg_host *h, const char *name)
{
	return strcmp(name, "vsphere.outage") == 0 && *end.kept ? end.kept : NULL;
}

static uint64_t fake_now(struct pcg_host *h)
{
	return 1000000 + end.clock;
}

static int64_t fake_wall(struct pcg_host *h)
{
	return 1700000000000 + (int64_t)end.clock;
}

static void fake_fault(struct pcg_host *h, const char *name)
{
}

static void fake_log(struct pcg_host *h, uint32_t level, const char *event, const char *fields)
{
	snprintf(end.events + strlen(end.events), sizeof(end.events) - strlen(end.events), "%s ", event);
}

static void fake_hint(struct pcg_host *h, const char *subject)
{
	snprintf(end.hints + strlen(end.hints), sizeof(end.hints) - strlen(end.hints), "%s ", subject);
}

static void fake_error(struct pcg_call *call, uint32_t class, const char *text, const char *remedy)
{
	end.class = class;
	snprintf(end.text, sizeof(end.text), "%s", text);
}

static void fake_pending(struct pcg_call *call, uint32_t after_ms, const char *doc, const char *checkpoint)
{
	end.pended = true;
	if (checkpoint)
		snprintf(end.checkpoint, sizeof(end.checkpoint), "%s", checkpoint);
}

static void fake_done(struct pcg_call *call, const char *doc)
{
	end.is_done = true;
}

static int32_t fake_checkpoint(struct pcg_call *call, const char *json)
{
	return 0;
}

static const char *fake_account(struct pcg_host *h)
{
	return "{\"spec\":{\"vcenterServer\":\"vc.test\",\"username\":\"u\",\"password\":\"p\"},"
	       "\"settings\":{\"preferredAPIServerCidr\":\"10.9.0.0/16\"}}";
}

const struct pcg_services fake_services = {
	.struct_size = sizeof(fake_services), .account = fake_account, .log = fake_log, .http = fake_http, .http_free = fake_free,
	.remaining_ms = fake_remaining, .wait = fake_wait, .secret_put = fake_put, .secret_get = fake_get, .hint = fake_hint,
	.error = fake_error, .pending = fake_pending, .done = fake_done, .checkpoint = fake_checkpoint, .wall_ms = fake_wall, .mono_ms = fake_now, .fault_point = fake_fault,
};

const struct vs_ref fake_vm = { "VirtualMachine", "vm-1" }, fake_task = { "Task", "task-1" }, fake_folder = { "Folder", "group-v1" };
const struct pcg_provider *provider;

const struct pcg_provider *pcg_provider_v0(uint32_t host_abi);

void fake_setup(void)
{
	void *plugin;
	char err[256];

	memset(&end, 0, sizeof(end));
	provider = pcg_provider_v0((uint32_t)PCG_PROVIDER_ABI_MAJOR << 16 | PCG_PROVIDER_ABI_MINOR);
	ck_assert_int_eq(provider->start(NULL, &fake_services, &plugin, err, sizeof(err)), 0);
	end.v = plugin;
	track_set_task(end.v, "m1", "u1", TASK_CLONE, &fake_task, &fake_folder, 5000);
}

void fake_teardown(void)
{
	end.ended = false;
	provider->stop(end.v, 1);
}

void fake_watch(const char *const *updates)
{
	end.updates = updates;
	provider->watch(end.v, NULL, "{}");
}

void fake_got(struct track *t)
{
	ck_assert(track_get(end.v, "m1", t));
}
