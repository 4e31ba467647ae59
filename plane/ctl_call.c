/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/ctl.h"

#include "core/buf.h"
#include "core/stdout.h"
#include "core/utf8.h"
#include "core/yaml.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define FILE_LIMIT (16u << 20)
#define CALL_MS 60000

int ctl_fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("pcg-planectl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

static int read_fd(int fd, struct buf *out)
{
	char chunk[16384];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		buf_add(out, chunk, (size_t)n);
	secret_wipe(chunk, sizeof(chunk));
	return n < 0 || out->overflow ? -1 : 0;
}

static int read_path(const char *path, struct buf *out)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -1 : read_fd(fd, out);
}

static int state_file(struct ctl *c, const char *name, struct buf *out)
{
	AUTO_FREE char *path = NULL;
	int n = asprintf(&path, "%s/%s", c->state_dir, name);

	assert(n >= 0);
	if (read_path(path, out))
		return ctl_fail(CTL_UNREACHABLE,
				"reading %s: %s; give --state (or PCG_PLANE_STATE) the plane's state folder", path,
				strerror(errno));
	while (out->len && strchr("\r\n ", out->data[out->len - 1]))
		out->data[--out->len] = 0;
	return CTL_DONE;
}

int ctl_connect(struct ctl *c)
{
	struct buf key, ca, url;
	struct http_tls tls = { 0 };
	struct pcg_error err = { 0 };
	int r;

	buf_init_secret(&key, 4096);
	buf_init(&ca, 65536);
	buf_init(&url, 4096);
	r = state_file(c, "api-key", &key);
	if (!r)
		r = state_file(c, "ca.crt", &ca);
	if (!r && c->url_option)
		buf_adds(&url, c->url_option);
	else if (!r)
		r = state_file(c, "url", &url);
	if (!r) {
		buf_adds(&ca, "\n");
		tls.ca_pem = ca.data;
		c->url = strdup(url.data);
		c->key = secret_new(key.data, key.len);
		uv_loop_init(&c->loop);
		c->http = http_client_new(&c->loop, NULL);
		if (http_tls_new(&tls, &c->tls, &err))
			r = ctl_fail(CTL_FAILED, "%s", err.text);
	}
	buf_free(&key);
	buf_free(&ca);
	buf_free(&url);
	return r;
}

void ctl_disconnect(struct ctl *c)
{
	if (!c->http)
		return;
	http_client_close(c->http, NULL, NULL);
	uv_run(&c->loop, UV_RUN_DEFAULT);
	uv_loop_close(&c->loop);
	http_tls_unref(c->tls);
	secret_unref(c->key);
	free(c->url);
}

struct waiting {
	struct ctl_reply *reply;
	bool done;
};

/* Texts that others have written (names, labels in a condition) must not command the terminal. */
static void make_showable(json_t *j)
{
	AUTO_FREE char *text = NULL;
	const char *key;
	json_t *v;
	size_t i;

	json_object_foreach(j, key, v)
		make_showable(v);
	json_array_foreach(j, i, v)
		make_showable(v);
	if (!json_is_string(j))
		return;
	text = strdup(json_string_value(j));
	assert(text);
	utf8_for_terminal(text);
	if (strcmp(text, json_string_value(j)))
		json_string_set(j, text);
}

static void on_done(void *arg, const struct http_response *resp)
{
	struct waiting *w = arg;
	struct pcg_error ignored;

	w->reply->status = resp->status;
	w->reply->err = resp->err;
	w->reply->raw = secret_new(resp->body ? resp->body : "", resp->body_len);
	if (resp->body_len &&
	    json_parse(resp->body, resp->body_len, "the answer", &w->reply->json, &ignored))
		w->reply->json = NULL;
	w->done = true;
}

static void say_fields(const json_t *reply)
{
	json_t *f;
	size_t i;

	json_array_foreach(json_at(reply, "details.fields"), i, f)
		fprintf(stderr, "  %s: %s%s%s\n", json_str_or(f, "field", ""), json_str_or(f, "text", ""),
			json_str(f, "remedy") && *json_str(f, "remedy") ? "; " : "", json_str_or(f, "remedy", ""));
}

