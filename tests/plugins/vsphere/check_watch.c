/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/addresses.h"
#include "plugins/vsphere/clone_limit.h"
#include "plugins/vsphere/track_impl.h"

#include "core/attr.h"
#include "core/json.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The one wait for changes, and what is made of what it tells: answers as the API's documentation gives them, by a table of
 * services that hands them out one after the other. */

#define HEAD                                                                                                           \
	"<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><Body>"
#define TAIL "</Body></Envelope>"
#define UPDATE(version, truncated, filter)                                                                             \
	HEAD "<WaitForUpdatesExResponse xmlns=\"urn:vim25\"><returnval><version>" version "</version><filterSet>"      \
	     "<filter type=\"PropertyFilter\">f-1</filter>" filter "</filterSet><truncated>" truncated                 \
	     "</truncated></returnval></WaitForUpdatesExResponse>" TAIL
#define OBJECT(type, id, rest) "<objectSet><kind>modify</kind><obj type=\"" type "\">" id "</obj>" rest "</objectSet>"
#define CHANGE(path, val) "<changeSet><name>" path "</name><op>assign</op>" val "</changeSet>"
#define MISSING(path, fault)                                                                                           \
	"<missingSet><path>" path "</path><fault><fault xsi:type=\"" fault "\"/><localizedMessage/></fault></missingSet>"
#define FAULT(type) HEAD "<Fault><faultcode>x</faultcode><detail><x xmlns=\"urn:vim25\" xsi:type=\"" type "\"/></detail></Fault>" TAIL

static const char content[] = HEAD
	"<RetrieveServiceContentResponse xmlns=\"urn:vim25\"><returnval><rootFolder type=\"Folder\">group-d1</rootFolder>"
	"<propertyCollector type=\"PropertyCollector\">pc</propertyCollector><viewManager type=\"ViewManager\">vm</viewManager>"
	"<about><apiType>VirtualCenter</apiType></about><sessionManager type=\"SessionManager\">sm</sessionManager>"
	"<searchIndex type=\"SearchIndex\">si</searchIndex><taskManager type=\"TaskManager\">tm</taskManager></returnval>"
	"</RetrieveServiceContentResponse>" TAIL;

static struct {
	struct vsphere *v;
	const char *const *updates; /* answers to waits; NULL behind the last: the watch is ended */
	size_t next;
	char versions[128][32];
	size_t waits, pauses;  /* calls of WaitForUpdatesEx; pauses of the watch since the last of them */
	size_t pauses_before[128];
	char calls[2048];      /* methods, each with a blank behind it */
	char hints[256], events[256], kept[1024];
	bool list_refused;     /* a view of something that is gone */
	const char *nameless;  /* a method whose answer names no object, */
	bool absent;           /* or has none */
	int away;              /* so many calls are not answered */
	uint64_t clock;        /* ms that pauses took */
	bool ended;
	uint32_t class;
	char text[512];
	bool pended;
	const char *found;     /* by uuid; NULL: none */
} end;

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

static const char *answer(const char *method, const char *body)
{
	if (strcmp(method, "RetrieveServiceContent") == 0)
		return content;
	if (end.nameless && strcmp(method, end.nameless) == 0)
		return end.absent ? empty(method) : made(method, "x", "");
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
	if (strcmp(method, "CreatePropertyCollector") == 0)
		return made(method, "PropertyCollector", "pc-2");
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
}

static const char *fake_account(struct pcg_host *h)
{
	return "{\"spec\":{\"vcenterServer\":\"vc.test\",\"username\":\"u\",\"password\":\"p\"},"
	       "\"settings\":{\"preferredAPIServerCidr\":\"10.9.0.0/16\"}}";
}

static const struct pcg_services services = {
	.struct_size = sizeof(services), .account = fake_account, .log = fake_log, .http = fake_http, .http_free = fake_free,
	.remaining_ms = fake_remaining, .wait = fake_wait, .secret_put = fake_put, .secret_get = fake_get, .hint = fake_hint,
	.error = fake_error, .pending = fake_pending, .wall_ms = fake_wall, .mono_ms = fake_now, .fault_point = fake_fault,
};

static const struct vs_ref vm_1 = { "VirtualMachine", "vm-1" }, task_1 = { "Task", "task-1" }, folder_1 = { "Folder", "group-v1" };
static const struct pcg_provider *provider;

const struct pcg_provider *pcg_provider_v0(uint32_t host_abi);

/* A machine whose clone is waited for. */
static void setup(void)
{
	void *plugin;
	char err[256];

	memset(&end, 0, sizeof(end));
	provider = pcg_provider_v0((uint32_t)PCG_PROVIDER_ABI_MAJOR << 16 | PCG_PROVIDER_ABI_MINOR);
	ck_assert_int_eq(provider->start(NULL, &services, &plugin, err, sizeof(err)), 0);
	end.v = plugin;
	track_set_task(end.v, "m1", "u1", TASK_CLONE, &task_1, &folder_1, 5000);
}

