/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/fault.h"
#include "plugins/vsphere/track_impl.h"

#include "core/attr.h"
#include "core/base64.h"
#include "core/id.h"

#include <check.h>
#include <libxml/parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Replies that govmomi's simulator 0.24.2 gave, and a table of services that hands them out. */

static char *sample(const char *name, size_t *len)
{
	char path[4096], *text = calloc(1, 65536);
	FILE *f;

	snprintf(path, sizeof(path), TEST_SAMPLES "/%s.xml", name);
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "%s", path);
	*len = fread(text, 1, 65535, f);
	fclose(f);
	return text;
}

static struct xn *parsed(const char *name)
{
	size_t len;
	AUTO_FREE char *text = sample(name, &len);
	struct vs_err err;
	struct xn *n = NULL;

	ck_assert_msg(xn_parse(text, len, &n, &err) == 0, "%s: %s", name, err.text);
	return n;
}

START_TEST(reads_references_whatever_prefix_their_types_have)
{
	struct xn *n = parsed("RetrieveServiceContent");
	const struct xn *content = xn_child(vs_result(n), "returnval");
	struct vs_ref ref;

	ck_assert(xn_ref(xn_child(content, "rootFolder"), &ref));
	ck_assert_str_eq(ref.type, "Folder");
	ck_assert_str_eq(ref.value, "group-d1");
	ck_assert_str_eq(xn_get(xn_child(content, "about"), "apiType"), "VirtualCenter");
	xn_free(n);
	n = parsed("RetrievePropertiesEx-maxObjects1");
	content = xn_at(vs_result(n), "returnval", "objects");
	ck_assert_str_eq(xn_text(xn_prop(content, "name")), "DC0_C0_RP0_VM0");
	ck_assert_str_eq(xn_text(xn_prop(xn_next(content, "objects"), "name")), "DC0_C0_RP0_VM1");
	ck_assert_ptr_null(xn_prop(content, "nothing"));
	xn_free(n);
	n = parsed("FindByInventoryPath-absent");
	ck_assert(!xn_ref(xn_child(vs_result(n), "returnval"), &ref));
	xn_free(n);
	n = parsed("WaitForUpdatesEx-first");
	content = xn_at(xn_child(vs_result(n), "returnval"), "filterSet", "objectSet");
	ck_assert_str_eq(xn_get(content, "kind"), "enter");
	ck_assert_str_eq(xn_text(xn_prop(content, "guest.ipAddress")), "10.9.8.7");
	xn_free(n);
}
END_TEST

START_TEST(refuses_what_is_no_reply)
{
	static const char head[] = "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\">";
	char deep[4096] = "";
	const char *const bad[] = {
		"", "not xml", "<html/>", "<Envelope><Body/></Envelope>",
		"<!DOCTYPE a [<!ENTITY b \"c\">]><Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body>&b;</Body></Envelope>",
		"<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body/></Envelope>",
		"<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Header/></Envelope>",
		"<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body><a>", deep,
	};

	strcat(deep, head);
	strcat(deep, "<Body>");
	for (int i = 0; i < 100; i++)
		strcat(deep, "<a>");
	for (int i = 0; i < 100; i++)
		strcat(deep, "</a>");
	strcat(deep, "</Body></Envelope>");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct xn *n = NULL;
		struct vs_err err;

		ck_assert_msg(xn_parse(bad[i], strlen(bad[i]), &n, &err) == -1, "%s", bad[i]);
		ck_assert_ptr_null(n);
		ck_assert_str_ne(err.text, "");
	}
}
END_TEST

START_TEST(classes_faults_and_keeps_the_name_of_unknown_ones)
{
	static const struct { const char *type; uint32_t class; } table[] = {
		{ "InvalidLogin", PCG_ERR_AUTH }, { "NoPermission", PCG_ERR_AUTH }, { "DuplicateName", PCG_ERR_CONFLICT },
		{ "NoDiskSpace", PCG_ERR_QUOTA }, { "ManagedObjectNotFound", PCG_ERR_NOT_FOUND },
		{ "TaskInProgress", PCG_ERR_RETRY }, { "InvalidArgument", PCG_ERR_PERMANENT },
		{ "InsufficientHostCpuCapacityFault", PCG_ERR_QUOTA }, { "InsufficientStandbyCpuResource", PCG_ERR_QUOTA },
		{ "DeviceHotPlugNotSupported", PCG_ERR_PERMANENT }, { "QuestionPending", PCG_ERR_RETRY },
		{ "SomethingNewFault", PCG_ERR_RETRY },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct vs_err err;

		vs_fault(&err, "CloneVM_Task", table[i].type, "what the server said");
		ck_assert_uint_eq(err.class, table[i].class);
		ck_assert_ptr_nonnull(strstr(err.text, table[i].type));
		ck_assert_ptr_nonnull(strstr(err.text, "what the server said"));
		ck_assert_str_ne(err.remedy, "");
	}
	for (size_t i = 0; vs_fault_type(i); i++) {
		struct vs_err err;

		vs_fault(&err, "CloneVM_Task", vs_fault_type(i), "");
		ck_assert_msg(strstr(err.text, vs_fault_type(i)) && *err.remedy && !strstr(err.text, "answered"), "%s", err.text);
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(vs_fault_type(i), vs_fault_type(k));
	}
}
END_TEST

