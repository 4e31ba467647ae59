/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "core/clock.h"
#include "core/secret.h"
#include "host/bootstrap/bootstrap.h"
#include "net/pki.h"
#include "tests/plugins/sim_rig.h"

#include <unistd.h>

#define UID "0123456789abcdef01234567"
#define MACHINE_UID "m-0123456789"

struct fixture {
	struct rig rig;
	const struct pcg_provider *p;
	struct pcg_host host;
	void *plugin;
	struct pcg_call call;
	json_t *keys;
	char *user_data;
	int port;
};

static struct fixture f;

static void begin(void)
{
	char err[256];

	memset(&f, 0, sizeof(f));
	rig_start(&f.rig);
	f.p = rig_provider();
	pthread_mutex_init(&f.host.lock, NULL);
	ck_assert(asprintf(&f.host.account, "{\"uid\":\"a1\",\"spec\":{\"endpoint\":\"%s\",\"token\":\"" TOKEN "\"}}", f.rig.url) > 0);
	ck_assert_int_eq(f.p->start(&f.host, &rig_services, &f.plugin, err, sizeof(err)), 0);
}

static void end(void)
{
	rig_call_end(&f.call);
	f.p->stop(f.plugin, 1);
	json_decref(f.keys);
	free(f.user_data);
	free(f.host.account);
	rig_remove(&f.rig);
}

static void set(const char *json)
{
	AUTO_JSON json_t *body = json_loads(json, 0, NULL), *now = NULL;
	long status;

	now = rig_cloud(&f.rig, "PUT", "/v1/settings", body, &status);
	ck_assert_int_eq(status, 200);
}

static int64_t stat_of(const char *name)
{
	long status;
	AUTO_JSON json_t *j = rig_cloud(&f.rig, "GET", "/v1/stats", NULL, &status);

	return json_int_or(j, name, -1);
}

static json_t *cluster(void)
{
	return json_pack("{s:s, s:s, s:{s:[{s:s, s:i, s:b}]}}", "uid", UID, "name", "c1", "spec", "pools", "name", "cp", "size", 1,
			 "controlPlane", 1);
}

static json_t *machine_doc(void)
{
	return json_pack("{s:o, s:{s:s, s:s, s:s, s:s}, s:{s:s, s:s, s:s}, s:s}", "cluster", cluster(), "machine", "uid", MACHINE_UID,
			 "name", "c1-cp-bcdfg", "pool", "cp", "role", "control-plane", "mark", "cluster", UID, "pool", "cp",
			 "machine", MACHINE_UID, "userData", f.user_data ? f.user_data : "");
}

static void ensure_endpoint(void)
{
	rig_op(f.p->cluster_ensure, f.plugin, &f.call, json_pack("{s:o}", "cluster", cluster()));
	ck_assert_msg(f.call.status == PCG_STEP_DONE, "%s", f.call.text);
	f.port = (int)json_int_or(f.call.doc, "endpoint.port", 0);
	ck_assert_int_gt(f.port, 0);
}

/* What the gateway itself would give: the simulated node reads it with other code. */
static void make_user_data(void)
{
	AUTO_JSON json_t *in = json_pack(
		"{s:{s:s, s:s, s:s, s:[{s:s, s:b, s:i}]}, s:{s:s, s:s, s:s}, s:{s:s, s:i}, s:s}", "spec", "name", "c1", "cloudType",
		"sim", "kubernetesVersion", "v1.36.3", "pools", "name", "cp", "controlPlane", 1, "size", 1, "machine", "uid",
		MACHINE_UID, "name", "c1-cp-bcdfg", "pool", "cp", "endpoint", "host", "127.0.0.1", "port", f.port, "providerIDCommand",
		"sim");
	struct pcg_error err;
	struct buf b;

	ck_assert_msg(bootstrap_keys_new(json_object_get(in, "spec"), clock_wall_ms(), &f.keys, &err) == 0, "%s", err.text);
	json_object_set(in, "keys", f.keys);
	buf_init(&b, 1u << 20);
	ck_assert_msg(bootstrap_user_data(in, &b, &err) == 0, "%s", err.text);
	f.user_data = buf_take(&b);
}

static void build_machine(void)
{
	AUTO_JSON json_t *doc = NULL;

	ensure_endpoint();
	make_user_data();
	doc = machine_doc();
	rig_op_whole(f.p->machine_ensure, f.plugin, &f.call, doc);
	ck_assert_msg(f.call.status == PCG_STEP_DONE, "%s", f.call.text);
}

