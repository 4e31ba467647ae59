/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLANE_CTL_H
#define PLANE_CTL_H

/* pcg-planectl: one command, one process. Blocking. */

#include "core/error.h"
#include "core/json.h"
#include "core/secret.h"
#include "net/http_client.h"

#include <stdbool.h>
#include <uv.h>

enum { CTL_DONE = 0, CTL_FAILED = 1, CTL_USAGE = 2, CTL_NOT_FOUND = 3, CTL_UNREACHABLE = 4 };

#define CTL_FILTERS 8

struct ctl {
	const char *state_dir, *url_option;
	bool json;
	const char *file;          /* -f */
	const char *password_file;
	const char *overlord, *cloud, *name, *until, *account;
	bool force, abandon, no_validate;
	int64_t timeout_s;
	const char *ca_file;       /* PEM, for an account's caCert */
	const char *filters[CTL_FILTERS]; /* NAME=VALUE */
	size_t n_filters;
	/* the connection */
	uv_loop_t loop;
	struct http_client *http;
	struct http_tls_ctx *tls;
	char *url;
	struct secret *key;
};

struct ctl_reply {
	long status;
	json_t *json;        /* NULL: the answer is not JSON */
	struct secret *raw;
	struct pcg_error err; /* when status is 0 */
};

int ctl_connect(struct ctl *c);
void ctl_disconnect(struct ctl *c);
/* body may be NULL. The caller ends reply with ctl_reply_free. Returns an exit status; anything but CTL_DONE was told
 * on standard error, unless the status is allowed (0: none). */
int ctl_call(struct ctl *c, const char *method, const char *path, const json_t *body, long allowed,
	     struct ctl_reply *reply);
void ctl_reply_free(struct ctl_reply *r);
int ctl_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* c->file ("-": standard input), JSON or YAML, one object. */
int ctl_read_file(struct ctl *c, json_t **out);
/* Puts the secret that the account's spec lacks into it: from --password-file, or asked for without echo. */
int ctl_read_ca(struct ctl *c, json_t *spec); /* --ca-file, when it was given, as caCert */
int ctl_read_secret(struct ctl *c, const char *what, json_t *spec);

/* columns: names, NULL-terminated; paths: where in an item, NULL-terminated. */
void ctl_table(const json_t *items, const char *const *columns, const char *const *paths);
/* The same without the names of the columns, for what comes in pages. */
void ctl_table_rows(const json_t *items, const char *const *columns, const char *const *paths, bool header);
void ctl_print_json(const json_t *j);
/* {"items":[...]} or a table. */
int ctl_print_list(struct ctl *c, const json_t *items, const char *const *columns, const char *const *paths);

/* items of a list, a new reference. */
int ctl_get_items(struct ctl *c, const char *path, json_t **items);
/* POST, and what was made is told as "WHAT NAME created". */
int ctl_post_new(struct ctl *c, const char *path, const char *what, const json_t *body);
/* The gateway that --overlord names, else the only one. */
int ctl_choose_overlord(struct ctl *c, char uid[64]);

/* An item of the list at path by its name, which no other may have, or its uid; a new reference. */
int ctl_find_item(struct ctl *c, const char *path, const char *what, const char *arg, json_t **found);
/* PUT or DELETE of an item of the list at path, told as "WHAT NAME DONE". */
int ctl_change(struct ctl *c, const char *method, const char *what, const char *done, const char *path,
	       const json_t *item, const json_t *body);
/* May stand in a path as it is. */
bool ctl_plain(const char *s);
/* What --cloud or the file says; NULL: neither. */
const char *ctl_cloud_of(const struct ctl *c, const json_t *doc);

int ctl_gateway_list(struct ctl *c, const char *arg);
int ctl_pair(struct ctl *c, const char *arg);
int ctl_account_add(struct ctl *c, const char *arg);
int ctl_account_update(struct ctl *c, const char *arg);
int ctl_account_remove(struct ctl *c, const char *arg);
int ctl_account_validate(struct ctl *c, const char *arg);
/* By uid or name; a new reference. */
int ctl_find_account(struct ctl *c, const char *arg, json_t **found);
int ctl_account_choices(struct ctl *c, const char *arg);
int ctl_account_list(struct ctl *c, const char *arg);
int ctl_profile_add(struct ctl *c, const char *arg);
int ctl_profile_remove(struct ctl *c, const char *arg);
int ctl_profile_list(struct ctl *c, const char *arg);
int ctl_cluster_create(struct ctl *c, const char *arg);
int ctl_cluster_list(struct ctl *c, const char *arg);
int ctl_cluster_get(struct ctl *c, const char *arg);
int ctl_cluster_watch(struct ctl *c, const char *arg);
int ctl_cluster_kubeconfig(struct ctl *c, const char *arg);
int ctl_cluster_delete(struct ctl *c, const char *arg);
int ctl_cluster_found(struct ctl *c, const char *arg);
int ctl_cluster_adopt(struct ctl *c, const char *arg);
/* Names of IP pools stand for uids where the API wants one. */
int ctl_name_pools(struct ctl *c, const char *overlord, json_t *doc);
int ctl_pool_list(struct ctl *c, const char *arg);
int ctl_pool_add(struct ctl *c, const char *arg);
int ctl_pool_update(struct ctl *c, const char *arg);
int ctl_pool_remove(struct ctl *c, const char *arg);
int ctl_pool_show(struct ctl *c, const char *arg);
int ctl_dns_list(struct ctl *c, const char *arg);
int ctl_dns_add(struct ctl *c, const char *arg);
int ctl_dns_remove(struct ctl *c, const char *arg);

#endif
