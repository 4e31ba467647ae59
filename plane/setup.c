/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/plane.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/id.h"
#include "core/log.h"
#include "net/pki.h"
#include "plane/rows.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define APPLICATION_ID 0x50434750u /* "PCGP" */
#define DAY_MS (24LL * 3600 * 1000)
#define CA_LIFE_MS (3650 * DAY_MS)
#define SERVER_LIFE_MS (365 * DAY_MS)

static int make_dir(const char *path, struct pcg_error *err)
{
	AUTO_FREE char *copy = strdup(path);
	struct stat st;

	assert(copy);
	for (char *s = copy + 1; *s; s++) {
		if (*s != '/')
			continue;
		*s = 0;
		if (mkdir(copy, 0755) && errno != EEXIST)
			return pcg_fail_errno(err, errno, "making the folder %s", copy);
		*s = '/';
	}
	if (mkdir(path, 0700) && errno != EEXIST)
		return pcg_fail_errno(err, errno, "making the folder %s", path);
	if (stat(path, &st))
		return pcg_fail_errno(err, errno, "looking at %s", path);
	if (!S_ISDIR(st.st_mode) || (st.st_mode & 0022))
		return pcg_fail(err, PCG_CLASS_PERMANENT,
				"give --state a folder of its own that only this user may change",
				"state folder %s: is no folder, or others may write to it", path);
	return 0;
}

static int open_db(struct plane *p, struct pcg_error *err)
{
	AUTO_FREE char *path = NULL;
	struct db_spec spec = { .kind = "pcg-plane", .application_id = APPLICATION_ID,
				.version = PLANE_VERSION, .schema = rows_schema };
	int n = asprintf(&path, "%s/plane.db", p->opt.state_dir);

	assert(n >= 0);
	spec.path = path;
	return db_open(&spec, &p->db, err);
}

/* A key is made for a new database only: for an old one another key would open nothing. */
static int load_key(struct plane *p, struct pcg_error *err)
{
	AUTO_FREE char *path = NULL;
	int n = asprintf(&path, "%s/plane.key", p->opt.state_dir);

	assert(n >= 0);
	return secret_key_load("pcg-plane.key", path, p->id == NULL, &p->key, err);
}

static int make_ca(struct plane *p, struct pcg_error *err)
{
	struct pki_cert_spec spec = { .common_name = "pcg-plane CA", .is_ca = true };
	AUTO_FREE char *pem = NULL;
	struct secret *key = NULL;
	int r;

	spec.not_before_ms = clock_wall_ms() - 3600 * 1000;
	spec.not_after_ms = spec.not_before_ms + CA_LIFE_MS;
	r = pki_key_new(PKI_ECDSA_P256, &key, err);
	if (!r)
		r = pki_self_signed(&spec, key, &pem, err);
	if (!r)
		r = rows_secret_put(p, "plane", "ca-key", secret_data(key), secret_len(key), err);
	if (!r)
		r = rows_meta_put(p, "ca", pem, err);
	secret_unref(key);
	return r;
}

static void random_text(char out[65])
{
	uint8_t bytes[32];

	id_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	secret_wipe(bytes, sizeof(bytes));
}

static int write_secret_file(struct plane *p, const char *name, const char *value,
			     struct pcg_error *err)
{
	char line[80];
	int n = snprintf(line, sizeof(line), "%s\n", value);
	int r = setup_write_file(p->opt.state_dir, name, line, (size_t)n, 0600, err);

	secret_wipe(line, sizeof(line));
	return r;
}

/* The files are there before the database says that the first start is over: a plane that dies in
 * between makes everything anew. */
static int make_credentials(struct plane *p, const char *user, struct pcg_error *err)
{
	char key[65], hash[65], uid[25], now[CLOCK_RFC3339_SIZE];
	AUTO_JSON json_t *doc = NULL;
	int r;

	random_text(key);
	setup_sha256(key, strlen(key), hash);
	id_hex24(uid);
	doc = json_pack("{s:s,s:s,s:s,s:s,s:b,s:s}", "uid", uid, "name", "first", "hash", hash, "user", user, "isActive", 1,
			"createdAt", clock_rfc3339(clock_wall_ms(), now));
	r = write_secret_file(p, "api-key", key, err);
	if (!r)
		r = rows_put(p, ROWS_APIKEY, uid, hash, user, doc, err);
	secret_wipe(key, sizeof(key));
	if (r)
		return r;
	random_text(key);
	setup_sha256(key, strlen(key), hash);
	r = write_secret_file(p, "admin-password", key, err);
	if (!r)
		r = rows_meta_put(p, "admin-password", hash, err);
	secret_wipe(key, sizeof(key));
	return r;
}

static int first_start(struct plane *p, struct pcg_error *err)
{
	static const char *const ids[] = { "tenant", "project", "user" };
	char uid[37], user[25] = "";
	int r = db_begin(p->db, err);

	if (r)
		return r;
	id_uuid4(uid);
	r = rows_meta_put(p, "id", uid, err);
	for (size_t i = 0; !r && i < ARRAY_LEN(ids); i++) {
		id_hex24(user);
		r = rows_meta_put(p, ids[i], user, err);
	}
	if (!r)
		r = make_ca(p, err);
	if (!r)
		r = make_credentials(p, user, err);
	FAULT_POINT("plane.before_first_start_commit");
	if (!r)
		r = db_commit(p->db, err);
	if (r)
		db_rollback(p->db);
	FAULT_POINT("plane.after_first_start_commit");
	return r;
}