/* As vCenter 8 answers a role that lacks a privilege, and a clone whose host refused it. */
START_TEST(tells_what_a_fault_says_of_itself)
{
	static const struct { const char *fault, *class, *texts[3], *remedy; } table[] = {
		{ "<NoPermissionFault xmlns=\"urn:vim25\" xsi:type=\"NoPermission\"><object type=\"Folder\">group-v3</object>"
		  "<privilegeId>VirtualMachine.Inventory.CreateFromExisting</privilegeId></NoPermissionFault>", "NoPermission",
		  { "object group-v3", "privilegeId VirtualMachine.Inventory.CreateFromExisting", "may not" } },
		{ "<GenericVmConfigFaultFault xmlns=\"urn:vim25\" xsi:type=\"GenericVmConfigFault\"><faultMessage><key>msg.x</key>"
		  "<message>Module 'Disk' power on failed.</message></faultMessage><reason>Disk</reason></GenericVmConfigFaultFault>",
		  "GenericVmConfigFault", { "Module 'Disk' power on failed.", "reason Disk", "(GenericVmConfigFault" } },
		{ "<InvalidArgumentFault xmlns=\"urn:vim25\" xsi:type=\"InvalidArgument\"><invalidProperty>spec.location.host</invalidProperty>"
		  "</InvalidArgumentFault>", "InvalidArgument", { "invalidProperty spec.location.host", "said", "" }, "Turn DRS on" },
		{ "<InvalidArgumentFault xmlns=\"urn:vim25\" xsi:type=\"InvalidArgument\"><invalidProperty>spec.config</invalidProperty>"
		  "</InvalidArgumentFault>", "InvalidArgument", { "invalidProperty spec.config", "said", "" }, "Check the pool" },
		{ "<InvalidLoginFault xmlns=\"urn:vim25\"/>", "InvalidLogin", { "password is wrong", "(InvalidLogin", "said" },
		  "Correct username and password of the cloud account; if both are right, see whether the user is locked" },
		{ "<InsufficientResourcesFault xmlns=\"urn:vim25\"/>", "InsufficientResourcesFault", { "no room", "said", "(Insuf" } },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		char text[1024];
		struct vs_err err;
		struct xn *n = NULL;

		snprintf(text, sizeof(text),
			 "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\" "
			 "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><Body><Fault><detail>%s</detail></Fault></Body></Envelope>",
			 table[i].fault);
		ck_assert_int_eq(xn_parse(text, strlen(text), &n, &err), 0);
		vs_fault_of(&err, "CloneVM_Task", xn_child(xn_at(n, "Body", "Fault"), "detail")->child, "said");
		ck_assert_str_eq(err.fault, table[i].class);
		for (size_t k = 0; k < 3; k++)
			ck_assert_msg(strstr(err.text, table[i].texts[k]) != NULL, "%s lacks %s", err.text, table[i].texts[k]);
		ck_assert_msg(!table[i].remedy || strncmp(err.remedy, table[i].remedy, strlen(table[i].remedy)) == 0, "%s", err.remedy);
		xn_free(n);
	}
}
END_TEST

/* The other end: which sample answers a method, and what was asked. */
static struct {
	pthread_mutex_t lock;
	int logins, logouts, calls, refuse_next;
	bool bad_password;
	char last_cookie[128], kept[4096];
	const char *product;   /* version, NULL: as the sample has it */
	const char *other;     /* in place of the answers to calls */
	char agent[128];       /* of the last login */
	int cookies_to_login, refuse_logouts;
	const char *page;      /* what RetrievePropertiesEx and its continuation answer */
	uint64_t now;
	bool lose_login, lose_logout, forbid_list;
	char lost_agent[128];  /* of a login whose answer was lost */
	char terminated[256];  /* session ids, each with a space behind it */
	int lists, events;
} end = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const char list_head[] =
	"<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body><RetrievePropertiesExResponse xmlns=\"urn:vim25\" "
	"xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><returnval><objects><obj type=\"SessionManager\">SessionManager</obj>";
