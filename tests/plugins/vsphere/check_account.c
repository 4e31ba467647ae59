/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "plugins/vsphere/rest.h"
#include "plugins/vsphere/session_impl.h"

#include "core/attr.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An account's refused passwords, replaced credentials, and the REST session. */

/* The vCenter: a SOAP end that knows Login and Logout, and a REST end as /api or as /rest. */
static struct {
	int logins, logouts, rest_logins, rest_logouts, rest_calls, not_found;
	bool bad_password, no_api, expire, busy, no_content;
	bool late;             /* the op's time is up */
	int mute_ms;           /* a Login is not answered in that time; -1: nothing is, at once */
	const char *right;     /* password; NULL: as bad_password says */
	struct { int64_t at; char name[64]; } counted[64]; /* turns, as the host counts them */
	int n_counted, turns_running;
	char cookie_out[64];   /* of the last Logout */
	char url[512], method[8], body[1024], token[64], authorization[128];
	char reply[512];
	unsigned status;
	uint64_t now;
	int left;
	json_t *kept;
} end;

static void soap_answer(struct pcg_http_response *resp, const char *body)
{
	char *text;

	ck_assert_int_gt(asprintf(&text, "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body>%s</Body></Envelope>",
				  body), 0);
	resp->status = 200;
	resp->body = text;
	resp->body_len = strlen(text);
}

static const char content[] =
	"<RetrieveServiceContentResponse xmlns=\"urn:vim25\"><returnval><rootFolder type=\"Folder\">group-d1</rootFolder>"
	"<propertyCollector type=\"PropertyCollector\">pc</propertyCollector><viewManager type=\"ViewManager\">vm</viewManager>"
	"<about><fullName>VMware vCenter Server 8.0.3</fullName><version>8.0.3</version><apiType>VirtualCenter</apiType></about>"
	"<sessionManager type=\"SessionManager\">sm</sessionManager><taskManager type=\"TaskManager\">tm</taskManager>"
	"<searchIndex type=\"SearchIndex\">si</searchIndex></returnval></RetrieveServiceContentResponse>";

static const char *header(const struct pcg_http_request *req, const char *name)
{
	for (size_t i = 0; i < req->n_headers; i++)
		if (strcmp(req->headers[i].name, name) == 0)
			return req->headers[i].value;
	return "";
}

static void rest_answer(struct pcg_http_response *resp, unsigned status, const char *body)
{
	resp->status = status;
	resp->body = strdup(body);
	resp->body_len = strlen(body);
}

static void soap_end(const struct pcg_http_request *req, struct pcg_http_response *resp)
{
	static const struct pcg_http_header cookie[] = { { "set-cookie", "vmware_soap_session=soap-1; Path=/" } };

	if (memmem(req->body, req->body_len, "<RetrieveServiceContent", 23)) {
		if (end.no_content)
			rest_answer(resp, 403, "<html/>");
		else
			soap_answer(resp, content);
	} else if (memmem(req->body, req->body_len, "<Login", 6)) {
		end.logins++;
		if (end.right)
			end.bad_password = !memmem(req->body, req->body_len, end.right, strlen(end.right));
		soap_answer(resp, end.bad_password ? "<Fault><faultstring>no</faultstring><detail><InvalidLoginFault/></detail></Fault>" :
						     "<LoginResponse/>");
		resp->headers = cookie;
		resp->n_headers = !end.bad_password;
		resp->status = end.bad_password ? 500 : 200;
	} else if (memmem(req->body, req->body_len, "<Logout", 7)) {
		end.logouts++;
		snprintf(end.cookie_out, sizeof(end.cookie_out), "%s", header(req, "cookie"));
		soap_answer(resp, "<LogoutResponse/>");
	} else {
		soap_answer(resp, "<SomethingResponse/>");
	}
}

static void rest_login(const struct pcg_http_request *req, struct pcg_http_response *resp, bool api)
{
	if (api && end.no_api) {
		end.not_found++;
		rest_answer(resp, 404, "404 page not found");
		return;
	}
	end.rest_logins++;
	snprintf(end.authorization, sizeof(end.authorization), "%s", header(req, "authorization"));
	if (end.bad_password)
		rest_answer(resp, 401, api ? "{\"error_type\":\"UNAUTHENTICATED\",\"messages\":[]}" :
					     "{\"type\":\"com.vmware.vapi.std.errors.unauthenticated\",\"value\":{\"messages\":[]}}");
	else
		rest_answer(resp, api ? 201 : 200, api ? "\"tok-api\"" : "{\"value\":\"tok-rest\"}");
}