static void teardown(void)
{
	end.ended = false;
	provider->stop(end.v, 1);
}

static void watch(const char *const *updates)
{
	end.updates = updates;
	provider->watch(end.v, NULL, "{}");
}

static void got(struct track *t)
{
	ck_assert(track_get(end.v, "m1", t));
}

START_TEST(asks_for_the_rest_of_a_truncated_update_at_once)
{
	static const char *const updates[] = {
		UPDATE("1", "true", OBJECT("VirtualMachine", "vm-9", CHANGE("name", "<val>x</val>"))),
		UPDATE("2", "false",
		       OBJECT("Task", "task-1", CHANGE("info.state", "<val>success</val>")
			      CHANGE("info.result", "<val xsi:type=\"ManagedObjectReference\" type=\"VirtualMachine\">vm-1</val>"))),
		NULL,
	};
	struct track t;

	watch(updates);
	ck_assert_uint_eq(end.waits, 3);
	ck_assert_str_eq(end.versions[0], "");
	ck_assert_str_eq(end.versions[1], "1");
	ck_assert_str_eq(end.versions[2], "2");
	ck_assert_uint_eq(end.pauses_before[1], 0);
	ck_assert_uint_ge(end.pauses_before[2], 1);
	ck_assert_str_eq(end.hints, "m1 ");
	got(&t);
	ck_assert(t.task_done && !t.task_failed);
	ck_assert_str_eq(t.vm.value, "vm-1");
	track_copy_free(&t);
}
END_TEST

/* Truncated and empty, the same version, none, no update at all: none of it may be asked for as fast as it comes. */
static const char *const nothings[] = {
	UPDATE("1", "true", ""), UPDATE("", "true", OBJECT("VirtualMachine", "vm-9", CHANGE("name", "<val>x</val>"))),
	HEAD "<WaitForUpdatesExResponse xmlns=\"urn:vim25\"/>" TAIL,
};

START_TEST(an_answer_without_news_is_not_asked_for_in_a_hurry)
{
	const char *const updates[] = { nothings[_i], nothings[_i], nothings[_i], nothings[_i], nothings[_i], NULL };

	watch(updates);
	ck_assert_uint_eq(end.waits, 6);
	/* 100, 200, 400, 800, 1600 ms, and what is waited for anyway */
	ck_assert_uint_ge(end.clock, 3100);
	ck_assert_str_eq(end.hints, "");
}
END_TEST

/* govmomi's simulator has one version for all that it tells. */
START_TEST(news_under_one_version_are_waited_for_at_once)
{
	static const char half[] = UPDATE("-", "false", OBJECT("Task", "task-1", CHANGE("info.state", "<val>running</val>")));
	static const char whole[] = UPDATE("-", "false", OBJECT("Task", "task-1", CHANGE("info.state", "<val>success</val>")));
	const char *updates[101] = { NULL };
	struct track t;

	for (int i = 0; i < 50; i++)
		updates[i] = i < 49 ? half : whole;
	watch(updates);
	ck_assert_uint_eq(end.waits, 51);
	ck_assert_uint_lt(end.clock, 51 * 30 + 100); /* what begins meanwhile is waited for anyway */
	got(&t);
	ck_assert(t.task_done);
	track_copy_free(&t);
	/* Unless they are always the same. */
	teardown();
	setup();
	for (int i = 0; i < 100; i++)
		updates[i] = half;
	watch(updates);
	ck_assert_uint_eq(end.waits, 101);
	ck_assert_uint_ge(end.clock, 101 * 25 + 3500);
}
END_TEST

/* What is made for the wait has to be named by the answer. */
START_TEST(waits_for_nothing_that_has_no_name)
{
	static const char *const updates[] = { NULL };

	end.nameless = _i % 2 ? "CreateFilter" : "CreateListView";
	end.absent = _i / 2;
	watch(updates);
	ck_assert_uint_eq(end.waits, 0);
	ck_assert_uint_eq(end.class, PCG_ERR_RETRY);
	ck_assert_msg(strstr(end.text, end.nameless) != NULL, "%s", end.text);
}
END_TEST

/* A clone that ended well: without a result, or with one that is no machine. */
static const char *const results[] = {
	"", CHANGE("info.result", "<val xsi:type=\"ManagedObjectReference\" type=\"Folder\">group-v9</val>"),
	CHANGE("info.result", "<val/>"),
};