static const char list_tail[] = "</objects></returnval></RetrievePropertiesExResponse></Body></Envelope>";

/* The sessions of the server: a stranger's, ours, and one of a login that nobody knows the end of. */
static char *session_list(void)
{
	char *text;

	if (end.forbid_list)
		ck_assert_int_gt(asprintf(&text, "%s<missingSet><path>sessionList</path><fault><fault xsi:type=\"NoPermission\"/>"
					  "</fault></missingSet>%s", list_head, list_tail), 0);
	else
		ck_assert_int_gt(asprintf(&text, "%s<propSet><name>sessionList</name><val xsi:type=\"ArrayOfUserSession\">"
					  "<UserSession><key>stranger</key><userAgent>pcg</userAgent></UserSession>"
					  "<UserSession><key>lost</key><userAgent>%s</userAgent></UserSession>"
					  "</val></propSet>%s", list_head, end.lost_agent, list_tail), 0);
	return text;
}

static void note_terminated(const struct pcg_http_request *req)
{
	const char *at = memmem(req->body, req->body_len, "<sessionId>", 11);
	size_t n = strlen(end.terminated);

	ck_assert_ptr_nonnull(at);
	snprintf(end.terminated + n, sizeof(end.terminated) - n, "%.*s ", (int)strcspn(at + 11, "<"), at + 11);
}

/* The sample with another version. */
static char *renamed(const char *name, const char *version)
{
	size_t len;
	AUTO_FREE char *text = sample(name, &len);
	char *at = strstr(text, "<version>"), *out;

	ck_assert_ptr_nonnull(at);
	ck_assert_int_gt(asprintf(&out, "%.*s<version>%s%s", (int)(at - text), text, version, strstr(at, "</version>")), 0);
	return out;
}

static int32_t fake_http(struct pcg_host *h, struct pcg_call *call, const struct pcg_http_request *req,
			 struct pcg_http_response *resp)
{
	static const struct pcg_http_header cookie[] = { { "set-cookie", "vmware_soap_session=abc-1; Path=/; HttpOnly; Secure" } };
	const char *name = NULL, *sent = NULL, *agent = "", *method = memmem(req->body, req->body_len, "Body><", 6);
	char *body = NULL;
	size_t len;

	pthread_mutex_lock(&end.lock);
	end.calls++;
	for (size_t i = 0; i < req->n_headers; i++)
		if (strcmp(req->headers[i].name, "cookie") == 0)
			sent = req->headers[i].value;
		else if (strcmp(req->headers[i].name, "user-agent") == 0)
			agent = req->headers[i].value;
	resp->status = 200;
	if (memmem(req->body, req->body_len, "<RetrieveServiceContent", 23)) {
		name = "RetrieveServiceContent";
		if (end.product)
			body = renamed(name, end.product);
	} else if (memmem(req->body, req->body_len, "<Login", 6)) {
		end.logins++;
		snprintf(end.agent, sizeof(end.agent), "%s", agent);
		end.cookies_to_login += sent != NULL;
		name = end.bad_password ? "Login-badpassword" : "Login";
		resp->status = end.bad_password ? 500 : 200;
		resp->headers = cookie;
		resp->n_headers = !end.bad_password;
		if (end.lose_login) {
			end.lose_login = false;
			snprintf(end.lost_agent, sizeof(end.lost_agent), "%s", agent);
			resp->status = 0;
		}
	} else if (memmem(req->body, req->body_len, ">sessionList<", 13)) {
		end.lists++;
		body = session_list();
	} else if (memmem(req->body, req->body_len, "<TerminateSession", 17)) {
		note_terminated(req);
	} else if (end.page && memmem(req->body, req->body_len, "RetrievePropertiesEx", 20)) {
		ck_assert_int_gt(asprintf(&body, "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body>%.*sResponse>%s</%.*s"
					  "Response></Body></Envelope>", (int)strcspn(method + 5, " >/"), method + 5, end.page,
					  (int)strcspn(method + 6, " >/"), method + 6), 0);
	} else if (memmem(req->body, req->body_len, "<Logout", 7) && end.refuse_logouts) {
		end.refuse_logouts--;
		resp->status = 500;
		body = strdup("<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body><Fault><detail><SystemErrorFault/></detail>"
			      "</Fault></Body></Envelope>");
	} else if (memmem(req->body, req->body_len, "<Logout", 7) && end.lose_logout) {
		resp->status = 0;
	} else if (memmem(req->body, req->body_len, "<Logout", 7)) {
		end.logouts++;
	} else if (end.refuse_next) {
		end.refuse_next--;
		name = "NotAuthenticated";
		resp->status = 500;
	}
	snprintf(end.last_cookie, sizeof(end.last_cookie), "%s", sent ? sent : "");
	pthread_mutex_unlock(&end.lock);
	if (!body && !name)
		ck_assert_int_gt(asprintf(&body, "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body>%.*s%s</Body></Envelope>",
					  end.other ? 0 : (int)strcspn(method + 5, " >/"), method + 5,
					  end.other ? end.other : "Response xmlns=\"urn:vim25\"/>"), 0);
	resp->body = body ? body : sample(name, &len);
	resp->body_len = body ? strlen(body) : len;
	return 0;
}