static void rest_end(const struct pcg_http_request *req, struct pcg_http_response *resp)
{
	bool api = strstr(req->url, "/api/") != NULL;
	bool session = strstr(req->url, "/api/session") || strstr(req->url, "/rest/com/vmware/cis/session");

	if (session && strcmp(req->method, "POST") == 0) {
		rest_login(req, resp, api);
	} else if (session) {
		end.rest_logouts++;
		snprintf(end.token, sizeof(end.token), "%s", header(req, "vmware-api-session-id"));
		rest_answer(resp, 204, "");
	} else if (end.expire) {
		end.expire = false;
		rest_answer(resp, 401, "");
	} else {
		end.rest_calls++;
		snprintf(end.url, sizeof(end.url), "%s", req->url);
		snprintf(end.method, sizeof(end.method), "%s", req->method);
		snprintf(end.body, sizeof(end.body), "%.*s", (int)req->body_len, req->body ? (const char *)req->body : "");
		snprintf(end.token, sizeof(end.token), "%s", header(req, "vmware-api-session-id"));
		rest_answer(resp, end.status, end.reply);
	}
}

static int32_t fake_http(struct pcg_host *h, struct pcg_call *call, const struct pcg_http_request *req,
			 struct pcg_http_response *resp)
{
	bool login = req->body && memmem(req->body, req->body_len, "<Login", 6);

	if (end.mute_ms < 0 || (end.mute_ms && login)) {
		end.logins += login;
		end.now += end.mute_ms > 0 ? (uint64_t)end.mute_ms : 0;
		resp->error_class = PCG_ERR_RETRY;
	} else if (call && end.late)
		resp->error_class = PCG_ERR_CANCELLED;
	else if (strstr(req->url, "/sdk"))
		soap_end(req, resp);
	else
		rest_end(req, resp);
	return 0;
}

static void fake_free(struct pcg_host *h, struct pcg_http_response *resp)
{
	free((void *)(uintptr_t)resp->body);
}

static uint64_t fake_remaining(struct pcg_call *call)
{
	return end.late ? 0 : 10000;
}

static int32_t fake_put(struct pcg_host *h, const char *name, const char *value)
{
	if (value)
		json_object_set_new(end.kept, name, json_string(value));
	else
		json_object_del(end.kept, name);
	return 0;
}

static const char *fake_get(struct pcg_host *h, const char *name)
{
	return json_string_value(json_object_get(end.kept, name));
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

static int64_t fake_turn_begin(struct pcg_host *h, struct pcg_call *call, const char *name, uint32_t most, uint32_t window_ms)
{
	int64_t now = fake_wall(h), oldest = 0;
	uint32_t n = 0;

	ck_assert_ptr_null(strstr(name, "vc"));
	for (int i = end.n_counted; i--;) {
		if (strcmp(end.counted[i].name, name) || end.counted[i].at > now || end.counted[i].at + window_ms <= now)
			continue;
		oldest = end.counted[i].at;
		if (++n == most)
			return oldest + window_ms - now;
	}
	ck_assert_int_eq(end.turns_running++, 0);
	return 0;
}

static int32_t fake_turn_end(struct pcg_host *h, const char *name, uint32_t counts)
{
	ck_assert_int_eq(end.turns_running--, 1);
	if (counts) {
		end.counted[end.n_counted].at = fake_wall(h);
		snprintf(end.counted[end.n_counted++].name, sizeof(end.counted[0].name), "%s", name);
	}
	return 0;
}

static void fake_log(struct pcg_host *h, uint32_t level, const char *event, const char *fields)
{
	end.left += strcmp(event, "vsphere_session_left") == 0;
}

static const struct pcg_services services = {
	.struct_size = sizeof(services), .http = fake_http, .http_free = fake_free, .remaining_ms = fake_remaining,
	.secret_put = fake_put, .secret_get = fake_get, .mono_ms = fake_now, .wall_ms = fake_wall, .fault_point = fake_fault,
	.log = fake_log, .turn_begin = fake_turn_begin, .turn_end = fake_turn_end,
};

static void fresh(void)
{
	memset(&end, 0, sizeof(end));
	end.now = 1000;
	end.status = 200;
	snprintf(end.reply, sizeof(end.reply), "[]");
	end.kept = json_object();
}

static void stale(void)
{
	json_decref(end.kept);
}

static struct pcg_call *const a_call = (struct pcg_call *)(void *)&end;

static void open_as(struct vs_session *ss, const char *server, const char *user, const char *password, bool keep)
{
	AUTO_JSON json_t *spec = json_pack("{s:s, s:s, s:s}", "vcenterServer", server, "username", user, "password", password);
	struct vs_err err;

	ck_assert_msg(vs_session_init(ss, &services, NULL, spec, keep, &err) == 0, "%s", err.text);
}

START_TEST(an_account_with_a_bad_endpoint_says_which_and_why)
{
	AUTO_JSON json_t *spec = json_pack("{s:s}", "vcenterServer", "vc:70000");
	struct vs_session ss;
	struct vs_err err;

	ck_assert_int_eq(vs_session_init(&ss, &services, NULL, spec, true, &err), -1);
	ck_assert_str_eq(err.text, "vcenterServer \"vc:70000\" has a port that is no number from 1 to 65535");
	ck_assert_str_ne(err.remedy, "");
	vs_session_fini(&ss);
}
END_TEST

START_TEST(never_shows_who_logs_in_by_the_endpoint)
{
	static const char *const given[] = { "https://root:Hidden-1@vc/sdk", "root:Hid@den-1@vc", "http://root:Hidden-1@vc" };

	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		AUTO_JSON json_t *spec = json_pack("{s:s}", "vcenterServer", given[i]);
		struct vs_session ss;
		struct vs_err err;

		ck_assert_int_eq(vs_session_init(&ss, &services, NULL, spec, true, &err), -1);
		ck_assert_msg(!strstr(err.text, "den-1") && strstr(err.text, "\"vc"), "%s", err.text);
		vs_session_fini(&ss);
	}
}
END_TEST