START_TEST(a_clone_that_names_no_machine_is_looked_for_by_its_uuid)
{
	static const char doc[] = "{\"cluster\":{\"uid\":\"c1\",\"spec\":{}}, \"machine\":{\"uid\":\"m1\", \"name\":\"n1\"},"
				  "\"mark\":{}, \"checkpoint\":{\"task\":\"task-1\", \"folder\":\"group-v1\"}}";
	AUTO_FREE char *update = NULL;
	struct track t;

	ck_assert_int_gt(asprintf(&update, UPDATE("1", "false", OBJECT("Task", "task-1", CHANGE("info.state", "<val>success</val>") "%s")),
				  results[_i / 2]), 0);
	watch((const char *const[]){ update, NULL });
	end.ended = false;
	end.class = 0;
	end.found = _i % 2 ? "vm-7" : NULL;
	provider->machine_ensure(end.v, NULL, doc);
	ck_assert_ptr_nonnull(strstr(end.calls, "FindByUuid "));
	ck_assert_ptr_null(strstr(end.calls, "PowerOnVM_Task"));
	if (end.found) {
		ck_assert(end.pended);
		got(&t);
		ck_assert_str_eq(t.vm.value, "vm-7");
		track_copy_free(&t);
	} else {
		ck_assert_uint_eq(end.class, PCG_ERR_RETRY);
		ck_assert_msg(strstr(end.text, "task task-1, which cloned it, has ended well but names no machine") != NULL, "%s", end.text);
	}
}
END_TEST

#define CJK10 "\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4\xe7\xbe\xa4"
#define CJK80 CJK10 CJK10 CJK10 CJK10 CJK10 CJK10 CJK10 CJK10

/* A text that no document takes would be an answer without it: a folder that is left would not be told. */
START_TEST(what_is_cut_to_fit_is_still_a_text)
{
	static const char *const updates[] = {
		UPDATE("1", "false", OBJECT("VirtualMachine", "vm-1", CHANGE("name", "<val>" CJK80 "</val>"))), NULL,
	};
	AUTO_JSON json_t *problems = json_array(), *name = NULL, *text = NULL;
	struct vs_err err;
	struct track t;

	track_set_vm(end.v, "m1", "u1", &vm_1);
	watch(updates);
	got(&t);
	name = json_string(t.name);
	ck_assert_ptr_nonnull(name);
	ck_assert_uint_gt(strlen(t.name), 120);
	track_copy_free(&t);
	vs_problem(problems, "f", "r", "%.100s", CJK80);
	ck_assert_uint_eq(json_array_size(problems), 1);
	for (int i = 0; i < 3; i++) {
		vs_fail(&err, PCG_ERR_RETRY, "r", "%.*s" CJK80 CJK80 CJK80 CJK80, i, "xx");
		text = json_string(err.text);
		ck_assert_ptr_nonnull(text);
		json_decref(text);
	}
	text = NULL;
}
END_TEST

/* What was read of one machine is nothing that is known of the next. */
START_TEST(a_machine_that_is_found_elsewhere_is_read_anew)
{
	static const char *const updates[] = {
		UPDATE("1", "false", OBJECT("VirtualMachine", "vm-1", CHANGE("config.instanceUuid", "<val>u9</val>")
					    CHANGE("config.extraConfig[\"pcg.cluster\"]", "<val><key>pcg.cluster</key><value>c9</value></val>")
					    CHANGE("runtime.powerState", "<val>poweredOn</val>") CHANGE("guest.ipAddress", "<val>10.9.0.9</val>"))),
		NULL,
	};
	static const struct vs_ref elsewhere = { "VirtualMachine", "vm-2" };
	struct track t;

	track_set_vm(end.v, "m1", "u1", &vm_1);
	watch(updates);
	for (int i = 0; i < 2; i++) {
		track_set_vm(end.v, "m1", "u1", i ? &elsewhere : &vm_1);
		got(&t);
		ck_assert_int_eq(t.known, !i);
		ck_assert_str_eq(t.instance, i ? "" : "u9");
		ck_assert_str_eq(t.cluster, i ? "" : "c9");
		ck_assert_uint_eq(json_array_size(t.addresses), i ? 0 : 1);
		track_copy_free(&t);
	}
}
END_TEST

/* Somebody removes it each time, as soon as it is there. */
START_TEST(a_machine_that_is_removed_each_time_is_not_cloned_in_a_hurry)
{
	static const char doc[] = "{\"cluster\":{\"uid\":\"c1\",\"spec\":{}}, \"machine\":{\"uid\":\"m1\", \"name\":\"n1\"},"
				  "\"mark\":{}, \"checkpoint\":{\"task\":\"task-1\", \"folder\":\"group-v1\"}}";
	struct vs_err err = { .text = "" };

	for (int i = 0; i < 3; i++) {
		ck_assert(!clone_limit_held(end.v->clones, "m1", fake_now(NULL), &err));
		track_set_task(end.v, "m1", "u1", TASK_DESTROY, &task_1, &folder_1, 5000);
		watch((const char *const[]){ UPDATE("1", "false", OBJECT("Task", "task-1", CHANGE("info.state", "<val>success</val>"))), NULL });
		end.ended = false;
		end.next = end.waits = 0;
		end.v->tracks->view.made = false;
		provider->machine_ensure(end.v, NULL, doc);
		ck_assert(end.pended);
		ck_assert_int_eq(clone_limit_held(end.v->clones, "m1", fake_now(NULL), &err), i > 0);
		end.clock += 60000;
	}
	ck_assert_msg(strstr(err.text, "removed by somebody before it was handed over") && *err.remedy, "%s", err.text);
}
END_TEST

