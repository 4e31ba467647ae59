/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/plugins/vsphere/rig.h"

#include "core/base64.h"
#include "core/clock.h"
#include "host/worker/worker.h"
#include "pcg/provider.h"

#include <curl/curl.h>
#include <errno.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 60000
#define STEP_MS 30000

static char exe[4096];

bool rig_main(int argc, char **argv, const char *peers, int *status)
{
	static const struct worker_role roles[] = { { "account", account_worker_main } };
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char command[4200];

	if (argc == 3 && strcmp(argv[1], "--worker") == 0) {
		*status = worker_child_main(argv[2], roles, 1);
		return false;
	}
	exe[n > 0 ? n : 0] = 0;
	snprintf(command, sizeof(command), "%s/tests/peers/build-peers %s >/dev/null", TEST_SRCDIR, peers);
	if (*peers && system(command) != 0) {
		printf("skipped: %s cannot be built (tests/peers/build-peers says why)\n", peers);
		*status = 77;
		return false;
	}
	return true;
}

TCase *rig_case(Suite *s, const char *name, void (*setup)(void), void (*teardown)(void))
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	suite_add_tcase(s, tc);
	return tc;
}

int rig_run(Suite *s)
{
	SRunner *r = srunner_create(s);
	int failed;

	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}

static char *peer(const char *name)
{
	char command[4200], path[4096] = "";
	FILE *p;

	snprintf(command, sizeof(command), "%s/tests/peers/build-peers %s 2>/dev/null", TEST_SRCDIR, name);
	p = popen(command, "r");
	ck_assert_ptr_nonnull(p);
	ck_assert_msg(fgets(path, sizeof(path), p) != NULL, "%s is not built: %s", name, command);
	pclose(p);
	path[strcspn(path, "\n")] = 0;
	return strdup(path);
}

static void run_shell(const char *command)
{
	ck_assert_msg(system(command) == 0, "%s", command);
}

static void make_certificates(const char *dir)
{
	char command[2048];

	snprintf(command, sizeof(command),
		 "cd %s && umask 077 && exec 2>openssl.log && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		 "-subj /CN=ca -keyout ca.key -out ca.pem && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
		 "-subj /CN=vcsim -keyout server.key -out server.csr && printf 'subjectAltName=IP:127.0.0.1\\n' >server.ext && "
		 "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -set_serial 1 -days 2 -extfile server.ext -out server.pem",
		 dir);
	run_shell(command);
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	ck_assert_int_eq(fclose(f), 0);
}

static char *read_file(const char *dir, const char *name)
{
	char path[256], *text = calloc(1, 65536);
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "%s", path);
	ck_assert_uint_gt(fread(text, 1, 65535, f), 0);
	fclose(f);
	return text;
}

/* What vcsim's watcher tells of booted machines is not of interest here: every request is answered 200. */
static void *boot_service(void *arg)
{
	int listener = (int)(intptr_t)arg, fd;
	char piece[65536];

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
		size_t got = 0, want = 0;
		char *end = NULL, *length;
		ssize_t n;

		while ((!end || got < want) && got < sizeof(piece) - 1 && (n = read(fd, piece + got, sizeof(piece) - 1 - got)) > 0) {
			got += (size_t)n;
			piece[got] = 0;
			end = strstr(piece, "\r\n\r\n");
			length = strcasestr(piece, "content-length:");
			if (end)
				want = (size_t)(end + 4 - piece) + (length && length < end ? strtoul(length + 15, NULL, 10) : 0);
		}
		n = write(fd, answer, sizeof(answer) - 1);
		close(fd);
	}
	return NULL;
}

static void boot_service_start(struct rig *r)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(r->listener, (struct sockaddr *)&at, len), 0);
	ck_assert_int_eq(listen(r->listener, 64), 0);
	getsockname(r->listener, (struct sockaddr *)&at, &len);
	r->boot_port = ntohs(at.sin_port);
	pthread_create(&r->boot_thread, NULL, boot_service, (void *)(intptr_t)r->listener);
}

static void boot_service_stop(struct rig *r)
{
	shutdown(r->listener, SHUT_RDWR);
	pthread_join(r->boot_thread, NULL);
	close(r->listener);
}