static int try_login(struct vs_session *ss, struct vs_err *err)
{
	unsigned generation;

	return vs_session_open(ss, NULL, &generation, err);
}

/* A directory behind the vCenter that takes longer than we wait refuses all the same. */
START_TEST(logins_that_are_not_answered_in_time_count)
{
	struct vs_session ss, kept;
	struct vs_err err;

	end.mute_ms = 20000;
	for (int i = 0; i < 8; i++) {
		open_as(&ss, "vc", "u", "p", false);
		ck_assert_int_eq(try_login(&ss, &err), -1);
		vs_session_fini(&ss);
	}
	ck_assert_int_eq(end.logins, 3);
	ck_assert_msg(strstr(err.text, "or not answered within 190 s") != NULL, "%s", err.text);
	/* One worker; a vCenter that is away, or resets at once, is no such thing. */
	end.now += 200000;
	open_as(&kept, "vc", "u", "p", true);
	for (int i = 0; i < 9; i++) {
		end.mute_ms = i % 2 ? -1 : 10;
		end.now += 16000;
		ck_assert_int_eq(try_login(&kept, &err), -1);
		ck_assert_msg(!strstr(err.text, "within 190 s"), "%s", err.text);
	}
	end.mute_ms = 0;
	end.now += 16000;
	ck_assert_msg(try_login(&kept, &err) == 0, "%s", err.text);
	vs_session_close(&kept, NULL);
	vs_session_fini(&kept);
}
END_TEST

START_TEST(a_user_in_another_case_is_the_same_user)
{
	static const char *const users[] = { "admin@vsphere.local", "Admin@vsphere.local", "ADMIN@VSPHERE.LOCAL", "aDmin@vsphere.local" };
	struct vs_session ss;
	struct vs_err err;

	end.bad_password = true;
	for (size_t i = 0; i < 8; i++) {
		open_as(&ss, "vc", users[i % 4], i < 4 ? "p" : "q", true);
		ck_assert_int_eq(try_login(&ss, &err), -1);
		vs_session_fini(&ss);
		json_object_clear(end.kept); /* those of accounts are each its own */
	}
	ck_assert_int_eq(end.logins, 3);
}
END_TEST

START_TEST(logs_out_of_a_validation_whose_time_is_up)
{
	struct vs_session ss;
	struct vs_err err;
	unsigned generation;

	open_as(&ss, "vc", "u", "p", false);
	ck_assert_int_eq(vs_session_open(&ss, a_call, &generation, &err), 0);
	end.late = true;
	vs_session_close(&ss, a_call);
	ck_assert_int_eq(end.logouts, 1);
	/* Nothing is left for the next one to look for. */
	ck_assert_uint_eq(json_array_size(ss.lost), 0);
	vs_session_fini(&ss);
}
END_TEST