static void fake_free(struct pcg_host *h, struct pcg_http_response *resp)
{
	free((void *)(uintptr_t)resp->body);
}

static uint64_t fake_remaining(struct pcg_call *call)
{
	return 10000;
}

static int32_t fake_put(struct pcg_host *h, const char *name, const char *value)
{
	snprintf(end.kept, sizeof(end.kept), "%s", value ? value : "");
	return 0;
}

static const char *fake_get(struct pcg_host *h, const char *name)
{
	return *end.kept ? end.kept : NULL;
}

static uint64_t fake_now(struct pcg_host *h)
{
	return end.now;
}

static int64_t fake_wall(struct pcg_host *h)
{
	return 1700000000000 + (int64_t)end.now;
}

static void fake_fault(struct pcg_host *h, const char *name)
{
}

static void fake_log(struct pcg_host *h, uint32_t level, const char *event, const char *fields)
{
	end.events += strcmp(event, "vsphere_session_left") == 0;
}

static void fake_hint(struct pcg_host *h, const char *subject)
{
}

static const struct pcg_services services = {
	.struct_size = sizeof(services), .http = fake_http, .http_free = fake_free, .remaining_ms = fake_remaining,
	.secret_put = fake_put, .secret_get = fake_get, .mono_ms = fake_now, .wall_ms = fake_wall, .fault_point = fake_fault,
	.log = fake_log, .hint = fake_hint,
};

static void session_open(struct vs_session *ss, const char *server)
{
	AUTO_JSON json_t *spec = json_pack("{s:s, s:s, s:s}", "vcenterServer", server, "username", "u", "password", "p&<1");
	struct vs_err err;

	ck_assert_int_eq(vs_session_init(ss, &services, NULL, spec, true, &err), 0);
}

static int call_something(struct vs_session *ss, unsigned flags, unsigned generation, struct vs_err *err)
{
	struct vs_ref vm = { "VirtualMachine", "vm-1" };
	struct xn *reply;
	struct soap s;
	int r;

	soap_begin(&s, "CloneVM_Task", &vm);
	soap_finish(&s);
	r = vs_call(ss, NULL, &s, flags, generation, 0, &reply, err);
	xn_free(reply);
	return r;
}

static void *caller(void *arg)
{
	struct vs_err err;

	ck_assert_int_eq(call_something(arg, 0, 0, &err), 0);
	return NULL;
}

START_TEST(logs_in_once_for_all_threads)
{
	struct vs_session ss;
	pthread_t threads[10];

	session_open(&ss, "vc.example.com");
	for (int i = 0; i < 10; i++)
		pthread_create(&threads[i], NULL, caller, &ss);
	for (int i = 0; i < 10; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(end.logins, 1);
	ck_assert_int_eq(end.calls, 12);
	ck_assert_int_eq(end.cookies_to_login, 0);
	ck_assert_str_eq(end.last_cookie, "vmware_soap_session=abc-1");
	vs_session_fini(&ss);
}
END_TEST

START_TEST(logs_in_again_when_the_session_is_over_and_repeats_what_was_refused)
{
	struct vs_session ss;
	struct vs_err err;
	unsigned generation;

	session_open(&ss, "vc.example.com");
	ck_assert_int_eq(vs_session_open(&ss, NULL, &generation, &err), 0);
	end.refuse_next = 1;
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	ck_assert_int_eq(end.logins, 2);
	ck_assert_int_eq(end.cookies_to_login, 0);
	/* Twice refused is told; a third login would not help. */
	end.refuse_next = 2;
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), -1);
	ck_assert_str_eq(err.fault, "NotAuthenticated");
	/* What belongs to the session that is over is not asked for in the new one. */
	end.refuse_next = 0;
	ck_assert_int_eq(call_something(&ss, VS_SESSION, generation, &err), -1);
	ck_assert_str_eq(err.fault, "NotAuthenticated");
	vs_session_fini(&ss);
}
END_TEST