static int judge(struct ctl *c, const char *method, const char *path, long allowed, struct ctl_reply *r)
{
	if ((r->status >= 200 && r->status < 300) || (allowed && r->status == allowed))
		return CTL_DONE;
	if (!r->status)
		return ctl_fail(CTL_UNREACHABLE, "%s is not reached: %s%s%s", c->url, r->err.text,
				r->err.remedy[0] ? "; " : "", r->err.remedy);
	make_showable(r->json);
	ctl_fail(CTL_FAILED, "%s", json_str_or(r->json, "message", "the plane refused, and gave no reason"));
	say_fields(r->json);
	return r->status == 404 ? CTL_NOT_FOUND : CTL_FAILED;
}

int ctl_call(struct ctl *c, const char *method, const char *path, const json_t *body, long allowed,
	     struct ctl_reply *reply)
{
	struct http_header headers[] = { { "ApiKey", secret_data(c->key) },
					 { "Content-Type", "application/json" } };
	struct waiting w = { .reply = reply };
	struct http_request req = { .method = method, .headers = headers, .n_headers = body ? 2 : 1,
				    .tls = c->tls, .timeout_ms = CALL_MS, .max_response = 64u << 20 };
	AUTO_FREE char *url = NULL;
	size_t len = 0;
	char *text = body ? json_text_secret(body, &len) : NULL;
	int n = asprintf(&url, "%s%s", c->url, path);

	assert(n >= 0);
	memset(reply, 0, sizeof(*reply));
	req.url = url;
	req.body = text;
	req.body_len = len;
	http_submit(c->http, &req, on_done, &w);
	while (!w.done)
		uv_run(&c->loop, UV_RUN_ONCE);
	if (!c->json)
		make_showable(reply->json);
	if (text)
		secret_wipe(text, len);
	free(text);
	return judge(c, method, path, allowed, reply);
}

void ctl_reply_free(struct ctl_reply *r)
{
	json_decref(r->json);
	secret_unref(r->raw);
	memset(r, 0, sizeof(*r));
}

int ctl_read_file(struct ctl *c, json_t **out)
{
	struct pcg_error err = { 0 };
	struct buf text;
	int r = CTL_DONE;

	if (!c->file)
		return ctl_fail(CTL_USAGE, "give the request with -f FILE (JSON or YAML; -: standard input)");
	buf_init_secret(&text, FILE_LIMIT);
	if (strcmp(c->file, "-") == 0 ? read_fd(0, &text) : read_path(c->file, &text))
		r = ctl_fail(CTL_FAILED, "reading %s: %s", c->file, strerror(errno));
	else if (text.data[strspn(text.data, " \t\r\n")] == '{' ?
			 json_parse(text.data, text.len, c->file, out, &err) :
			 yaml_load_one(text.data, text.len, c->file, out, &err))
		r = ctl_fail(CTL_FAILED, "%s", err.text);
	else if (!json_is_object(*out))
		r = ctl_fail(CTL_FAILED, "%s: holds no object", c->file);
	buf_free(&text);
	return r;
}

static struct {
	int fd;
	struct termios was;
} asked;

/* Who gives up at the question is left with a terminal that shows what is typed. */
static void on_interrupted(int number)
{
	tcsetattr(asked.fd, TCSANOW, &asked.was);
	raise(number);
}

static void when_interrupted(void (*handler)(int))
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction a = { .sa_handler = handler, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER) };

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		sigaction(numbers[i], &a, NULL);
}

static int ask(const char *what, struct buf *out)
{
	AUTO_CLOSE int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	struct termios quiet;
	char ch;

	if (tty < 0 || tcgetattr(tty, &asked.was))
		return -1;
	asked.fd = tty;
	quiet = asked.was;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	when_interrupted(on_interrupted);
	tcsetattr(tty, TCSAFLUSH, &quiet); /* before whoever answers sees the question */
	dprintf(tty, "%s: ", what);
	while (read(tty, &ch, 1) == 1 && ch != '\n')
		buf_add(out, &ch, 1);
	tcsetattr(tty, TCSADRAIN, &asked.was);
	when_interrupted(SIG_DFL);
	dprintf(tty, "\n");
	return 0;
}

/* The first line of what was read. Editors of some systems put a mark (U+FEFF) before it, which is no part of it. */
static const char *first_line(const struct buf *secret, size_t *n)
{
	const char *text = secret->data;
	size_t len = secret->len;

	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		len -= 3;
	}
	for (*n = 0; *n < len && text[*n] != '\r' && text[*n] != '\n';)
		++*n;
	return text;
}