static json_t *kube(const char *method, const char *path, const char *content_type, const char *body, const struct rig_tls *tls,
		    long *status)
{
	char url[256], type[128], *text;
	const char *headers[] = { type };
	json_t *j;

	snprintf(url, sizeof(url), "https://127.0.0.1:%d%s", f.port, path);
	snprintf(type, sizeof(type), "Content-Type: %s", content_type ? content_type : "application/json");
	text = rig_http(method, url, headers, 1, body, body ? strlen(body) : 0, tls, 0, status, NULL);
	j = json_loads(text, 0, NULL);
	free(text);
	return j;
}

struct admin {
	struct rig_tls tls;
	char *cert;
	struct secret *key;
};

static struct admin admin_of(const json_t *keys)
{
	struct admin a = { 0 };
	struct pcg_error err;

	ck_assert_int_eq(bootstrap_mint_admin(keys, "pcg", 3600000, &a.cert, &a.key, &err), 0);
	a.tls = (struct rig_tls){ json_str(f.keys, "ca.crt"), a.cert, secret_data(a.key) };
	return a;
}

static void admin_end(struct admin *a)
{
	free(a->cert);
	secret_unref(a->key);
}

static void wait_for_api(const struct rig_tls *tls)
{
	int64_t until = rig_now() + DEADLINE_MS;
	long status = 0;

	while (status != 200 && rig_now() < until) {
		json_decref(kube("GET", "/readyz", NULL, NULL, tls, &status));
		rig_pause();
	}
	ck_assert_int_eq(status, 200);
}

static const struct {
	const char *endpoint, *token, *field;
} accounts[] = {
	{ "", TOKEN, "endpoint" }, { "ftp://host:1", TOKEN, "endpoint" }, { "127.0.0.1:80", TOKEN, "endpoint" },
	{ "http://127.0.0.1:1", TOKEN, "endpoint" }, { "http://u:p@127.0.0.1:1", TOKEN, "endpoint" }, { NULL, "wrong", "token" },
	{ NULL, "", "token" }, { NULL, TOKEN, NULL },
};

START_TEST(an_account_is_validated_by_using_it)
{
	const char *endpoint = accounts[_i].endpoint ? accounts[_i].endpoint : f.rig.url;
	json_t *problem;

	rig_op(f.p->account_validate, f.plugin, &f.call,
	       json_pack("{s:{s:s, s:s}}", "account", "endpoint", endpoint, "token", accounts[_i].token));
	ck_assert_uint_eq(f.call.status, PCG_STEP_DONE);
	problem = json_at(f.call.doc, "problems.0");
	if (!accounts[_i].field) {
		ck_assert_ptr_null(problem);
		ck_assert_ptr_nonnull(json_str(f.call.doc, "version"));
		return;
	}
	ck_assert_str_eq(json_str_or(problem, "field", ""), accounts[_i].field);
	ck_assert_int_gt(strlen(json_str_or(problem, "remedy", "")), 10);
}
END_TEST

START_TEST(a_machine_asked_for_again_is_the_same_one)
{
	AUTO_JSON json_t *doc = NULL;

	set("{\"task_ms\":100}");
	ensure_endpoint();
	make_user_data();
	doc = machine_doc();
	/* The reply of the first was lost: no checkpoint. */
	rig_op(f.p->machine_ensure, f.plugin, &f.call, json_deep_copy(doc));
	ck_assert_uint_eq(f.call.status, PCG_STEP_PENDING);
	rig_call_end(&f.call);
	rig_op_whole(f.p->machine_ensure, f.plugin, &f.call, doc);
	ck_assert_msg(f.call.status == PCG_STEP_DONE, "%s", f.call.text);
	ck_assert_str_eq(json_str(f.call.doc, "observed.providerID"), "sim://" MACHINE_UID);
	rig_op_whole(f.p->machine_ensure, f.plugin, &f.call, doc);
	ck_assert_uint_eq(f.call.status, PCG_STEP_DONE);
	ck_assert_int_eq(stat_of("machinesMade"), 1);
}
END_TEST