START_TEST(remembers_a_refused_password_for_a_while)
{
	struct vs_session ss;
	struct vs_err err;

	session_open(&ss, "vc.example.com");
	end.bad_password = true;
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(call_something(&ss, 0, 0, &err), -1);
		ck_assert_uint_eq(err.class, PCG_ERR_AUTH);
	}
	ck_assert_int_eq(end.logins, 1);
	ck_assert_ptr_nonnull(strstr(err.text, "InvalidLogin"));
	ck_assert_ptr_nonnull(strstr(err.text, "not tried again for 120 s"));
	end.now += 121000;
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), -1);
	end.now += 121000;
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), -1);
	ck_assert_int_eq(end.logins, 2);
	end.bad_password = false;
	end.now += 121000;
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	ck_assert_ptr_null(strstr(end.kept, "refused"));
	vs_session_fini(&ss);
}
END_TEST

START_TEST(gives_a_kept_cookie_to_its_own_server_only)
{
	struct vs_session ss;
	struct vs_err err;

	session_open(&ss, "vc.example.com");
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	vs_session_fini(&ss);
	ck_assert_ptr_nonnull(strstr(end.kept, "abc-1"));
	session_open(&ss, "https://vc.example.com/sdk");
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	ck_assert_int_eq(end.logins, 1);
	vs_session_fini(&ss);
	session_open(&ss, "other.example.com");
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	ck_assert_int_eq(end.logins, 2);
	ck_assert_int_eq(end.logouts, 0);
	vs_session_close(&ss, NULL);
	ck_assert_int_eq(end.logouts, 1);
	ck_assert_str_eq(end.last_cookie, "vmware_soap_session=abc-1");
	ck_assert_str_eq(end.kept, "");
	vs_session_fini(&ss);
}
END_TEST

START_TEST(ends_the_session_of_a_login_whose_answer_was_lost)
{
	struct vs_session ss;
	struct vs_err err;

	end.lose_login = true;
	session_open(&ss, "vc.example.com");
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), -1);
	ck_assert_str_ne(end.lost_agent, "");
	/* Killed: only what was kept is known. */
	vs_session_fini(&ss);
	session_open(&ss, "vc.example.com");
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	ck_assert_int_eq(end.lists, 1);
	ck_assert_str_eq(end.terminated, "lost ");
	ck_assert_ptr_null(strstr(end.kept, end.lost_agent));
	vs_session_close(&ss, NULL);
	ck_assert_str_eq(end.kept, "");
	vs_session_fini(&ss);
}
END_TEST

START_TEST(leaves_the_session_of_a_lost_login_when_it_may_not_see_sessions)
{
	struct vs_session ss;
	struct vs_err err;

	end.lose_login = end.forbid_list = true;
	session_open(&ss, "vc.example.com");
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), -1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	ck_assert_int_eq(end.lists, 1);
	ck_assert_int_eq(end.events, 1);
	ck_assert_str_eq(end.terminated, "");
	ck_assert_ptr_null(strstr(end.kept, end.lost_agent));
	vs_session_fini(&ss);
}
END_TEST

START_TEST(looks_for_no_session_when_every_login_was_answered)
{
	struct vs_session ss;
	struct vs_err err;

	session_open(&ss, "vc.example.com");
	end.bad_password = true;
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), -1);
	end.bad_password = false;
	end.now += 121000;
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	end.now += 61000;
	end.refuse_next = 1;
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	ck_assert_int_eq(end.logins, 3);
	ck_assert_int_eq(end.lists, 0);
	vs_session_fini(&ss);
}
END_TEST

/* As a load balancer does that asks another node: what it began is still there, and would be for half an hour. */
START_TEST(ends_a_session_that_is_disowned_as_soon_as_it_has_begun)
{
	struct vs_session ss;
	struct vs_err err;

	session_open(&ss, "vc.example.com");
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	snprintf(end.lost_agent, sizeof(end.lost_agent), "%s", end.agent);
	end.refuse_next = 1;
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	ck_assert_str_ne(end.agent, end.lost_agent);
	ck_assert_int_eq(end.lists, 1);
	ck_assert_str_eq(end.terminated, "lost ");
	ck_assert_ptr_null(strstr(end.kept, end.lost_agent));
	vs_session_fini(&ss);
}
END_TEST

