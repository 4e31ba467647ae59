/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/gateways_impl.h"

#include "core/clock.h"
#include "core/fault.h"
#include "core/id.h"
#include "core/log.h"
#include "core/utf8.h"
#include "net/pki.h"
#include "plane/api.h"
#include "plane/rows.h"

#include <stdio.h>
#include <string.h>

#define CODE_LEN 20

struct pairing {
	char hash[65], overlord[64], cloud_type[32], name[128], used_key[65], gateway[64];
	int64_t expires_ms;
};

static void column(sqlite3_stmt *st, int col, char *out, size_t size)
{
	const char *s = (const char *)sqlite3_column_text(st, col);

	snprintf(out, size, "%.*s", s ? (int)utf8_cut(s, strlen(s), size - 1) : 0, s ? s : "");
}

int gateway_row_get(struct plane *p, const char *uid, struct gateway_row *row, struct pcg_error *err)
{
	sqlite3_stmt *st;
	int r = db_prepare(p->db,
			   "SELECT uid, serial, next_serial, acked, sent, contact_ms FROM gateways"
			   " WHERE uid=?",
			   &st, err);

	if (!r)
		r = db_bind(p->db, st, err, "s", uid);
	if (r)
		return r;
	r = sqlite3_step(st);
	if (r != SQLITE_ROW && r != SQLITE_DONE)
		return db_fail(p->db, err, "reading a gateway");
	if (r == SQLITE_ROW) {
		column(st, 0, row->uid, sizeof(row->uid));
		column(st, 1, row->serial, sizeof(row->serial));
		column(st, 2, row->next_serial, sizeof(row->next_serial));
		row->acked = sqlite3_column_int64(st, 3);
		row->sent = sqlite3_column_int64(st, 4);
		row->contact_ms = sqlite3_column_int64(st, 5);
	}
	sqlite3_reset(st);
	return r == SQLITE_ROW;
}

static int refuse_identity(struct http_exchange *x, const char *why)
{
	api_answer_error(x, 401, "CertificateRefused", why, NULL);
	return 0;
}

int gateway_identify(struct plane *p, struct http_exchange *x, const struct http_server_request *req,
		     struct gateway_row *row, struct pcg_error *err)
{
	int r;

	if (!req->client)
		return refuse_identity(x, "no client certificate was sent: pair this gateway");
	r = gateway_row_get(p, req->client->common_name, row, err);
	if (r < 0)
		return r;
	if (r == 0)
		return refuse_identity(x, "this plane does not know this gateway (any longer): pair it again");
	/* A handshake that ends tells a gateway as little as a plane that is away, and it would go on with its work. */
	if (req->client->expired)
		return refuse_identity(x, "this gateway's certificate has expired: pair it again (if it should be good still, look at "
					  "the plane's clock)");
	if (strcmp(req->client->serial_hex, row->serial) == 0)
		return 1;
	if (!row->next_serial[0] || strcmp(req->client->serial_hex, row->next_serial) != 0)
		return refuse_identity(x, "this certificate was replaced: the gateway was paired again or "
					  "removed; pair this one again if it shall take over");
	r = db_exec(p->db, err, "UPDATE gateways SET serial=next_serial, next_serial=NULL WHERE uid=?",
		    "s", row->uid);
	if (r)
		return r;
	log_info("gateway_certificate_renewed", LS("gateway", row->uid));
	return 1;
}

int gateways_pairing_new(struct plane *p, const char *overlord, const char *cloud_type,
			 const char *name, char out[32], struct pcg_error *err)
{
	char hash[65];
	int r;

	id_suffix(out, CODE_LEN);
	setup_sha256(out, strlen(out), hash);
	r = db_exec(p->db, err, "DELETE FROM pairing WHERE expires_ms < ?", "i",
		    clock_wall_ms() - 24 * 3600 * 1000);
	if (r)
		return r;
	return db_exec(p->db, err,
		       "INSERT INTO pairing(hash, overlord, cloud_type, name, expires_ms) VALUES(?,?,?,?,?)",
		       "ssssi", hash, overlord, cloud_type, name,
		       clock_wall_ms() + p->opt.pairing_life_s * 1000);
}