START_TEST(begins_anew_with_no_version_when_its_own_is_not_known)
{
	static const char *const faults[] = { FAULT("InvalidCollectorVersion"), FAULT("NotAuthenticated"),
					      FAULT("ManagedObjectNotFound") };
	const char *const updates[] = { UPDATE("7", "false", ""), faults[_i], UPDATE("1", "false", ""), NULL };

	watch(updates);
	ck_assert_uint_eq(end.waits, 4);
	ck_assert_str_eq(end.versions[1], "7");
	ck_assert_str_eq(end.versions[2], "");
	ck_assert_str_eq(end.versions[3], "1");
	/* In the same session the old ones would tell everything a second time. */
	ck_assert_int_eq(strstr(end.calls, "DestroyPropertyFilter DestroyView ") != NULL, _i != 1);
	ck_assert_int_eq(strstr(strstr(end.calls, "Login ") + 1, "Login ") != NULL, _i == 1);
	ck_assert_uint_eq(end.class, PCG_ERR_CANCELLED);
}
END_TEST

START_TEST(ends_when_it_is_lost_again_and_again)
{
	static const char *const updates[] = { FAULT("InvalidCollectorVersion"), FAULT("InvalidCollectorVersion"),
					       FAULT("InvalidCollectorVersion"), UPDATE("1", "false", ""), NULL };

	watch(updates);
	ck_assert_uint_eq(end.waits, 3);
	ck_assert_uint_eq(end.class, PCG_ERR_RETRY);
	ck_assert_ptr_nonnull(strstr(end.text, "InvalidCollectorVersion"));
}
END_TEST

/* The property collector answers 200 without a session too. */
START_TEST(takes_nothing_for_a_change_when_the_session_is_over)
{
	static const char *const updates[] = {
		UPDATE("3", "false", OBJECT("VirtualMachine", "vm-1", MISSING("runtime.powerState", "NotAuthenticated"))),
		UPDATE("1", "false", ""),
		NULL,
	};
	struct track t;

	track_set_vm(end.v, "m1", "u1", &vm_1);
	watch(updates);
	ck_assert_uint_eq(end.waits, 3);
	ck_assert_str_eq(end.versions[1], "");
	got(&t);
	ck_assert(!t.known);
	track_copy_free(&t);
}
END_TEST

START_TEST(looks_for_what_the_server_does_not_know)
{
	static const char *const updates[] = {
		UPDATE("3", "false", "<missingSet><obj type=\"VirtualMachine\">vm-1</obj><fault><fault xsi:type=\"ManagedObjectNotFound\"/>"
				     "</fault></missingSet>"),
		NULL,
	};
	struct track t;

	track_set_vm(end.v, "m1", "u1", &vm_1);
	watch(updates);
	ck_assert_str_eq(end.hints, "m1 ");
	got(&t);
	ck_assert(!t.gone);
	ck_assert_uint_eq(t.next_poll, 0);
	track_copy_free(&t);
}
END_TEST

START_TEST(makes_a_view_though_something_of_it_has_gone)
{
	static const char *const updates[] = { UPDATE("1", "false", ""), NULL };

	end.list_refused = true;
	watch(updates);
	ck_assert_ptr_nonnull(strstr(end.calls, "CreateListView CreateListView CreateFilter ModifyListView WaitForUpdatesEx "));
	/* The answer says which it was: it is looked at. */
	ck_assert_str_eq(end.hints, "m1 ");
	ck_assert_uint_eq(end.waits, 2);
}
END_TEST

START_TEST(says_what_the_user_may_not_read)
{
	static const char *const updates[] = {
		UPDATE("3", "false", OBJECT("VirtualMachine", "vm-1", MISSING("runtime.powerState", "NoPermission"))),
		NULL,
	};
	struct vs_err err;

	track_set_vm(end.v, "m1", "u1", &vm_1);
	track_set_task(end.v, "m1", "u1", TASK_ON, &task_1, NULL, 5000);
	watch(updates);
	ck_assert_int_eq(track_poll_due(end.v, NULL, "m1", &err), -1);
	ck_assert_uint_eq(err.class, PCG_ERR_AUTH);
	ck_assert_ptr_nonnull(strstr(err.text, "runtime.powerState"));
}
END_TEST