static const char *const others[] = {
	"", "<html/>", "<FindByUuidResponse xmlns=\"urn:vim25\"/>", "<CloneVM_TaskResponses/>", "<CloneVM_Task/>",
	"<a><CloneVM_TaskResponse/></a>",
};

/* Nobody may read "there is none" from it. */
START_TEST(takes_an_answer_to_another_call_for_none)
{
	struct vs_session ss;
	struct vs_err err;
	unsigned generation;

	session_open(&ss, "vc.example.com");
	ck_assert_int_eq(vs_session_open(&ss, NULL, &generation, &err), 0);
	end.other = others[_i];
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), -1);
	ck_assert_uint_eq(err.class, PCG_ERR_RETRY);
	ck_assert_msg(strstr(err.text, "CloneVM_Task at vc.example.com: the answer is none to that call") != NULL, "%s", err.text);
	ck_assert_str_ne(err.remedy, "");
	vs_session_fini(&ss);
}
END_TEST

static int page_next(struct vs_session *ss, size_t *objects, struct vs_err *err);

/* Pages that never end: without objects, with a token that is too long to be given back, or ever more. */
static const struct { const char *page; size_t objects; } endless[] = {
	{ "<returnval><token>1</token></returnval>", 0 },
	{ "<returnval><token>0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	  "01234567890123456789012345678901234567890</token><objects><obj type=\"Folder\">a</obj></objects></returnval>", 0 },
	{ "<returnval><token>1</token><objects><obj type=\"Folder\">a</obj></objects></returnval>", 2001 },
};

START_TEST(pages_that_do_not_end_are_no_answer)
{
	struct vs_session ss;
	struct vs_err err;
	size_t objects = 0;

	session_open(&ss, "vc.example.com");
	end.page = endless[_i].page;
	ck_assert_int_eq(page_next(&ss, &objects, &err), -1);
	ck_assert_uint_eq(err.class, PCG_ERR_RETRY);
	ck_assert_str_ne(err.remedy, "");
	ck_assert_uint_eq(objects, endless[_i].objects);
	ck_assert_int_eq(end.calls, endless[_i].objects ? 3 + 2000 : 3);
	vs_session_fini(&ss);
}
END_TEST

static void on_page_object(void *arg, const struct xn *object)
{
	(*(size_t *)arg)++;
}

static int page_next(struct vs_session *ss, size_t *objects, struct vs_err *err)
{
	struct soap s;

	soap_begin(&s, "RetrievePropertiesEx", &ss->collector);
	return vs_retrieve(ss, NULL, &s, 0, 0, on_page_object, objects, err);
}

START_TEST(refuses_text_in_a_million_pieces)
{
	size_t n = 200000, at;
	AUTO_FREE char *text = malloc(n * 8 + 200);
	struct xn *reply;
	struct vs_err err;

	at = (size_t)sprintf(text, "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body><a>");
	for (size_t i = 0; i < n; i++) {
		memcpy(text + at, "x<!---->", 8);
		at += 8;
	}
	at += (size_t)sprintf(text + at, "</a></Body></Envelope>");
	ck_assert_int_eq(xn_parse(text, at, &reply, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "too many pieces"));
}
END_TEST