/* Every worker is a new one, as after a crash or a restart of the gateway. */
START_TEST(a_refused_password_waits_longer_each_time_whoever_restarts)
{
	static const int waits_s[] = { 120, 240, 480, 960, 1920, 3600, 3600 };
	bool keep = _i;
	struct vs_session ss;
	struct vs_err err;

	end.bad_password = true;
	for (size_t n = 0; n < ARRAY_LEN(waits_s); n++) {
		for (int k = 0; k < 4; k++) {
			open_as(&ss, "vc", "u", "wrong", keep);
			ck_assert_int_eq(try_login(&ss, &err), -1);
			ck_assert_uint_eq(err.class, PCG_ERR_AUTH);
			ck_assert_str_eq(err.fault, "InvalidLogin");
			ck_assert_int_eq(end.logins, (int)n + 1);
			vs_session_close(&ss, NULL);
			vs_session_fini(&ss);
			if (k == 1)
				end.now += (uint64_t)waits_s[n] * 1000 - 1000;
		}
		ck_assert_ptr_nonnull(strstr(err.text, "not tried again for 1 s"));
		end.now += 1001;
	}
	/* Another password is another matter. */
	end.bad_password = false;
	open_as(&ss, "vc", "u", "right", keep);
	ck_assert_int_eq(try_login(&ss, &err), 0);
	vs_session_close(&ss, NULL);
	vs_session_fini(&ss);
	/* The wrong one is still wrong, and is forgotten in time. */
	ck_assert_uint_eq(json_object_size(end.kept), 1);
	end.now += 7200001;
	open_as(&ss, "vc", "u", "right", keep);
	ck_assert_int_eq(try_login(&ss, &err), 0);
	vs_session_close(&ss, NULL);
	vs_session_fini(&ss);
	ck_assert_uint_eq(json_object_size(end.kept), 0);
}
END_TEST

/* As one worker after the other would. */
static int log_in_as(const char *user, const char *password, bool keep, struct vs_err *err)
{
	struct vs_session ss;
	int r;

	open_as(&ss, "vc", user, password, keep);
	r = try_login(&ss, err);
	vs_session_close(&ss, NULL);
	vs_session_fini(&ss);
	return r;
}

START_TEST(a_refused_password_waits_though_others_came_between)
{
	static const char *const passwords[] = { "first", "second" };
	bool keep = _i;
	struct vs_err err;

	end.right = "third";
	for (int i = 0; i < 12; i++) {
		ck_assert_int_eq(log_in_as("u", passwords[i % 2], keep, &err), -1);
		ck_assert_uint_eq(err.class, PCG_ERR_AUTH);
		ck_assert_str_eq(err.fault, "InvalidLogin");
		end.now += 1000;
	}
	ck_assert_int_eq(end.logins, 2);
	ck_assert_ptr_nonnull(strstr(err.text, "not tried again for 110 s (until 22:15:22 UTC)"));
	/* A good one is let in between them, and makes neither of them good. */
	ck_assert_int_eq(log_in_as("u", "third", keep, &err), 0);
	ck_assert_int_eq(log_in_as("u", "first", keep, &err), -1);
	ck_assert_int_eq(end.logins, 3);
	/* One whose time has come waits twice as long, and the other one its own time. */
	end.now += 200000;
	ck_assert_int_eq(log_in_as("u", "first", keep, &err), -1);
	ck_assert_int_eq(log_in_as("u", "first", keep, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "not tried again for 240 s"));
	ck_assert_int_eq(log_in_as("u", "second", keep, &err), -1);
	ck_assert_int_eq(end.logins, 5);
	/* The bare digest of a password is nowhere. */
	for (int i = 0; i < 2; i++) {
		AUTO_FREE char *text = json_dumps(end.kept, 0);

		ck_assert_ptr_null(strstr(text, passwords[i]));
	}
}
END_TEST

/* A user that was locked, say: its password was right all the time. */
START_TEST(a_password_that_is_taken_begins_anew)
{
	struct vs_err err;

	end.bad_password = true;
	ck_assert_int_eq(log_in_as("u", "right", true, &err), -1);
	end.now += 120000;
	end.bad_password = false;
	ck_assert_int_eq(log_in_as("u", "right", true, &err), 0);
	ck_assert_uint_eq(json_object_size(end.kept), 0);
	end.bad_password = true;
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(log_in_as("u", "right", true, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "not tried again for 120 s"));
}
END_TEST

