/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/bootstrap/bootstrap.h"

/* render_bootstrap WHAT < INPUT: what host/bootstrap makes of an input document, for readers of
 * others. Keys are made when the input has none. */

#include "core/clock.h"

#include <stdio.h>
#include <string.h>

static int fail(const struct pcg_error *err)
{
	fprintf(stderr, "render_bootstrap: %s (%s)\n", err->text, err->remedy);
	return 1;
}

static int print_json(int r, json_t *j, const struct pcg_error *err)
{
	if (r)
		return fail(err);
	json_dumpf(j, stdout, JSON_INDENT(1));
	json_decref(j);
	return 0;
}

static int print_buf(int r, struct buf *b, const struct pcg_error *err)
{
	if (!r)
		fwrite(b->data, 1, b->len, stdout);
	buf_free(b);
	return r ? fail(err) : 0;
}

static int kubeconfig(const json_t *input, struct buf *b, struct pcg_error *err)
{
	return bootstrap_kubeconfig(json_str_or(input, "spec.name", "c1"),
				    json_at(input, "endpoint"), json_at(input, "keys"), 3600000, b,
				    err);
}

static int render(const char *what, const json_t *input)
{
	struct pcg_error err;
	json_t *j = NULL;
	struct buf b;
	int r;

	buf_init_secret(&b, 8 << 20);
	if (strcmp(what, "user-data") == 0)
		return print_buf(bootstrap_user_data(input, &b, &err), &b, &err);
	if (strcmp(what, "kubeadm") == 0)
		return print_buf(bootstrap_kubeadm_yaml(input, &b, &err), &b, &err);
	if (strcmp(what, "kubeconfig") == 0)
		return print_buf(kubeconfig(input, &b, &err), &b, &err);
	buf_free(&b);
	if (strcmp(what, "control-plane") == 0) {
		r = bootstrap_control_plane_spec(input, &j, &err);
		return print_json(r, j, &err);
	}
	if (strcmp(what, "first-machine") == 0) {
		r = bootstrap_first_machine_spec(input, &j, &err);
		return print_json(r, j, &err);
	}
	if (strcmp(what, "worker") == 0) {
		r = bootstrap_worker_spec(input, &j, &err);
		return print_json(r, j, &err);
	}
	if (strcmp(what, "check") == 0)
		return print_json(0, bootstrap_check(json_at(input, "spec")), &err);
	if (strcmp(what, "keys") == 0)
		return print_json(0, json_incref(json_at(input, "keys")), &err);
	fprintf(stderr, "render_bootstrap: what is \"%s\"?\n", what);
	return 2;
}

int main(int argc, char **argv)
{
	struct pcg_error err;
	json_error_t jerr;
	json_t *input = json_loadf(stdin, 0, &jerr), *keys = NULL;
	int r;

	if (argc != 2 || !input) {
		fprintf(stderr, "render_bootstrap: input: %s\n", jerr.text);
		return 2;
	}
	if (!json_at(input, "keys")) {
		if (bootstrap_keys_new(json_at(input, "spec"), clock_wall_ms(), &keys, &err))
			return fail(&err);
		json_object_set_new(input, "keys", keys);
	}
	r = render(argv[1], input);
	json_decref(input);
	return r;
}