/* An unreadable name is not "there is none". */
START_TEST(tells_what_is_not_there_from_what_cannot_be_read)
{
	static const struct { const char *value; bool must; int r; } table[] = {
		{ "", false, 0 }, { "", true, -1 }, { "<returnval type=\"VirtualMachine\">vm-1</returnval>", true, 0 },
		{ "<returnval type=\"VirtualMachine\"/>", false, -1 }, { "<returnval><a>vm-1</a></returnval>", false, -1 },
		{ "<returnval type=\"VirtualMachineVirtualMachineVirtualMachineVirtualMachine\">vm-1</returnval>", false, -1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		AUTO_FREE char *text = NULL;
		struct xn *reply;
		struct vs_ref ref;
		struct vs_err err;

		ck_assert_int_gt(asprintf(&text, "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body><FindByUuidResponse>%s"
					  "</FindByUuidResponse></Body></Envelope>", table[i].value), 0);
		ck_assert_int_eq(xn_parse(text, strlen(text), &reply, &err), 0);
		ck_assert_msg(vs_returned(reply, "FindByUuid", table[i].must, &ref, &err) == table[i].r, "%s", table[i].value);
		ck_assert_int_eq(*ref.value != 0, i == 2);
		xn_free(reply);
	}
}
END_TEST

START_TEST(logs_out_again_when_that_was_refused)
{
	struct vs_session ss;
	struct vs_err err;

	session_open(&ss, "vc.example.com");
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	end.refuse_logouts = _i + 1;
	vs_session_close(&ss, NULL);
	vs_session_fini(&ss);
	ck_assert_int_eq(end.logouts, _i == 0);
	/* Refused twice it is left to the next worker. */
	ck_assert_int_eq(strstr(end.kept, "abc-1") != NULL, _i == 1);
}
END_TEST

START_TEST(keeps_the_session_when_nobody_answered_its_logout)
{
	struct vs_session ss;
	struct vs_err err;

	session_open(&ss, "vc.example.com");
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	end.lose_logout = true;
	vs_session_close(&ss, NULL);
	vs_session_fini(&ss);
	ck_assert_ptr_nonnull(strstr(end.kept, "abc-1"));
	end.lose_logout = false;
	session_open(&ss, "vc.example.com");
	vs_session_close(&ss, NULL);
	ck_assert_int_eq(end.logins, 1);
	ck_assert_str_eq(end.kept, "");
	vs_session_fini(&ss);
}
END_TEST

START_TEST(packs_large_user_data_and_refuses_what_guestinfo_does_not_take)
{
	const char *encoding;
	struct vs_err err;
	char *text = calloc(1, (1u << 20) + 1), *out, back[100001] = "";
	AUTO_FREE uint8_t *packed = NULL;
	size_t len;
	z_stream z = { 0 };

	memset(text, 'a', 100000);
	out = vs_user_data("#cloud-config\n", &encoding, &err);
	ck_assert_str_eq(out, "I2Nsb3VkLWNvbmZpZwo=");
	ck_assert_str_eq(encoding, "base64");
	free(out);
	out = vs_user_data(text, &encoding, &err);
	ck_assert_str_eq(encoding, "gzip+base64");
	packed = base64_decode(out, strlen(out), &len);
	ck_assert_int_eq(inflateInit2(&z, 15 + 16), Z_OK);
	z.next_in = packed;
	z.avail_in = (unsigned)len;
	z.next_out = (unsigned char *)back;
	z.avail_out = 100000;
	ck_assert_int_eq(inflate(&z, Z_FINISH), Z_STREAM_END);
	inflateEnd(&z);
	ck_assert_str_eq(back, text);
	free(out);
	id_random(text, 1u << 20);
	for (size_t i = 0; i < 1u << 20; i++)
		text[i] = (char)('!' + (unsigned char)text[i] % 90);
	ck_assert_ptr_null(vs_user_data(text, &encoding, &err));
	ck_assert_uint_eq(err.class, PCG_ERR_PERMANENT);
	ck_assert_ptr_nonnull(strstr(err.text, "524288"));
	free(text);
}
END_TEST

/* A session that could not be kept for a name that is too long would be left by a kill. */
START_TEST(keeps_a_session_whatever_the_server_calls_itself)
{
	struct vs_session ss;
	struct vs_err err;

	end.product = "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc";
	session_open(&ss, "vc.example.com");
	ck_assert_int_eq(call_something(&ss, 0, 0, &err), 0);
	vs_session_fini(&ss);
	ck_assert_ptr_nonnull(strstr(end.kept, "abc-1"));
}
END_TEST

START_TEST(names_machines_the_same_way_every_time)
{
	static const uint8_t ns[16] = { 0x3f, 0x9d, 0x52, 0x6b, 0x1c, 0x7e, 0x4a, 0x0f,
					0x9a, 0x64, 0x8e, 0x21, 0xd5, 0x0b, 0x77, 0xc3 };
	char ours[37], theirs[37], mac[18], other[18];
	unsigned first;

	vs_instance_uuid("11111111-2222-4333-8444-555555555555", ours);
	id_uuid5(ns, "11111111-2222-4333-8444-555555555555", theirs);
	ck_assert_str_eq(ours, theirs);
	vs_mac("a", mac);
	vs_mac("b", other);
	ck_assert_str_ne(mac, other);
	ck_assert_int_eq(sscanf(mac, "%x:", &first), 1);
	ck_assert_uint_eq(first & 3, 2);
}
END_TEST

static const char folder_head[] =
	"<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body><objects xmlns=\"urn:vim25\">"
	"<obj type=\"Folder\">group-7</obj><propSet><name>name</name><val>c1</val></propSet>";

/* Where a role may not read what the folder holds, that must not look as if there were nothing. */
START_TEST(takes_a_folder_for_empty_only_when_it_was_told)
{
	static const struct { const char *rest; size_t children; } table[] = {
		{ "<missingSet><path>childEntity</path></missingSet></objects></Body></Envelope>", CHILDREN_UNKNOWN },
		{ "<propSet><name>childEntity</name><val/></propSet></objects></Body></Envelope>", 0 },
		{ "<propSet><name>childEntity</name><val><ManagedObjectReference type=\"VirtualMachine\">vm-1"
		  "</ManagedObjectReference></val></propSet></objects></Body></Envelope>", 1 },
	};
	static const struct vs_ref folder = { "Folder", "group-7" };

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct vsphere v = { .svc = &services, .tracks = track_table_new() };
		AUTO_FREE char *text = NULL;
		struct vs_err err;
		struct xn *reply;
		struct track t;

		ck_assert_int_gt(asprintf(&text, "%s%s", folder_head, table[i].rest), 0);
		ck_assert_msg(xn_parse(text, strlen(text), &reply, &err) == 0, "%s", err.text);
		track_set_vm(&v, "folder:1", "", &folder);
		track_observe(&v, vs_result(reply), false);
		ck_assert(track_get(&v, "folder:1", &t));
		ck_assert_uint_eq(t.children, table[i].children);
		track_copy_free(&t);
		xn_free(reply);
		track_table_free(v.tracks);
	}
}
END_TEST