START_TEST(of_ever_new_passwords_no_more_are_tried_than_vcenter_takes)
{
	char password[32];
	struct vs_err err;
	uint64_t first = end.now;

	end.right = "right";
	for (int i = 0; i < 40; i++) {
		snprintf(password, sizeof(password), "wrong-%d", i);
		/* Of an account, of validations, by either API. */
		if (i == 1) {
			struct vs_rest_call list = { .method = "GET", .service = "cis/tagging/tag" };
			struct vs_session ss;
			json_t *tags;

			end.bad_password = true;
			open_as(&ss, "vc", "u", password, true);
			ck_assert_int_eq(vs_rest(&ss, NULL, &list, &tags, &err), -1);
			vs_session_fini(&ss);
		} else {
			ck_assert_int_eq(log_in_as("u", password, i % 2, &err), -1);
		}
		end.now += 1000;
		ck_assert_int_le(end.logins + end.rest_logins, 3);
	}
	ck_assert_uint_eq(err.class, PCG_ERR_RETRY);
	ck_assert_msg(strstr(err.text, "3 log-ins of this user were refused or not answered within 190 s") && strstr(err.text, "at 22:16:31 UTC, in 151 s"),
		      "%s", err.text);
	ck_assert_str_ne(err.remedy, "");
	/* Another user is another matter. */
	ck_assert_int_eq(log_in_as("other", "right", true, &err), 0);
	end.logins--;
	/* The good one is let in as soon as the first refusal is old enough. */
	end.now = first + 189000;
	ck_assert_int_eq(log_in_as("u", "right", true, &err), -1);
	ck_assert_int_eq(end.logins + end.rest_logins, 3);
	end.now = first + 190000;
	ck_assert_msg(log_in_as("u", "right", true, &err) == 0, "%s", err.text);
}
END_TEST