START_TEST(the_kubernetes_api_serves_with_the_ca_of_the_user_data_and_no_other)
{
	struct pcg_error err;
	struct admin good, other;
	AUTO_JSON json_t *others = NULL, *spec = json_pack("{s:s}", "kubernetesVersion", "v1.36.3"), *node = NULL;
	long status;

	build_machine();
	good = admin_of(f.keys);
	wait_for_api(&good.tls);
	node = kube("GET", "/api/v1/nodes/c1-cp-bcdfg", NULL, NULL, &good.tls, &status);
	ck_assert_int_eq(status, 200);
	ck_assert_str_eq(json_str(node, "spec.providerID"), "sim://" MACHINE_UID);
	json_decref(kube("GET", "/api/v1/nodes", NULL, NULL, &(struct rig_tls){ .ca = good.tls.ca }, &status));
	ck_assert_int_eq(status, 403);
	ck_assert_int_eq(bootstrap_keys_new(spec, clock_wall_ms(), &others, &err), 0);
	other = admin_of(others);
	json_decref(kube("GET", "/api/v1/nodes", NULL, NULL, &other.tls, &status));
	ck_assert_msg(status == 0 || status == 401, "a client of another CA got %ld", status);
	json_decref(kube("GET", "/readyz", NULL, NULL, &(struct rig_tls){ .ca = json_str(others, "ca.crt") }, &status));
	ck_assert_msg(status == 0, "the serving certificate verifies with another CA");
	admin_end(&good);
	admin_end(&other);
}
END_TEST

START_TEST(everything_survives_a_kill)
{
	static const char map[] = "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"kept\"},\"data\":{\"a\":\"b\"}}";
	struct admin a;
	long status;

	build_machine();
	a = admin_of(f.keys);
	wait_for_api(&a.tls);
	json_decref(kube("POST", "/api/v1/namespaces/default/configmaps", NULL, map, &a.tls, &status));
	ck_assert_int_eq(status, 201);
	rig_end(&f.rig, SIGKILL);
	rig_start(&f.rig);
	ck_assert_int_eq(stat_of("machines"), 1);
	wait_for_api(&a.tls);
	json_decref(kube("GET", "/api/v1/namespaces/default/configmaps/kept", NULL, NULL, &a.tls, &status));
	ck_assert_int_eq(status, 200);
	admin_end(&a);
}
END_TEST

START_TEST(a_machine_off_or_gone_serves_nothing)
{
	AUTO_JSON json_t *doc = NULL;
	struct admin a;
	long status;

	build_machine();
	a = admin_of(f.keys);
	wait_for_api(&a.tls);
	doc = machine_doc();
	rig_op_whole(f.p->machine_power_off, f.plugin, &f.call, doc);
	ck_assert_uint_eq(f.call.status, PCG_STEP_DONE);
	json_decref(kube("GET", "/readyz", NULL, NULL, &a.tls, &status));
	ck_assert_int_eq(status, 0);
	rig_call_end(&f.call);
	rig_op_whole(f.p->machine_delete, f.plugin, &f.call, doc);
	ck_assert_uint_eq(f.call.status, PCG_STEP_DONE);
	rig_op_whole(f.p->machine_delete, f.plugin, &f.call, doc);
	ck_assert_uint_eq(f.call.status, PCG_STEP_DONE);
	ck_assert_int_eq(stat_of("machines"), 0);
	ck_assert_int_eq(stat_of("kubeAPIs"), 0);
	rig_op(f.p->cluster_delete, f.plugin, &f.call, json_pack("{s:o}", "cluster", cluster()));
	ck_assert_uint_eq(f.call.status, PCG_STEP_DONE);
	ck_assert_int_eq(stat_of("clusters"), 0);
	admin_end(&a);
}
END_TEST

START_TEST(redaction_takes_the_keys_out)
{
	const char *headers[] = { "Authorization: Bearer " TOKEN };
	char url[256], *before, *after;
	long status;

	build_machine();
	snprintf(url, sizeof(url), "%s/v1/machines/" MACHINE_UID "/user-data", f.rig.url);
	before = rig_http("GET", url, headers, 1, NULL, 0, NULL, 0, &status, NULL);
	ck_assert_ptr_nonnull(strstr(before, "PRIVATE KEY"));
	rig_op(f.p->machine_redact, f.plugin, &f.call, machine_doc());
	ck_assert_uint_eq(f.call.status, PCG_STEP_DONE);
	after = rig_http("GET", url, headers, 1, NULL, 0, NULL, 0, &status, NULL);
	ck_assert_int_eq(status, 200);
	ck_assert_ptr_null(strstr(after, "PRIVATE KEY"));
	free(before);
	free(after);
}
END_TEST