static int load_identity(struct plane *p, struct pcg_error *err)
{
	int r = rows_meta_get(p, "tenant", &p->tenant, err);

	if (!r)
		r = rows_meta_get(p, "project", &p->project, err);
	if (!r)
		r = rows_meta_get(p, "user", &p->user, err);
	if (!r)
		r = rows_meta_get(p, "ca", &p->ca_pem, err);
	if (!r)
		r = rows_secret_get(p, "plane", "ca-key", &p->ca_key, err);
	if (r < 0)
		return r;
	if (!p->ca_pem || !p->ca_key || !p->tenant || !p->project || !p->user)
		return pcg_fail(err, PCG_CLASS_PERMANENT, "restore plane.db and plane.key from one backup",
				"%s/plane.db: its identity is not whole", p->opt.state_dir);
	return setup_write_file(p->opt.state_dir, "ca.crt", p->ca_pem, strlen(p->ca_pem), 0644, err);
}

int setup_open(struct plane *p, bool *first, struct pcg_error *err)
{
	int r = make_dir(p->opt.state_dir, err);

	*first = false;
	if (!r)
		r = open_db(p, err);
	if (!r)
		r = rows_meta_get(p, "id", &p->id, err);
	if (!r)
		r = load_key(p, err);
	if (r)
		return r;
	if (!p->id) {
		*first = true;
		r = first_start(p, err);
		if (!r)
			r = rows_meta_get(p, "id", &p->id, err);
	}
	return r ? r : load_identity(p, err);
}

/* Takes what is stored, in place of what an earlier look took. */
static bool certificate_good(struct plane *p, const char *names)
{
	struct pcg_error err;
	struct pki_info info;
	AUTO_FREE char *had = NULL;
	int64_t now = clock_wall_ms();

	free(TAKE(p->server_pem));
	secret_unref(TAKE(p->server_key));
	if (rows_meta_get(p, "server-names", &had, &err) || !had || strcmp(had, names) != 0 ||
	    rows_meta_get(p, "server", &p->server_pem, &err) || !p->server_pem ||
	    rows_secret_get(p, "plane", "server-key", &p->server_key, &err) <= 0)
		return false;
	return pki_cert_info(p->server_pem, &info, &err) == 0 &&
	       info.not_after_ms - now > SERVER_LIFE_MS / 3;
}

static bool is_address(const char *s)
{
	struct sockaddr_in a4;
	struct sockaddr_in6 a6;

	return uv_ip4_addr(s, 0, &a4) == 0 || uv_ip6_addr(s, 0, &a6) == 0;
}

static int make_server_certificate(struct plane *p, const char *const *dns, const char *const *ip,
				   const char *names, struct pcg_error *err)
{
	struct pki_cert_spec spec = { .common_name = "pcg-plane", .dns = dns, .ip = ip,
				      .server_auth = true };
	int r;

	spec.not_before_ms = clock_wall_ms() - 3600 * 1000;
	spec.not_after_ms = spec.not_before_ms + SERVER_LIFE_MS;
	secret_unref(TAKE(p->server_key));
	free(TAKE(p->server_pem));
	r = pki_key_new(PKI_ECDSA_P256, &p->server_key, err);
	if (!r)
		r = pki_sign(&spec, p->server_key, p->ca_pem, p->ca_key, &p->server_pem, err);
	if (!r)
		r = db_begin(p->db, err);
	if (r)
		return r;
	r = rows_secret_put(p, "plane", "server-key", secret_data(p->server_key),
			    secret_len(p->server_key), err);
	if (!r)
		r = rows_meta_put(p, "server", p->server_pem, err);
	if (!r)
		r = rows_meta_put(p, "server-names", names, err);
	if (!r)
		r = db_commit(p->db, err);
	if (r)
		db_rollback(p->db);
	return r;
}

int setup_server_certificate(struct plane *p, struct pcg_error *err)
{
	const char *dns[34] = { "localhost" }, *ip[34] = { "127.0.0.1", "::1" };
	size_t n_dns = 1, n_ip = 2;
	struct buf names;
	int r = 0;

	buf_init(&names, 16384);
	for (size_t i = 0; p->opt.names && p->opt.names[i] && i < 32; i++) {
		if (is_address(p->opt.names[i]))
			ip[n_ip++] = p->opt.names[i];
		else
			dns[n_dns++] = p->opt.names[i];
		buf_adds(&names, p->opt.names[i]);
		buf_adds(&names, ",");
	}
	dns[n_dns] = NULL;
	ip[n_ip] = NULL;
	if (!certificate_good(p, names.data))
		r = make_server_certificate(p, dns, ip, names.data, err);
	buf_free(&names);
	return r;
}

void setup_close(struct plane *p)
{
	db_close(p->db);
	secret_unref(p->key);
	secret_unref(p->ca_key);
	secret_unref(p->server_key);
	free(p->id);
	free(p->tenant);
	free(p->project);
	free(p->user);
	free(p->ca_pem);
	free(p->server_pem);
	free(p->url);
}