static void vcsim_start(struct rig *r, const char *args)
{
	AUTO_FREE char *vcsim = peer("vcsim");
	char command[5000], line[8192] = "";
	int out[2];
	ssize_t n, got = 0;

	snprintf(command, sizeof(command),
		 "cd %s && TMPDIR=%s exec %s --password-file password --cert server.pem --key server.key --admin 127.0.0.1:0 "
		 "--watch-kubeapi http://127.0.0.1:%d %s 2>vcsim.log", r->dir, r->dir, vcsim, r->boot_port, args);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	r->vcsim = fork();
	if (r->vcsim == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(out[1], 1);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(out[1]);
	while (!strchr(line, '\n') && (n = read(out[0], line + got, sizeof(line) - 1 - (size_t)got)) > 0)
		got += n;
	close(out[0]);
	r->ready = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
	ck_assert_msg(r->ready != NULL, "vcsim said: %s", line);
}

static void on_limit(uv_timer_t *t)
{
	((struct rig *)t->data)->timed_out = true;
}

static void keep_secret(void *arg, const char *account, const char *name, struct secret *value, void *ack)
{
	struct rig *r = arg;
	json_t *mine = json_object_get(r->secrets, account);

	if (!mine) {
		mine = json_object();
		json_object_set_new(r->secrets, account, mine);
	}
	if (value)
		json_object_set_new(mine, name, json_string(secret_data(value)));
	else
		json_object_del(mine, name);
	provider_ack(ack, 0);
}

static json_t *give_secrets(void *arg, const char *account)
{
	json_t *mine = json_object_get(((struct rig *)arg)->secrets, account);

	return mine ? json_deep_copy(mine) : json_object();
}

static void checkpoint_key(const struct run *run, char *out, size_t size)
{
	snprintf(out, size, "%s %s", run->op, run->subject);
}

static void checkpoint_take(struct run *run, json_t *checkpoint)
{
	char key[160];

	checkpoint_key(run, key, sizeof(key));
	json_decref(run->checkpoint);
	run->checkpoint = json_deep_copy(checkpoint);
	json_object_set(run->rig->checkpoints, key, run->checkpoint);
}

static void keep_checkpoint(void *arg, void *call_arg, json_t *checkpoint, void *ack)
{
	checkpoint_take(call_arg, checkpoint);
	provider_ack(ack, 0);
}

static void run_ask(struct run *run);

static void take_hint(void *arg, const char *account, const char *subject)
{
	struct rig *r = arg;

	for (struct run *run = r->runs; run; run = run->next)
		if (!run->ended && !run->call && strcmp(run->subject, subject) == 0) {
			uv_timer_stop(&run->timer);
			run_ask(run);
		}
}

static void on_later(uv_timer_t *t)
{
	run_ask(t->data);
}

static void on_reply(void *arg, const struct provider_reply *reply)
{
	struct run *run = arg;

	run->call = NULL;
	run->status = reply->status;
	json_decref(run->reply);
	run->reply = json_incref(reply->doc);
	run->err = reply->err;
	if (reply->status == PCG_STEP_PENDING) {
		if (reply->checkpoint)
			checkpoint_take(run, (json_t *)(uintptr_t)reply->checkpoint);
		if (run->once)
			run->ended = true;
		else
			uv_timer_start(&run->timer, on_later, reply->after_ms, 0);
		return;
	}
	if (reply->status == PCG_STEP_ERROR && run->retry && (run->any || reply->err.class == PCG_CLASS_RETRY) && run->asked < 200) {
		if (!run->rig->deaths++ || !*run->first.text)
			run->first = reply->err;
		uv_timer_start(&run->timer, on_later, 50, 0);
		return;
	}
	run->ended = true;
	run->ok = reply->status == PCG_STEP_DONE;
}

static void run_ask(struct run *run)
{
	json_t *doc = json_copy(run->doc);

	json_object_set(doc, "checkpoint", run->checkpoint ? run->checkpoint : json_null());
	run->asked++;
	run->call = provider_call(run->rig->pool, json_str_or(run->doc, "account", "a1"), run->op, run->subject, doc, STEP_MS,
				  on_reply, run);
	json_decref(doc);
}

struct run *rig_begin(struct rig *r, const char *account, const char *op, const char *subject, json_t *doc)
{
	struct run *run = calloc(1, sizeof(*run));
	char key[160];

	run->rig = r;
	run->op = op;
	snprintf(run->subject, sizeof(run->subject), "%s", subject);
	run->doc = json_copy(doc);
	json_decref(doc);
	checkpoint_key(run, key, sizeof(key));
	if (strcmp(op, "machine_ensure") == 0)
		run->checkpoint = json_incref(json_object_get(r->checkpoints, key));
	if (!json_object_get(run->doc, "account"))
		json_object_set_new(run->doc, "account", json_string(account));
	uv_timer_init(&r->loop, &run->timer);
	run->timer.data = run;
	run->next = r->runs;
	r->runs = run;
	run_ask(run);
	return run;
}

static bool all_ended(const struct rig *r)
{
	for (struct run *run = r->runs; run; run = run->next)
		if (!run->ended)
			return false;
	return true;
}

void rig_end_all(struct rig *r)
{
	r->timed_out = false;
	uv_timer_start(&r->limit, on_limit, WAIT_MS, 0);
	while (!all_ended(r) && !r->timed_out)
		uv_run(&r->loop, UV_RUN_ONCE);
	uv_timer_stop(&r->limit);
	if (r->timed_out) {
		AUTO_JSON json_t *calls = rig_admin(r, "GET", "/calls", NULL), *vms = rig_vmread(r);
		AUTO_FREE char *c = json_dumps(calls, 0), *m = json_dumps(vms, 0);

		fprintf(stderr, "calls: %s\nmachines: %s\n", c, m);
	}
	for (struct run *run = r->runs; run; run = run->next)
		ck_assert_msg(run->ended, "%s of %s has not ended after %d ms, asked %u times", run->op, run->subject, WAIT_MS,
			      run->asked);
}

static void timer_closed(uv_handle_t *h)
{
	free(h->data);
}

void run_free(struct rig *r)
{
	while (r->runs) {
		struct run *run = r->runs;

		r->runs = run->next;
		if (run->call)
			provider_call_cancel(run->call);
		json_decref(run->doc);
		json_decref(run->checkpoint);
		json_decref(run->reply);
		uv_close((uv_handle_t *)&run->timer, timer_closed);
	}
}

struct run *rig_do(struct rig *r, const char *account, const char *op, const char *subject, json_t *doc)
{
	struct run *run = rig_begin(r, account, op, subject, doc);

	rig_end_all(r);
	return run;
}

json_t *rig_ok(struct rig *r, const char *op, const char *subject, json_t *doc)
{
	struct run *run = rig_begin(r, "a1", op, subject, doc);

	run->retry = true;
	rig_end_all(r);
	ck_assert_msg(run->ok, "%s of %s: %s (%s)", op, subject, run->err.text, run->err.remedy);
	return run->reply;
}

void rig_pool_open(struct rig *r)
{
	struct pcg_error err;
	struct provider_pool_spec spec = {
		.exe = exe,
		.plugins_dir = TEST_PLUGINS,
		.gateway_uid = "gateway-1",
		.idle_ms = 60000,
		.hooks = { r, keep_secret, give_secrets, keep_checkpoint, take_hint },
	};

	ck_assert_msg(provider_pool_new(&r->loop, &spec, &r->pool, &err) == 0, "%s", err.text);
	rig_account(r, "a1", PASSWORD, NULL, NULL);
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

void rig_pool_close(struct rig *r)
{
	run_free(r);
	r->closed = false;
	provider_pool_close(r->pool, on_closed, &r->closed);
	while (!r->closed)
		uv_run(&r->loop, UV_RUN_ONCE);
	r->pool = NULL;
}

void rig_open(struct rig *r, const char *vcsim_args)
{
	memset(r, 0, sizeof(*r));
	snprintf(r->dir, sizeof(r->dir), "/tmp/check_vsphere.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(r->dir));
	write_file(r->dir, "password", PASSWORD "\n");
	make_certificates(r->dir);
	boot_service_start(r);
	vcsim_start(r, vcsim_args);
	r->secrets = json_object();
	r->checkpoints = json_object();
	uv_loop_init(&r->loop);
	uv_timer_init(&r->loop, &r->limit);
	r->limit.data = r;
	rig_pool_open(r);
}

void rig_close(struct rig *r)
{
	char command[128];
	int status;

	if (r->pool)
		rig_pool_close(r);
	uv_close((uv_handle_t *)&r->limit, NULL);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&r->loop), 0);
	kill(r->vcsim, SIGTERM);
	waitpid(r->vcsim, &status, 0);
	boot_service_stop(r);
	json_decref(r->secrets);
	json_decref(r->checkpoints);
	json_decref(r->ready);
	snprintf(command, sizeof(command), "rm -rf %s", r->dir);
	ck_assert_int_eq(system(command), 0);
}

static void account_set(struct rig *r, const char *uid, const char *password, const char *member, json_t *value, json_t *settings)
{
	AUTO_FREE char *ca = read_file(r->dir, "ca.pem");
	AUTO_JSON json_t *doc = NULL;
	char server[64];

	snprintf(server, sizeof(server), "%s:%s", json_str_or(r->ready, "host", ""), json_str_or(r->ready, "port", ""));
	doc = json_pack("{s:s, s:s, s:s, s:i, s:{s:s, s:s, s:s, s:s}}", "uid", uid, "name", uid, "provider", "vsphere",
			"generation", 1, "spec", "vcenterServer", server, "username", "administrator@vsphere.local", "password",
			password, "caCert", ca);
	if (member)
		json_object_set_new(json_object_get(doc, "spec"), member, value);
	if (settings)
		json_object_set_new(doc, "settings", settings);
	provider_account_set(r->pool, doc);
}

void rig_account(struct rig *r, const char *uid, const char *password, const char *member, json_t *value)
{
	account_set(r, uid, password, member, value, NULL);
}

void rig_account_settings(struct rig *r, const char *uid, json_t *settings)
{
	account_set(r, uid, PASSWORD, NULL, NULL, settings);
}

void rig_restart(struct rig *r)
{
	AUTO_JSON json_t *ready = r->ready;
	char args[160];
	int status;

	kill(r->vcsim, SIGKILL);
	waitpid(r->vcsim, &status, 0);
	snprintf(args, sizeof(args), "--listen %s:%s", json_str_or(ready, "host", ""), json_str_or(ready, "port", ""));
	vcsim_start(r, args);
}

void rig_arm(struct rig *r, const char *point)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/fault", r->dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	setenv("PCG_FAULT_DIR", path, 1);
	snprintf(path, sizeof(path), "%s/fault/arm", r->dir);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "%s 1\n", point);
	fclose(f);
}