int ctl_read_secret(struct ctl *c, const char *what, json_t *spec)
{
	const char *had = json_str(spec, what), *line;
	struct buf secret;
	size_t n;
	int r = CTL_DONE;

	if (had && *had && !c->password_file)
		return CTL_DONE;
	buf_init_secret(&secret, 65536);
	if (!c->password_file || (strcmp(c->password_file, "-") == 0 && isatty(0)) ? ask(what, &secret) :
	    strcmp(c->password_file, "-") == 0 ? read_fd(0, &secret) : read_path(c->password_file, &secret))
		r = ctl_fail(CTL_FAILED, "%s%s%s", c->password_file ? "reading " : "the account needs ",
			     c->password_file ? c->password_file : what,
			     c->password_file ? ": cannot be read" :
						": give it in a file with --password-file, there is no terminal to ask at");
	else if (!(line = first_line(&secret, &n), n))
		r = ctl_fail(CTL_FAILED, "the %s is empty%s%s%s", what, c->password_file ? ": there is nothing in the first line of " : "",
			     c->password_file ? c->password_file : "", c->password_file ? "" : ": nothing was typed");
	else if (memchr(line, 0, n) || json_object_set_new(spec, what, json_stringn(line, n)))
		r = ctl_fail(CTL_FAILED, "the %s is not UTF-8%s", what, memchr(line, 0, n) ? ": it has zero bytes" : "");
	buf_free(&secret);
	return r;
}

int ctl_read_ca(struct ctl *c, json_t *spec)
{
	struct buf pem;
	int r = CTL_DONE;

	if (!c->ca_file)
		return CTL_DONE;
	buf_init(&pem, FILE_LIMIT);
	if (strcmp(c->ca_file, "-") == 0 ? read_fd(0, &pem) : read_path(c->ca_file, &pem))
		r = ctl_fail(CTL_FAILED, "reading %s: %s", c->ca_file, strerror(errno));
	else if (!memmem(pem.data, pem.len, "-----BEGIN ", 11) ||
		 json_object_set_new(spec, "caCert", json_stringn(pem.data, pem.len)))
		r = ctl_fail(CTL_USAGE, "%s holds no certificate as PEM; of a DER file: openssl x509 -inform DER -in FILE", c->ca_file);
	buf_free(&pem);
	return r;
}

void ctl_print_json(const json_t *j)
{
	AUTO_FREE char *text = json_text(j);

	puts(text);
	stdout_flush();
}

/* number: room for what is no text. */
static const char *cell(const json_t *item, const char *path, char number[24])
{
	const json_t *v = json_at(item, path);

	if (json_is_string(v))
		return json_string_length(v) ? json_string_value(v) : "-";
	if (json_is_integer(v))
		snprintf(number, 24, "%lld", (long long)json_integer_value(v));
	else if (json_is_boolean(v))
		snprintf(number, 24, "%s", json_is_true(v) ? "yes" : "no");
	else
		snprintf(number, 24, "-");
	return number;
}

/* Characters, as far as each takes one place. */
static size_t places(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(const char *text, size_t width, bool last)
{
	size_t n = places(text);

	for (; *text; text++)
		putchar((unsigned char)*text < 0x20 ? ' ' : *text);
	if (last)
		putchar('\n');
	else
		printf("%*s", (int)(width > n ? width - n : 0) + 2, "");
}

void ctl_table(const json_t *items, const char *const *columns, const char *const *paths)
{
	ctl_table_rows(items, columns, paths, true);
}

void ctl_table_rows(const json_t *items, const char *const *columns, const char *const *paths, bool header)
{
	size_t width[16] = { 0 }, n = 0, i;
	char number[24];
	json_t *item;

	for (; columns[n]; n++)
		width[n] = strlen(columns[n]);
	json_array_foreach((json_t *)items, i, item)
		for (size_t k = 0; k < n; k++) {
			size_t needs = places(cell(item, paths[k], number));

			width[k] = needs > width[k] ? needs : width[k];
		}
	for (size_t k = 0; header && k < n; k++)
		print_cell(columns[k], width[k], k + 1 == n);
	json_array_foreach((json_t *)items, i, item)
		for (size_t k = 0; k < n; k++)
			print_cell(cell(item, paths[k], number), width[k], k + 1 == n);
}

int ctl_print_list(struct ctl *c, const json_t *items, const char *const *columns, const char *const *paths)
{
	AUTO_JSON json_t *doc = json_pack("{s:O}", "items", items);

	if (c->json)
		ctl_print_json(doc);
	else
		ctl_table(items, columns, paths);
	return CTL_DONE;
}