/* What stands before a vCenter may refuse what needs no login at all. */
START_TEST(who_is_turned_away_before_the_login_has_no_wrong_password)
{
	struct vs_err err;

	end.no_content = true;
	ck_assert_int_eq(log_in_as("u", "right", true, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "403"));
	end.no_content = false;
	ck_assert_msg(log_in_as("u", "right", true, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(json_object_size(end.kept), 0);
}
END_TEST

static const char *credential_of(const char *password, char out[20])
{
	AUTO_JSON json_t *doc = NULL;
	struct vs_err err;

	end.bad_password = true;
	ck_assert_int_eq(log_in_as("u", password, true, &err), -1);
	doc = json_loads(json_string_value(json_object_get(end.kept, "vsphere.session")), 0, NULL);
	snprintf(out, 20, "%s", json_string_value(json_object_get(json_array_get(json_object_get(doc, "refused"), 0), "credential")));
	json_object_clear(end.kept);
	end.now += 200000;
	return out;
}

START_TEST(what_is_kept_of_a_password_is_another_thing_each_time)
{
	char first[20], second[20];

	ck_assert_str_ne(credential_of("wrong", first), credential_of("wrong", second));
	ck_assert_uint_eq(strlen(first), 16);
}
END_TEST

START_TEST(a_clock_that_was_set_back_does_not_lock_the_account_out)
{
	struct vs_session ss;
	struct vs_err err;

	end.bad_password = true;
	end.now = 90000000000;
	open_as(&ss, "vc", "u", "wrong", true);
	ck_assert_int_eq(try_login(&ss, &err), -1);
	vs_session_fini(&ss);
	end.bad_password = false;
	end.now = 1000;
	open_as(&ss, "vc", "u", "wrong", true);
	ck_assert_int_eq(try_login(&ss, &err), -1);
	end.now += 3600001;
	ck_assert_int_eq(try_login(&ss, &err), 0);
	vs_session_fini(&ss);
}
END_TEST

START_TEST(what_a_validation_keeps_proves_no_password)
{
	struct vs_session ss;
	struct vs_err err;
	const char *name;
	json_t *value;

	end.bad_password = true;
	open_as(&ss, "vc.example.com", "user@vsphere.local", "wrong-password", false);
	ck_assert_int_eq(try_login(&ss, &err), -1);
	ck_assert_uint_eq(json_object_size(end.kept), 1);
	json_object_foreach(end.kept, name, value) {
		AUTO_JSON json_t *doc = json_loads(json_string_value(value), 0, NULL);
		AUTO_FREE char *text = json_dumps(doc, 0);

		ck_assert_ptr_nonnull(strstr(name, ".validation."));
		ck_assert_msg(!strstr(text, "vc.example.com") && !strstr(text, "user@") && !strstr(text, "wrong-"), "%s", text);
		ck_assert_uint_eq(json_string_length(json_object_get(json_array_get(json_object_get(doc, "refused"), 0), "credential")), 4);
	}
	vs_session_fini(&ss);
}
END_TEST

static const struct { const char *server, *user, *password; int logouts, left; } replacements[] = {
	{ "vc", "u", "p", 0, 0 },      /* the same: the session goes on */
	{ "https://VC/", "u", "p", 0, 0 },
	{ "vc", "u", "other", 1, 0 },
	{ "vc", "other", "p", 1, 0 },
	{ "elsewhere", "u", "p", 0, 1 }, /* its cookie goes to nobody else */
};

START_TEST(ends_the_sessions_of_credentials_that_were_replaced_meanwhile)
{
	struct vs_rest_call list = { .method = "GET", .service = "cis/tagging/tag" };
	struct vs_session ss;
	struct vs_err err;
	json_t *reply;

	open_as(&ss, "vc", "u", "p", true);
	ck_assert_int_eq(try_login(&ss, &err), 0);
	ck_assert_int_eq(vs_rest(&ss, NULL, &list, &reply, &err), 0);
	json_decref(reply);
	vs_session_fini(&ss); /* killed: no logout */
	open_as(&ss, replacements[_i].server, replacements[_i].user, replacements[_i].password, true);
	ck_assert_int_eq(try_login(&ss, &err), 0);
	ck_assert_int_eq(vs_rest(&ss, NULL, &list, &reply, &err), 0);
	json_decref(reply);
	ck_assert_int_eq(end.logouts, replacements[_i].logouts);
	ck_assert_int_eq(end.rest_logouts, replacements[_i].logouts);
	ck_assert_int_eq(end.left, replacements[_i].left);
	ck_assert_int_eq(end.logins, replacements[_i].logouts || replacements[_i].left ? 2 : 1);
	ck_assert_int_eq(end.rest_logins, end.logins);
	vs_session_close(&ss, NULL);
	vs_session_fini(&ss);
	ck_assert_uint_eq(json_object_size(end.kept), 0);
}
END_TEST

static const struct {
	struct vs_rest_call what;
	const char *api, *rest, *api_body, *rest_body;
} rest_table[] = {
	{ { .method = "GET", .service = "cis/tagging/category" }, "/api/cis/tagging/category", "/rest/com/vmware/cis/tagging/category",
	  "", "" },
	{ { .method = "GET", .service = "cis/tagging/tag", .id = "urn:vmomi:InventoryServiceTag:1:GLOBAL" },
	  "/api/cis/tagging/tag/urn:vmomi:InventoryServiceTag:1:GLOBAL",
	  "/rest/com/vmware/cis/tagging/tag/id:urn:vmomi:InventoryServiceTag:1:GLOBAL", "", "" },
	{ { .method = "POST", .service = "cis/tagging/tag", .wrap = "create_spec" }, "/api/cis/tagging/tag",
	  "/rest/com/vmware/cis/tagging/tag", "{\"a\":1}", "{\"create_spec\":{\"a\":1}}" },
	{ { .method = "POST", .service = "cis/tagging/tag-association", .id = "t/1", .action = "attach" },
	  "/api/cis/tagging/tag-association/t%2F1?action=attach", "/rest/com/vmware/cis/tagging/tag-association/id:t%2F1?~action=attach",
	  "{\"a\":1}", "{\"a\":1}" },
	{ { .method = "POST", .service = "cis/tagging/tag", .action = "list-tags-for-category", .rest_id = "urn:vmomi:1" },
	  "/api/cis/tagging/tag?action=list-tags-for-category", "/rest/com/vmware/cis/tagging/tag/id:urn:vmomi:1?~action=list-tags-for-category",
	  "{\"a\":1}", "" },
	{ { .method = "GET", .service = "content/library/item", .query = "library_id=x" }, "/api/content/library/item?library_id=x",
	  "/rest/com/vmware/content/library/item?library_id=x", "", "" },
	{ { .method = "GET", .service = "vcenter/datacenter", .id = "dc-1" }, "/api/vcenter/datacenter/dc-1",
	  "/rest/vcenter/datacenter/dc-1", "", "" },
};

START_TEST(asks_the_rest_api_as_the_vcenter_has_it)
{
	AUTO_JSON json_t *body = json_pack("{s:i}", "a", 1);
	size_t n = (size_t)_i / 2;
	struct vs_rest_call what = rest_table[n].what;
	struct vs_session ss;
	struct vs_err err;
	json_t *reply;

	end.no_api = _i % 2;
	snprintf(end.reply, sizeof(end.reply), end.no_api ? "{\"value\":[7]}" : "[7]");
	if (strcmp(what.method, "POST") == 0)
		what.body = body;
	open_as(&ss, "vc", "u", "p:w", true);
	for (int k = 0; k < 2; k++) {
		ck_assert_msg(vs_rest(&ss, NULL, &what, &reply, &err) == 0, "%s", err.text);
		ck_assert_int_eq((int)json_integer_value(json_array_get(reply, 0)), 7);
		json_decref(reply);
	}
	ck_assert_str_eq(end.url + strlen("https://vc"), end.no_api ? rest_table[n].rest : rest_table[n].api);
	ck_assert_str_eq(end.body, end.no_api ? rest_table[n].rest_body : rest_table[n].api_body);
	ck_assert_str_eq(end.token, end.no_api ? "tok-rest" : "tok-api");
	ck_assert_str_eq(end.authorization, "Basic dTpwOnc=");
	ck_assert_int_eq(end.rest_logins, 1);
	ck_assert_int_eq(end.not_found, end.no_api);
	ck_assert_int_eq(end.logins, 0);
	vs_session_close(&ss, NULL);
	ck_assert_int_eq(end.rest_logouts, 1);
	vs_session_fini(&ss);
}
END_TEST

START_TEST(the_rest_session_is_had_only_while_somebody_needs_it)
{
	struct vs_rest_call list = { .method = "GET", .service = "cis/tagging/tag" };
	struct vs_session ss;
	struct vs_err err;
	struct soap s;
	struct xn *reply;
	json_t *tags;

	open_as(&ss, "vc", "u", "p", true);
	ck_assert_int_eq(vs_rest(&ss, NULL, &list, &tags, &err), 0);
	json_decref(tags);
	/* It expires once: one login, one more try. */
	end.expire = true;
	ck_assert_int_eq(vs_rest(&ss, NULL, &list, &tags, &err), 0);
	json_decref(tags);
	ck_assert_int_eq(end.rest_logins, 2);
	ck_assert_int_eq(end.rest_calls, 2);
	for (int i = 0; i < 3; i++) {
		struct vs_ref vm = { "VirtualMachine", "vm-1" };

		soap_begin(&s, "Something", &vm);
		soap_finish(&s);
		ck_assert_int_eq(vs_call(&ss, NULL, &s, 0, 0, 0, &reply, &err), 0);
		xn_free(reply);
		ck_assert_int_eq(end.rest_logouts, i == 2);
		end.now += VS_REST_IDLE_MS / 2;
	}
	ck_assert_ptr_null(json_object_get(end.kept, "vsphere.rest"));
	vs_session_close(&ss, NULL);
	ck_assert_int_eq(end.rest_logouts, 1);
	vs_session_fini(&ss);
}
END_TEST

START_TEST(a_rest_session_is_used_again_after_a_kill)
{
	struct vs_rest_call list = { .method = "GET", .service = "cis/tagging/tag" };
	struct vs_session ss;
	struct vs_err err;
	json_t *tags;

	for (int i = 0; i < 3; i++) {
		open_as(&ss, "vc", "u", "p", true);
		ck_assert_int_eq(vs_rest(&ss, NULL, &list, &tags, &err), 0);
		json_decref(tags);
		vs_session_fini(&ss);
	}
	ck_assert_int_eq(end.rest_logins, 1);
	open_as(&ss, "vc", "u", "p", true);
	vs_session_close(&ss, NULL);
	ck_assert_int_eq(end.rest_logouts, 1);
	vs_session_fini(&ss);
}
END_TEST

START_TEST(a_password_that_soap_refused_is_not_tried_at_rest_and_the_other_way_round)
{
	struct vs_rest_call list = { .method = "GET", .service = "cis/tagging/tag" };
	struct vs_session ss;
	struct vs_err err;
	json_t *tags;

	end.bad_password = true;
	end.no_api = _i / 2;
	open_as(&ss, "vc", "u", "wrong", true);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq((_i + i) % 2 ? try_login(&ss, &err) : vs_rest(&ss, NULL, &list, &tags, &err), -1);
		ck_assert_uint_eq(err.class, PCG_ERR_AUTH);
	}
	ck_assert_int_eq(end.logins + end.rest_logins, 1);
	vs_session_fini(&ss);
}
END_TEST

static const struct { unsigned status; const char *body, *fault, *said; uint32_t class; } rest_errors[] = {
	{ 404, "{\"error_type\":\"NOT_FOUND\",\"messages\":[{\"default_message\":\"no tag x\"}]}", "NOT_FOUND", "no tag x",
	  PCG_ERR_NOT_FOUND },
	{ 400, "{\"type\":\"com.vmware.vapi.std.errors.already_exists\",\"value\":{\"messages\":[{\"default_message\":\"there\"}]}}",
	  "ALREADY_EXISTS", "there", PCG_ERR_CONFLICT },
	{ 403, "{\"error_type\":\"UNAUTHORIZED\",\"messages\":[]}", "UNAUTHORIZED", "may not", PCG_ERR_AUTH },
	{ 503, "<html>", "SERVICE_UNAVAILABLE", "not running", PCG_ERR_RETRY },
	{ 400, "{\"error_type\":\"SOMETHING_NEW\",\"messages\":[{\"default_message\":\"m\"}]}", "SOMETHING_NEW", "SOMETHING_NEW: m",
	  PCG_ERR_PERMANENT },
	{ 200, "<html>", "", "no JSON", PCG_ERR_RETRY },
};

START_TEST(rest_errors_keep_their_name_and_message)
{
	struct vs_rest_call list = { .method = "GET", .service = "cis/tagging/tag" };
	struct vs_session ss;
	struct vs_err err;
	json_t *tags;

	end.status = rest_errors[_i].status;
	snprintf(end.reply, sizeof(end.reply), "%s", rest_errors[_i].body);
	open_as(&ss, "vc", "u", "p", true);
	ck_assert_int_eq(vs_rest(&ss, NULL, &list, &tags, &err), -1);
	ck_assert_ptr_null(tags);
	ck_assert_str_eq(err.fault, rest_errors[_i].fault);
	ck_assert_msg(strstr(err.text, rest_errors[_i].said) != NULL, "%s", err.text);
	ck_assert_uint_eq(err.class, rest_errors[_i].class);
	vs_session_fini(&ss);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("account");
	Suite *s = suite_create("vsphere");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(tc, fresh, stale);
	tcase_add_test(tc, an_account_with_a_bad_endpoint_says_which_and_why);
	tcase_add_test(tc, never_shows_who_logs_in_by_the_endpoint);
	tcase_add_test(tc, logins_that_are_not_answered_in_time_count);
	tcase_add_test(tc, a_user_in_another_case_is_the_same_user);
	tcase_add_test(tc, logs_out_of_a_validation_whose_time_is_up);
	tcase_add_loop_test(tc, a_refused_password_waits_longer_each_time_whoever_restarts, 0, 2);
	tcase_add_loop_test(tc, a_refused_password_waits_though_others_came_between, 0, 2);
	tcase_add_test(tc, a_password_that_is_taken_begins_anew);
	tcase_add_test(tc, of_ever_new_passwords_no_more_are_tried_than_vcenter_takes);
	tcase_add_test(tc, who_is_turned_away_before_the_login_has_no_wrong_password);
	tcase_add_test(tc, what_is_kept_of_a_password_is_another_thing_each_time);
	tcase_add_test(tc, a_clock_that_was_set_back_does_not_lock_the_account_out);
	tcase_add_test(tc, what_a_validation_keeps_proves_no_password);
	tcase_add_loop_test(tc, ends_the_sessions_of_credentials_that_were_replaced_meanwhile, 0, ARRAY_LEN(replacements));
	tcase_add_loop_test(tc, asks_the_rest_api_as_the_vcenter_has_it, 0, 2 * ARRAY_LEN(rest_table));
	tcase_add_test(tc, the_rest_session_is_had_only_while_somebody_needs_it);
	tcase_add_test(tc, a_rest_session_is_used_again_after_a_kill);
	tcase_add_loop_test(tc, a_password_that_soap_refused_is_not_tried_at_rest_and_the_other_way_round, 0, 4);
	tcase_add_loop_test(tc, rest_errors_keep_their_name_and_message, 0, ARRAY_LEN(rest_errors));
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