void rig_fired(struct rig *r, const char *point)
{
#ifdef PCG_FAULT_POINTS
	char path[256];

	snprintf(path, sizeof(path), "%s/fault/fired.%s", r->dir, point);
	ck_assert_msg(access(path, F_OK) == 0, "%s has not fired", point);
#else
	(void)r;
	(void)point;
#endif
}

void rig_kill_workers(struct rig *r)
{
	AUTO_JSON json_t *list = provider_list(r->pool);
	json_t *item, *account;
	size_t i, k;

	json_array_foreach(json_object_get(list, "items"), i, item)
		json_array_foreach(json_object_get(item, "accounts"), k, account) {
			pid_t pid = (pid_t)json_int_or(account, "pid", 0);

			if (pid > 0)
				kill(pid, SIGKILL);
		}
	while (provider_workers(r->pool))
		uv_run(&r->loop, UV_RUN_ONCE);
}

json_t *rig_cluster(struct rig *r, const char *uid, const char *name)
{
	const char *template = json_str_or(r->ready, "template", "");
	json_t *spec = json_pack(
		"{s:{s:s, s:s, s:i}, s:{s:{s:s, s:s}}, s:{s:s}, s:[{s:s, s:i, s:b, s:{s:{s:i, s:i, s:i}, s:[{s:s, s:s, s:s, s:{s:s}}]}}]}",
		"controlPlaneEndpoint", "type", "VIP", "host", "10.9.0.1", "port", 6443, "cloudConfig", "placement", "datacenter",
		"DC0", "folder", "vm", "image", "template", template, "pools", "name", "control-plane", "size", 1, "controlPlane", 1,
		"cloudConfig", "instanceType", "numCPUs", 4, "memoryMiB", 8192, "diskGiB", 40, "placements", "cluster", "DC0_C0",
		"resourcePool", "Resources", "datastore", "LocalDS_0", "network", "networkName", "DC0_DVPG0");

	ck_assert_ptr_nonnull(spec);
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:o}", "uid", uid, "name", name, "tenant", "t1", "project", "p1", "epoch", 1,
			 "spec", spec);
}