static const struct {
	const char *settings;
	uint32_t class;
} refusals[] = {
	{ "{\"failures\":[{\"op\":\"machine_put\",\"count\":1,\"status\":503}]}", PCG_ERR_RETRY },
	{ "{\"failures\":[{\"op\":\"machine_put\",\"count\":1,\"status\":401,\"class\":\"auth\"}]}", PCG_ERR_AUTH },
	{ "{\"failures\":[{\"op\":\"machine_put\",\"count\":1,\"status\":400,\"class\":\"permanent\"}]}", PCG_ERR_PERMANENT },
	{ "{\"failures\":[{\"op\":\"task_create\",\"count\":1}]}", PCG_ERR_RETRY },
	{ "{\"capacity\":0}", PCG_ERR_QUOTA },
};

START_TEST(a_refusal_has_a_class_and_a_remedy_and_passes)
{
	AUTO_JSON json_t *doc = NULL;

	ensure_endpoint();
	make_user_data();
	doc = machine_doc();
	set(refusals[_i].settings);
	rig_op_whole(f.p->machine_ensure, f.plugin, &f.call, doc);
	ck_assert_uint_eq(f.call.status, PCG_STEP_ERROR);
	ck_assert_uint_eq(f.call.class, refusals[_i].class);
	ck_assert_int_gt(strlen(f.call.remedy), 5);
	ck_assert_ptr_null(strstr(f.call.text, TOKEN));
	set("{\"capacity\":10}");
	rig_op_whole(f.p->machine_ensure, f.plugin, &f.call, doc);
	ck_assert_msg(f.call.status == PCG_STEP_DONE, "%s", f.call.text);
	ck_assert_int_eq(stat_of("machines"), 1);
}
END_TEST

START_TEST(a_second_machine_of_the_same_name_is_a_conflict)
{
	AUTO_JSON json_t *doc = NULL;

	build_machine();
	doc = machine_doc();
	json_put_str(doc, "machine.uid", "m-other");
	rig_call_end(&f.call);
	rig_op(f.p->machine_ensure, f.plugin, &f.call, json_incref(doc));
	ck_assert_uint_eq(f.call.status, PCG_STEP_ERROR);
	ck_assert_uint_eq(f.call.class, PCG_ERR_CONFLICT);
}
END_TEST

START_TEST(the_inventory_goes_by_mark)
{
	build_machine();
	rig_op(f.p->inventory, f.plugin, &f.call, json_pack("{s:s}", "cluster", UID));
	ck_assert_uint_eq(f.call.status, PCG_STEP_DONE);
	ck_assert_uint_eq(json_array_size(json_object_get(f.call.doc, "items")), 2);
	ck_assert_str_eq(json_str(f.call.doc, "items.0.machine"), MACHINE_UID);
	ck_assert_str_eq(json_str(f.call.doc, "items.0.role"), "control-plane");
	ck_assert_str_eq(json_str(f.call.doc, "items.1.kind"), "cluster");
	rig_op(f.p->inventory, f.plugin, &f.call, json_pack("{s:s}", "cluster", "another"));
	ck_assert_uint_eq(json_array_size(json_object_get(f.call.doc, "items")), 0);
}
END_TEST

static void *run_watch(void *arg)
{
	f.p->watch(f.plugin, arg, "{}");
	return NULL;
}

START_TEST(the_watch_hints_at_what_changed)
{
	struct pcg_call watch = { 0 };
	int64_t until = rig_now() + DEADLINE_MS;
	bool hinted = false;
	pthread_t t;

	ensure_endpoint();
	make_user_data();
	ck_assert_int_eq(pthread_create(&t, NULL, run_watch, &watch), 0);
	while (stat_of("callsByOp.wait") < 2 && rig_now() < until)
		rig_pause();
	rig_op(f.p->machine_ensure, f.plugin, &f.call, machine_doc());
	while (!hinted && rig_now() < until) {
		pthread_mutex_lock(&f.host.lock);
		hinted = strcmp(f.host.hinted, MACHINE_UID) == 0;
		pthread_mutex_unlock(&f.host.lock);
		rig_pause();
	}
	ck_assert(hinted);
	watch.cancelled = true;
	rig_end(&f.rig, SIGTERM);
	pthread_join(t, NULL);
	rig_call_end(&watch);
}
END_TEST

/* What is changed in good user data, and what the console then says. */
static const struct {
	const char *from, *to, *console;
} broken[] = {
	{ "/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/xx.key", "ca.key: no such file" },
	{ "/etc/kubernetes/pki/etcd/ca.crt", "/etc/kubernetes/pki/etcd/xx.crt", "etcd/ca.crt: no such file" },
	{ "/etc/kubernetes/pki/sa.pub", "/etc/kubernetes/pki/xx.pub", "sa.pub is missing" },
	{ "path: /run/kubeadm/kubeadm.yaml", "path: /run/kubeadm/kubeadm.yml", "unable to read config" },
	{ "kubernetesVersion:", "kubernetesversion:", "unknown field \"kubernetesversion\"" },
	{ "controlPlaneEndpoint:", "controlPlaneEndpiont:", "unknown field \"controlPlaneEndpiont\"" },
	{ "kubeadm init --config", "kubeadm init --conf", "nothing was bootstrapped" },
	{ "#cloud-config", "#cloud-konfig", "Unhandled non-multipart" },
};