static void fresh(void)
{
	memset(end.kept, 0, sizeof(end.kept));
	memset(end.lost_agent, 0, sizeof(end.lost_agent));
	memset(end.terminated, 0, sizeof(end.terminated));
	end.lose_login = end.lose_logout = end.forbid_list = false;
	end.refuse_logouts = 0;
	end.page = end.other = end.product = NULL;
	end.lists = end.events = 0;
	end.logins = end.logouts = end.calls = end.refuse_next = end.cookies_to_login = 0;
	end.bad_password = false;
	end.now = 1000;
}

int main(void)
{
	TCase *tc = tcase_create("session");
	Suite *s = suite_create("vsphere");
	SRunner *r;
	int failed;

	xmlInitParser(); /* before threads, as the plugin's start does */
	tcase_add_checked_fixture(tc, fresh, NULL);
	tcase_add_test(tc, reads_references_whatever_prefix_their_types_have);
	tcase_add_test(tc, refuses_what_is_no_reply);
	tcase_add_test(tc, classes_faults_and_keeps_the_name_of_unknown_ones);
	tcase_add_test(tc, tells_what_a_fault_says_of_itself);
	tcase_add_test(tc, logs_in_once_for_all_threads);
	tcase_add_test(tc, logs_in_again_when_the_session_is_over_and_repeats_what_was_refused);
	tcase_add_test(tc, remembers_a_refused_password_for_a_while);
	tcase_add_test(tc, gives_a_kept_cookie_to_its_own_server_only);
	tcase_add_test(tc, ends_the_session_of_a_login_whose_answer_was_lost);
	tcase_add_test(tc, leaves_the_session_of_a_lost_login_when_it_may_not_see_sessions);
	tcase_add_test(tc, looks_for_no_session_when_every_login_was_answered);
	tcase_add_test(tc, ends_a_session_that_is_disowned_as_soon_as_it_has_begun);
	tcase_add_loop_test(tc, takes_an_answer_to_another_call_for_none, 0, ARRAY_LEN(others));
	tcase_add_loop_test(tc, pages_that_do_not_end_are_no_answer, 0, ARRAY_LEN(endless));
	tcase_add_test(tc, refuses_text_in_a_million_pieces);
	tcase_add_test(tc, tells_what_is_not_there_from_what_cannot_be_read);
	tcase_add_loop_test(tc, logs_out_again_when_that_was_refused, 0, 2);
	tcase_add_test(tc, keeps_the_session_when_nobody_answered_its_logout);
	tcase_add_test(tc, takes_a_folder_for_empty_only_when_it_was_told);
	tcase_add_test(tc, packs_large_user_data_and_refuses_what_guestinfo_does_not_take);
	tcase_add_test(tc, keeps_a_session_whatever_the_server_calls_itself);
	tcase_add_test(tc, names_machines_the_same_way_every_time);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