static int pairing_get(struct plane *p, const char *code, struct pairing *out, struct pcg_error *err)
{
	sqlite3_stmt *st;
	int r;

	memset(out, 0, sizeof(*out));
	setup_sha256(code, strlen(code), out->hash);
	r = db_prepare(p->db,
		       "SELECT overlord, cloud_type, name, used_key, gateway, expires_ms FROM pairing"
		       " WHERE hash=?",
		       &st, err);
	if (!r)
		r = db_bind(p->db, st, err, "s", out->hash);
	if (r)
		return r;
	r = sqlite3_step(st);
	if (r != SQLITE_ROW && r != SQLITE_DONE)
		return db_fail(p->db, err, "reading a pairing code");
	if (r == SQLITE_ROW) {
		column(st, 0, out->overlord, sizeof(out->overlord));
		column(st, 1, out->cloud_type, sizeof(out->cloud_type));
		column(st, 2, out->name, sizeof(out->name));
		column(st, 3, out->used_key, sizeof(out->used_key));
		column(st, 4, out->gateway, sizeof(out->gateway));
		out->expires_ms = sqlite3_column_int64(st, 5);
	}
	sqlite3_reset(st);
	return r == SQLITE_ROW;
}

static const char wrong_code[] = "the pairing code is wrong: make one with 'pcg-planectl pair'";
static const char used_code[] = "the pairing code was used already: make a new one with 'pcg-planectl pair'";
static const char expired_code[] = "the pairing code has expired: make a new one with 'pcg-planectl pair'";

int gateways_pairing_check(struct plane *p, const char *code, const char **why, struct pcg_error *err)
{
	struct pairing pair;
	int r = pairing_get(p, code, &pair, err);

	*why = NULL;
	if (r < 0)
		return r;
	if (r == 0)
		*why = wrong_code;
	else if (pair.used_key[0])
		*why = used_code;
	else if (pair.expires_ms < clock_wall_ms())
		*why = expired_code;
	return *why == NULL;
}

int gateways_pairing_bind(struct plane *p, const char *code, const char *overlord,
			  struct pcg_error *err)
{
	char hash[65];

	setup_sha256(code, strlen(code), hash);
	return db_exec(p->db, err, "UPDATE pairing SET overlord=? WHERE hash=?", "ss", overlord, hash);
}

static int sign(struct plane *p, const char *uid, const char *csr, char **pem, struct pki_info *info,
		struct pcg_error *err)
{
	struct pki_cert_spec spec = { .common_name = uid, .organization = "pcg-gateway",
				      .client_auth = true };
	int r;

	spec.not_before_ms = clock_wall_ms() - 300 * 1000;
	spec.not_after_ms = clock_wall_ms() + p->opt.certificate_life_s * 1000;
	r = pki_sign_csr(&spec, csr, p->ca_pem, p->ca_key, pem, err);
	return r ? r : pki_cert_info(*pem, info, err);
}

/* A gateway's name is what people look it up by: two of them never share one. */
static int overlord_make(struct plane *p, const char *uid, const struct pairing *pair,
			 const char *host_name, struct pcg_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_JSON json_t *other = NULL;
	char name[160], now[CLOCK_RFC3339_SIZE];
	const char *given = pair->name[0] ? pair->name : host_name && *host_name ? host_name : "gateway";
	int r;

	snprintf(name, sizeof(name), "%.*s", (int)utf8_cut(given, strlen(given), 120), given);
	r = rows_find(p, ROWS_OVERLORD, name, &other, err);
	if (r < 0)
		return r;
	if (r > 0)
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "-%.5s", uid);
	clock_rfc3339(clock_wall_ms(), now);
	doc = json_pack("{s:s,s:s,s:{s:s,s:s,s:{},s:{},s:s,s:s}}", "uid", uid, "kind",
			pair->cloud_type[0] ? pair->cloud_type : "all", "metadata", "uid", uid, "name", name,
			"labels", "annotations", "creationTimestamp", now, "lastModifiedTimestamp", now);
	return rows_put(p, ROWS_OVERLORD, uid, name, "", doc, err);
}