/* They come in different updates, each with what has changed alone. */
START_TEST(puts_addresses_together_from_what_changes)
{
	static const char *const updates[] = {
		UPDATE("1", "false", OBJECT("VirtualMachine", "vm-1", CHANGE("runtime.powerState", "<val>poweredOn</val>")
					    CHANGE("guest.ipAddress", "<val>172.17.0.1</val>"))),
		UPDATE("2", "false",
		       OBJECT("VirtualMachine", "vm-1",
			      CHANGE("guest.net",
				     "<val xsi:type=\"ArrayOfGuestNicInfo\"><GuestNicInfo><ipAddress>10.1.2.3</ipAddress><ipAddress>fe80::1"
				     "</ipAddress><ipAddress>10.1.2.4</ipAddress><deviceConfigId>4000</deviceConfigId></GuestNicInfo>"
				     "<GuestNicInfo><ipAddress>172.17.0.1</ipAddress><deviceConfigId>-1</deviceConfigId></GuestNicInfo></val>"))),
		UPDATE("3", "false", OBJECT("VirtualMachine", "vm-1", CHANGE("guest.ipAddress", "<val>10.1.2.4</val>"))),
		NULL,
	};
	struct track t;

	track_set_vm(end.v, "m1", "u1", &vm_1);
	watch(updates);
	got(&t);
	ck_assert_uint_eq(json_array_size(t.addresses), 2);
	ck_assert_str_eq(json_string_value(json_array_get(t.addresses, 0)), "10.1.2.4");
	ck_assert_str_eq(json_string_value(json_array_get(t.addresses, 1)), "10.1.2.3");
	track_copy_free(&t);
}
END_TEST

static json_t *net_of(const char *nics)
{
	AUTO_FREE char *text = NULL;
	struct vs_err err;
	struct xn *n;
	json_t *list;

	ck_assert_int_gt(asprintf(&text, HEAD "<val>%s</val>" TAIL, nics), 0);
	ck_assert_msg(xn_parse(text, strlen(text), &n, &err) == 0, "%s", err.text);
	list = addresses_of_net(xn_at(n, "Body", "val"));
	xn_free(n);
	return list;
}