json_t *rig_machine(const json_t *cluster, const char *uid, const char *name)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:O}", "uid", uid, "name", name, "pool", "control-plane", "role", "control-plane",
			 "poolSpec", json_at(cluster, "spec.pools.0"));
}

json_t *rig_doc(json_t *cluster, json_t *machine, json_t *observed)
{
	json_t *doc = json_pack("{s:O, s:{s:O, s:s, s:s, s:s, s:i}, s:s}", "cluster", cluster, "mark", "cluster",
				json_object_get(cluster, "uid"), "pool", "control-plane", "machine",
				json_str_or(machine, "uid", ""), "gateway", "gateway-1", "epoch", 1, "userData",
				"#cloud-config\nwrite_files: []\n");

	ck_assert_ptr_nonnull(doc);
	if (machine)
		json_object_set(doc, "machine", machine);
	if (observed)
		json_object_set(doc, "observed", observed);
	return doc;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	FILE *f = arg;

	return fwrite(data, size, n, f);
}

json_t *rig_admin(struct rig *r, const char *method, const char *path, const char *body)
{
	CURL *c = curl_easy_init();
	char url[512], *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	long status = 0;
	json_t *doc;

	snprintf(url, sizeof(url), "%s%s", json_str_or(r->ready, "admin", ""), path);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(c, CURLOPT_PROXY, "");
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
	curl_easy_setopt(c, CURLOPT_TIMEOUT, 20L);
	if (body)
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
	ck_assert_int_eq(curl_easy_perform(c), CURLE_OK);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(c);
	fclose(f);
	ck_assert_msg(status == 200, "%s %s: %ld %s", method, path, status, text);
	doc = json_loads(text, 0, NULL);
	free(text);
	return doc;
}