static int record(struct plane *p, const struct pairing *pair, const char *uid, const char *host_name,
		  const struct pki_info *info, struct pcg_error *err)
{
	AUTO_JSON json_t *had = NULL;
	int r = rows_get(p, ROWS_OVERLORD, uid, &had, err);

	if (r == 0)
		r = overlord_make(p, uid, pair, host_name, err);
	if (r < 0)
		return r;
	r = db_exec(p->db, err,
		    "INSERT INTO gateways(uid, serial) VALUES(?,?) ON CONFLICT(uid) DO UPDATE SET"
		    " serial=excluded.serial, next_serial=NULL",
		    "ss", uid, info->serial_hex);
	if (r)
		return r;
	return db_exec(p->db, err, "UPDATE pairing SET used_key=?, gateway=? WHERE hash=?", "sss",
		       info->spki_sha256, uid, pair->hash);
}

static int answer_certificate(struct plane *p, struct http_exchange *x, const char *uid,
			      const char *pem, const struct pki_info *info)
{
	AUTO_JSON json_t *reply = NULL;
	char end[CLOCK_RFC3339_SIZE];

	reply = json_pack("{s:s,s:s,s:s,s:s,s:s}", "gatewayUid", uid, "certificate", pem, "ca", p->ca_pem,
			  "planeId", p->id, "notAfter", clock_rfc3339(info->not_after_ms, end));
	http_exchange_reply_json(x, 200, reply);
	return 0;
}

static int refuse_code(struct http_exchange *x, const char *why)
{
	api_answer_error(x, 403, "PairingCodeRefused", why, NULL);
	log_warn("gateway_enrolment_refused", LS("cause", why));
	return 0;
}

int gateway_enrol(struct plane *p, struct http_exchange *x, const json_t *body, struct pcg_error *err)
{
	const char *code = json_str(body, "pairingCode"), *csr = json_str(body, "csr");
	AUTO_FREE char *pem = NULL;
	struct pki_info info;
	struct pairing pair;
	char uid[64];
	int r;

	if (!code || !csr) {
		api_answer_error(x, 400, "InvalidRequest", "pairingCode and csr are needed", NULL);
		return 0;
	}
	r = pairing_get(p, code, &pair, err);
	if (r < 0)
		return r;
	if (r == 0)
		return refuse_code(x, wrong_code);
	if (pair.expires_ms < clock_wall_ms())
		return refuse_code(x, expired_code);
	if (pair.gateway[0])
		snprintf(uid, sizeof(uid), "%s", pair.gateway);
	else if (pair.overlord[0])
		snprintf(uid, sizeof(uid), "%s", pair.overlord);
	else
		id_hex24(uid);
	if (sign(p, uid, csr, &pem, &info, err)) {
		api_answer_error(x, 400, "InvalidRequest", err->text, NULL);
		return 0;
	}
	if (pair.used_key[0] && strcmp(pair.used_key, info.spki_sha256) != 0)
		return refuse_code(x, used_code);
	r = db_begin(p->db, err);
	if (r)
		return r;
	r = record(p, &pair, uid, json_str(body, "hostName"), &info, err);
	FAULT_POINT("plane.before_enrol_commit");
	if (!r)
		r = db_commit(p->db, err);
	if (r) {
		db_rollback(p->db);
		return r;
	}
	FAULT_POINT("plane.after_enrol_commit");
	gateways_drop(p, uid);
	log_info("gateway_enrolled", LS("gateway", uid), LS("serial", info.serial_hex));
	return answer_certificate(p, x, uid, pem, &info);
}

int gateway_renew(struct plane *p, struct http_exchange *x, const struct gateway_row *row,
		  const json_t *body, struct pcg_error *err)
{
	const char *csr = json_str(body, "csr");
	AUTO_FREE char *pem = NULL;
	struct pki_info info;
	int r;

	if (!csr || sign(p, row->uid, csr, &pem, &info, err)) {
		api_answer_error(x, 400, "InvalidRequest", csr ? err->text : "csr is needed", NULL);
		return 0;
	}
	r = db_exec(p->db, err, "UPDATE gateways SET next_serial=? WHERE uid=?", "ss", info.serial_hex,
		    row->uid);
	if (r)
		return r;
	FAULT_POINT("plane.after_renewal_stored");
	return answer_certificate(p, x, row->uid, pem, &info);
}

int gateways_revoke(struct plane *p, const char *gateway, struct pcg_error *err)
{
	gateways_drop(p, gateway);
	return db_exec(p->db, err, "DELETE FROM gateways WHERE uid=?", "s", gateway);
}