START_TEST(takes_addresses_that_others_reach_alone)
{
	static const struct { const char *nics, *expected; } table[] = {
		{ "", "" },
		{ "<n><ipAddress>10.0.0.1</ipAddress></n>", "10.0.0.1" },
		{ "<n><ipAddress>127.0.0.1</ipAddress><ipAddress>169.254.3.4</ipAddress><ipAddress>0.0.0.0</ipAddress><ipAddress>"
		  "224.0.0.5</ipAddress><ipAddress>255.255.255.255</ipAddress><ipAddress>10.0.0.1</ipAddress></n>", "10.0.0.1" },
		{ "<n><ipAddress>::1</ipAddress><ipAddress>::</ipAddress><ipAddress>fe80::250:56ff:fe00:1</ipAddress><ipAddress>febf::1"
		  "</ipAddress><ipAddress>ff02::1</ipAddress><ipAddress>fec0::1</ipAddress><ipAddress>2001:db8::1</ipAddress></n>",
		  "fec0::1 2001:db8::1" },
		{ "<n><ipAddress>2001:db8::1</ipAddress><ipAddress>2001:DB8:0::1</ipAddress></n>", "2001:db8::1" },
		{ "<n><ipAddress>no address</ipAddress><ipAddress/></n>", "" },
		{ "<n><ipAddress>10.244.0.1</ipAddress><deviceConfigId>-1</deviceConfigId></n><n><ipAddress>10.0.0.1</ipAddress>"
		  "<deviceConfigId>4000</deviceConfigId></n>", "10.0.0.1" },
		{ "<n><ipAddress>10.0.0.1</ipAddress><ipAddress>10.0.0.2</ipAddress><ipConfig><ipAddress><ipAddress>10.0.0.1</ipAddress>"
		  "<state>duplicate</state></ipAddress><ipAddress><ipAddress>10.0.0.2</ipAddress><state>preferred</state></ipAddress>"
		  "</ipConfig></n>", "10.0.0.2" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		AUTO_JSON json_t *list = net_of(table[i].nics);
		char text[256] = "";
		size_t k;
		json_t *a;

		json_array_foreach(list, k, a)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", k ? " " : "", json_string_value(a));
		ck_assert_str_eq(text, table[i].expected);
	}
}
END_TEST

static void check_first(const char *cluster, const char *pool, const char *expected)
{
	AUTO_JSON json_t *c = json_loads(cluster, 0, NULL), *p = json_loads(pool, 0, NULL);
	AUTO_JSON json_t *all = json_loads("[\"10.1.0.1\",\"10.2.0.1\",\"10.9.0.1\",\"2001:db8::5\",\"2001:db8::0:9\"]", 0, NULL);
	AUTO_JSON json_t *list = addresses_for(end.v, c, p, all);
	AUTO_FREE char *text = json_dumps(list, JSON_COMPACT);

	ck_assert_str_eq(text, expected);
}

START_TEST(prefers_a_network_and_leaves_out_the_virtual_address)
{
	static const char none[] = "{\"spec\":{\"controlPlaneEndpoint\":{\"host\":\"api.test\"}}}";

	check_first(none, "{}", "[\"10.9.0.1\",\"10.1.0.1\",\"10.2.0.1\",\"2001:db8::5\",\"2001:db8::0:9\"]");
	check_first("{\"spec\":{\"controlPlaneEndpoint\":{\"host\":\"10.9.0.1\"}}}", "{}",
		    "[\"10.1.0.1\",\"10.2.0.1\",\"2001:db8::5\",\"2001:db8::0:9\"]");
	check_first("{\"spec\":{\"controlPlaneEndpoint\":{\"host\":\"2001:db8:0::9\"},\"cloudConfig\":{\"placement\":{\"network\":"
		    "{\"preferredAPIServerCidr\":\"10.2.0.0/24\"}}}}}", "{}", "[\"10.2.0.1\",\"10.1.0.1\",\"10.9.0.1\",\"2001:db8::5\"]");
	check_first(none, "{\"cloudConfig\":{\"placements\":[{\"network\":{\"preferredAPIServerCidr\":\"2001:db8::/64, 10.1.0.0/16\"}}]}}",
		    "[\"10.1.0.1\",\"2001:db8::5\",\"2001:db8::0:9\",\"10.2.0.1\",\"10.9.0.1\"]");
	ck_assert(!address_within("10.1.0.1", "10.1.0.1"));
	ck_assert(!address_within("10.1.0.1", "10.1.0.0/33"));
	ck_assert(!address_within("10.1.0.1", "2001:db8::/0"));
	ck_assert(address_within("10.1.0.1", "0.0.0.0/0"));
}
END_TEST

static const struct vs_err refused = { .class = PCG_ERR_RETRY, .text = "Login at vc.test: connection refused" };

/* Three calls without an answer, of whatever ops. */
static struct vs_outage *outage_begun(void)
{
	struct vs_outage *o = vs_outage_new(&services, NULL, "vc.test");
	struct vs_err err;

	for (int i = 0; i < 3; i++) {
		ck_assert(!vs_outage_on(o));
		ck_assert(!vs_outage_blocks(o, &err));
		vs_outage_result(o, true, false, &refused);
	}
	ck_assert(vs_outage_on(o));
	return o;
}

START_TEST(tells_an_outage_once_whoever_meets_it)
{
	struct vs_outage *o = outage_begun(), *next;
	struct vs_err first, err;

	vs_outage_subject("c1");
	ck_assert(vs_outage_blocks(o, &first));
	ck_assert_ptr_nonnull(strstr(first.text, "vc.test has not answered since 2023-11-14T22:13:20Z"));
	ck_assert_ptr_nonnull(strstr(first.text, "connection refused"));
	ck_assert_str_ne(first.remedy, "");
	for (int i = 0; i < 50; i++) {
		vs_outage_subject(i % 2 ? "c1" : "c2");
		ck_assert(vs_outage_blocks(o, &err));
		ck_assert_str_eq(err.text, first.text);
	}
	ck_assert_str_eq(end.events, "vcenter_away ");
	/* The next worker of the account knows: it logs nothing, and its first call tries. */
	next = vs_outage_new(&services, NULL, "vc.test");
	ck_assert(vs_outage_on(next));
	ck_assert(!vs_outage_blocks(next, &err));
	ck_assert(vs_outage_blocks(next, &err));
	ck_assert_str_eq(err.text, first.text);
	vs_outage_result(next, true, false, &refused);
	vs_outage_free(next);
	ck_assert_str_eq(end.events, "vcenter_away ");
	/* One at a time tries, ever more slowly; a fault is an answer. */
	end.clock += 1000;
	ck_assert(!vs_outage_refuses(o, &err));
	ck_assert(!vs_outage_blocks(o, &err));
	ck_assert(vs_outage_refuses(o, &err));
	ck_assert(vs_outage_blocks(o, &err));
	vs_outage_result(o, true, false, &refused);
	end.clock += 1500;
	ck_assert(vs_outage_blocks(o, &err));
	end.clock += 500;
	ck_assert(!vs_outage_blocks(o, &err));
	vs_outage_result(o, false, false, NULL);
	ck_assert(!vs_outage_on(o));
	ck_assert(!vs_outage_blocks(o, &err));
	ck_assert_str_eq(end.events, "vcenter_away vcenter_back ");
	ck_assert(strstr(end.hints, "c1 ") && strstr(end.hints, "c2 "));
	ck_assert_uint_eq(strlen(end.hints), 6);
	ck_assert_str_eq(end.kept, "");
	vs_outage_free(o);
}
END_TEST

START_TEST(takes_single_failures_for_no_outage)
{
	struct vs_outage *o = vs_outage_new(&services, NULL, "vc.test");
	struct vs_err err;

	for (int i = 0; i < 20; i++) {
		vs_outage_result(o, true, false, &refused);
		vs_outage_result(o, true, false, &refused);
		vs_outage_result(o, false, false, NULL);
		vs_outage_result(o, false, true, &refused);
		ck_assert(!vs_outage_blocks(o, &err));
	}
	ck_assert_str_eq(end.events, "");
	vs_outage_free(o);
}
END_TEST

/* It goes on trying, for nobody else may. */
START_TEST(the_watch_waits_for_the_end_of_an_outage)
{
	static const char *const updates[] = { UPDATE("1", "false", ""), NULL };
	struct vs_err err;

	/* Two of ops; then the watch's own, its third try at the end of it. */
	end.away = 2 + 3;
	for (int i = 0; i < 2; i++) {
		unsigned generation;

		ck_assert_int_eq(vs_session_open(&end.v->session, NULL, &generation, &err), -1);
	}
	watch(updates);
	ck_assert_str_eq(end.events, "vcenter_away vcenter_back ");
	ck_assert_uint_eq(end.waits, 2);
	ck_assert_uint_ge(end.clock, 1000 + 2000);
	ck_assert_int_eq(end.away, 0);
}
END_TEST

START_TEST(holds_a_clone_back_that_fails_again_and_again)
{
	struct clone_limit *cl = clone_limit_new(0);
	struct vs_err full = { .class = PCG_ERR_QUOTA, .fault = "NoDiskSpace", .text = "no space" }, err;

	clone_limit_failed(cl, "m1", &full, 1000);
	ck_assert(!clone_limit_held(cl, "m1", 1000, &err));
	clone_limit_failed(cl, "m1", &full, 2000);
	ck_assert(clone_limit_held(cl, "m1", 3999, &err));
	ck_assert_str_eq(err.text, "no space");
	ck_assert(!clone_limit_held(cl, "m1", 4000, &err));
	ck_assert(!clone_limit_held(cl, "m2", 2000, &err));
	for (int i = 0; i < 20; i++)
		clone_limit_failed(cl, "m1", &full, 10000);
	ck_assert(clone_limit_held(cl, "m1", 69999, &err));
	ck_assert(!clone_limit_held(cl, "m1", 70000, &err));
	clone_limit_made(cl, "m1");
	clone_limit_failed(cl, "m1", &full, 80000);
	ck_assert(!clone_limit_held(cl, "m1", 80000, &err));
	clone_limit_free(cl);
}
END_TEST

static void ended(struct clone_limit *cl, const char *fault, uint64_t began, uint64_t now)
{
	struct clone_task_end e = { fault, began, now };

	clone_limit_ended(cl, &e);
}

START_TEST(halves_the_window_once_for_clones_that_began_together_and_opens_it_by_one_for_each_round)
{
	static const char *const crowded[] = { "LimitExceeded", "Timedout", "TooManyConcurrentNativeClones", "HostCommunication" };
	struct clone_limit *cl = clone_limit_new(42);
	struct vs_err lost = { .class = PCG_ERR_RETRY }, full = { .class = PCG_ERR_QUOTA, .fault = "NoDiskSpace" };

	for (unsigned i = 0; i < 10; i++)
		ended(cl, "", 1000, 3000);
	ck_assert_uint_eq(clone_limit_window(cl), 42);
	for (size_t i = 0; i < ARRAY_LEN(crowded); i++)
		ended(cl, crowded[i], 4000, 5000 + i);
	ck_assert_uint_eq(clone_limit_window(cl), 21);
	for (unsigned i = 0; i < 22; i++)
		ended(cl, "", 6000, 8000);
	ck_assert_uint_eq(clone_limit_window(cl), 22);
	/* What is wrong with one request says nothing of the vCenter's load. */
	ended(cl, "NoDiskSpace", 9000, 9500);
	ended(cl, "InvalidArgument", 9000, 9500);
	ck_assert_uint_eq(clone_limit_window(cl), 22);
	/* Requests without an answer, all of one moment. */
	for (unsigned i = 0; i < 8; i++) {
		ck_assert(clone_limit_enter(cl, "m", 0, 20000));
		clone_limit_sent(cl, &lost, 20000 + i * 50);
	}
	ck_assert_uint_eq(clone_limit_window(cl), 11);
	ck_assert(clone_limit_enter(cl, "m", 0, 30000));
	clone_limit_sent(cl, &full, 30000);
	ck_assert_uint_eq(clone_limit_window(cl), 11);
	/* Many times as long as the fastest: vCenter lets them wait. */
	ended(cl, "", 40000, 40000 + 2000 * 40);
	ck_assert_uint_eq(clone_limit_window(cl), 5);
	for (unsigned i = 0; i < 10; i++)
		ended(cl, "SystemError", 200000 + i * 1000, 200500 + i * 1000);
	ck_assert_uint_eq(clone_limit_window(cl), 1);
	clone_limit_free(cl);
	cl = clone_limit_new(3);
	ended(cl, "", 1000, 2000);
	ck_assert_uint_eq(clone_limit_window(cl), 3);
	clone_limit_free(cl);
}
END_TEST

START_TEST(lets_clones_in_in_the_order_of_coming)
{
	struct clone_limit *cl = clone_limit_new(2);
	char next[64];

	ck_assert(clone_limit_enter(cl, "a", 0, 1000));
	ck_assert(clone_limit_enter(cl, "b", 0, 1000));
	ck_assert(!clone_limit_enter(cl, "c", 0, 1000));
	clone_limit_sent(cl, NULL, 1100);
	clone_limit_sent(cl, NULL, 1100);
	ck_assert(!clone_limit_enter(cl, "d", 2, 1200));
	ck_assert(!clone_limit_next(cl, 2, 1300, next));
	/* One place: c's, whoever asks first. */
	ck_assert(clone_limit_next(cl, 1, 1400, next));
	ck_assert_str_eq(next, "c");
	ck_assert(!clone_limit_next(cl, 1, 1400, next));
	ck_assert(!clone_limit_enter(cl, "d", 1, 1500));
	ck_assert(!clone_limit_enter(cl, "e", 1, 1500));
	ck_assert(clone_limit_enter(cl, "c", 1, 1600));
	clone_limit_sent(cl, NULL, 1700);
	/* d was told and never came: its place is the next one's after a while, and later it is out of the line. */
	ck_assert(clone_limit_next(cl, 1, 1800, next));
	ck_assert_str_eq(next, "d");
	ck_assert(!clone_limit_enter(cl, "e", 1, 2000));
	ck_assert(clone_limit_enter(cl, "e", 1, 6000));
	clone_limit_sent(cl, NULL, 6000);
	ck_assert(!clone_limit_enter(cl, "f", 2, 30000));
	ck_assert(clone_limit_next(cl, 0, 30000, next));
	ck_assert_str_eq(next, "f");
	clone_limit_free(cl);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsphere watch");
	TCase *tc = tcase_create("watch");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, asks_for_the_rest_of_a_truncated_update_at_once);
	tcase_add_loop_test(tc, an_answer_without_news_is_not_asked_for_in_a_hurry, 0, ARRAY_LEN(nothings));
	tcase_add_test(tc, news_under_one_version_are_waited_for_at_once);
	tcase_add_loop_test(tc, waits_for_nothing_that_has_no_name, 0, 4);
	tcase_add_loop_test(tc, a_clone_that_names_no_machine_is_looked_for_by_its_uuid, 0, 2 * ARRAY_LEN(results));
	tcase_add_test(tc, what_is_cut_to_fit_is_still_a_text);
	tcase_add_test(tc, a_machine_that_is_found_elsewhere_is_read_anew);
	tcase_add_test(tc, a_machine_that_is_removed_each_time_is_not_cloned_in_a_hurry);
	tcase_add_loop_test(tc, begins_anew_with_no_version_when_its_own_is_not_known, 0, 3);
	tcase_add_test(tc, ends_when_it_is_lost_again_and_again);
	tcase_add_test(tc, takes_nothing_for_a_change_when_the_session_is_over);
	tcase_add_test(tc, looks_for_what_the_server_does_not_know);
	tcase_add_test(tc, makes_a_view_though_something_of_it_has_gone);
	tcase_add_test(tc, says_what_the_user_may_not_read);
	tcase_add_test(tc, puts_addresses_together_from_what_changes);
	tcase_add_test(tc, takes_addresses_that_others_reach_alone);
	tcase_add_test(tc, prefers_a_network_and_leaves_out_the_virtual_address);
	tcase_add_test(tc, halves_the_window_once_for_clones_that_began_together_and_opens_it_by_one_for_each_round);
	tcase_add_test(tc, lets_clones_in_in_the_order_of_coming);
	tcase_add_test(tc, holds_a_clone_back_that_fails_again_and_again);
	tcase_add_test(tc, tells_an_outage_once_whoever_meets_it);
	tcase_add_test(tc, takes_single_failures_for_no_outage);
	tcase_add_test(tc, the_watch_waits_for_the_end_of_an_outage);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