json_int_t rig_calls(struct rig *r, const char *method)
{
	AUTO_JSON json_t *doc = rig_admin(r, "GET", "/calls", NULL);
	const json_t *since = json_object_get(doc, "sinceReset");

	return method ? json_integer_value(json_object_get(json_object_get(since, "method"), method)) :
			json_integer_value(json_object_get(since, "total"));
}

static json_t *vmread_with(struct rig *r, const char *more)
{
	static char *vmread;
	char command[5000];
	json_t *doc;
	FILE *p;

	if (!vmread)
		vmread = peer("vmread");
	snprintf(command, sizeof(command), "cd %s && exec %s --url %s --password-file password --ca ca.pem%s", r->dir, vmread,
		 json_str_or(r->ready, "url", ""), more);
	p = popen(command, "r");
	ck_assert_ptr_nonnull(p);
	doc = json_loadf(p, 0, NULL);
	ck_assert_int_eq(pclose(p), 0);
	ck_assert_ptr_nonnull(doc);
	return doc;
}

json_t *rig_vmread(struct rig *r)
{
	return vmread_with(r, "");
}

json_t *rig_vmread_tags(struct rig *r)
{
	return vmread_with(r, " --tags");
}

void rig_vmctl(struct rig *r, const char *command)
{
	AUTO_FREE char *vmctl = peer("vmctl");
	char line[6000];

	snprintf(line, sizeof(line), "cd %s && exec %s --url %s --password-file password --ca ca.pem %s >/dev/null", r->dir, vmctl,
		 json_str_or(r->ready, "url", ""), command);
	run_shell(line);
}

json_t *rig_vm(json_t *inventory, const char *name)
{
	json_t *vm;
	size_t i;

	json_array_foreach(json_object_get(inventory, "items"), i, vm)
		if (strcmp(json_str_or(vm, "name", ""), name) == 0)
			return vm;
	return NULL;
}

char *rig_base64(const char *text, size_t *len)
{
	uint8_t *out = base64_decode(text, strlen(text), len);
	char *copy;

	ck_assert_ptr_nonnull(out);
	copy = strndup((char *)out, *len);
	free(out);
	return copy;
}