START_TEST(wrong_user_data_never_comes_up_and_the_console_says_why)
{
	AUTO_JSON json_t *doc = NULL, *machine = NULL;
	AUTO_FREE char *bad = NULL;
	char *at;
	long status;

	ensure_endpoint();
	make_user_data();
	at = strstr(f.user_data, broken[_i].from);
	ck_assert_msg(at != NULL, "user data has no %s", broken[_i].from);
	ck_assert(asprintf(&bad, "%.*s%s%s", (int)(at - f.user_data), f.user_data, broken[_i].to,
			   at + strlen(broken[_i].from)) > 0);
	doc = machine_doc();
	json_object_set_new(doc, "userData", json_string(bad));
	rig_op_whole(f.p->machine_ensure, f.plugin, &f.call, doc);
	machine = rig_cloud(&f.rig, "GET", "/v1/machines/" MACHINE_UID, NULL, &status);
	ck_assert_msg(strstr(json_str_or(machine, "console", ""), broken[_i].console) != NULL, "console: %s",
		      json_str_or(machine, "console", "none"));
	ck_assert_int_eq(stat_of("kubeAPIsUp"), 0);
}
END_TEST

START_TEST(exported_objects_carry_mark_and_identity_and_come_back)
{
	AUTO_JSON json_t *objects = NULL;
	json_t *e;
	size_t i;

	rig_op(f.p->export_objects, f.plugin, &f.call,
	       json_pack("{s:o, s:{s:s, s:i}, s:[{s:s, s:b}, {s:s, s:b}], s:[{s:s, s:s, s:s, s:s, s:{s:s, s:s}}]}", "cluster", cluster(),
			 "endpoint", "host", "127.0.0.1", "port", 6443, "pools", "name", "cp", "controlPlane", 1, "name", "w",
			 "controlPlane", 0, "machines", "uid", MACHINE_UID, "name", "c1-cp-bcdfg", "pool", "cp", "role",
			 "control-plane", "observed", "id", MACHINE_UID, "providerID", "sim://" MACHINE_UID));
	ck_assert_uint_eq(f.call.status, PCG_STEP_DONE);
	objects = json_incref(json_object_get(f.call.doc, "objects"));
	ck_assert_uint_eq(json_array_size(objects), 5);
	json_array_foreach(objects, i, e)
		if (strcmp(json_str(e, "role"), "workerTemplate") == 0)
			ck_assert_str_eq(json_str(e, "object.spec.template.spec.mark.pool"), "w");
	rig_op(f.p->import_objects, f.plugin, &f.call, json_pack("{s:O}", "objects", objects));
	ck_assert_str_eq(json_str(f.call.doc, "machines.0.observed.id"), MACHINE_UID);
	ck_assert_str_eq(json_str(f.call.doc, "machines.0.pool"), "cp");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sim");
	TCase *t = tcase_create("plugin and simulated cloud");
	SRunner *r;
	int failed;

	curl_global_init(CURL_GLOBAL_ALL);
	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, an_account_is_validated_by_using_it, 0, ARRAY_LEN(accounts));
	tcase_add_test(t, a_machine_asked_for_again_is_the_same_one);
	tcase_add_test(t, the_kubernetes_api_serves_with_the_ca_of_the_user_data_and_no_other);
	tcase_add_test(t, everything_survives_a_kill);
	tcase_add_test(t, a_machine_off_or_gone_serves_nothing);
	tcase_add_test(t, redaction_takes_the_keys_out);
	tcase_add_loop_test(t, a_refusal_has_a_class_and_a_remedy_and_passes, 0, ARRAY_LEN(refusals));
	tcase_add_test(t, a_second_machine_of_the_same_name_is_a_conflict);
	tcase_add_test(t, the_inventory_goes_by_mark);
	tcase_add_test(t, the_watch_hints_at_what_changed);
	tcase_add_loop_test(t, wrong_user_data_never_comes_up_and_the_console_says_why, 0, ARRAY_LEN(broken));
	tcase_add_test(t, exported_objects_carry_mark_and_identity_and_come_back);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
