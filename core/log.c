/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/log.h"
#include "core/clock.h"
#include "core/utf8.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VALUE_MAX 512
#define LINE_MAX_BYTES 8192

static char prog_name[32] = "pcg";
static _Atomic int level_max = LOG_L_INFO;
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER; /* whole lines only */

static const char *const level_names[] = { "error", "warn", "info", "debug" };

struct line {
	char text[LINE_MAX_BYTES];
	size_t len;
};

void log_init(const char *prog, enum log_level level)
{
	snprintf(prog_name, sizeof(prog_name), "%s", prog);
	log_set_level(level);
}

void log_set_level(enum log_level level)
{
	atomic_store(&level_max, (int)level);
}

int log_level_parse(const char *name, enum log_level *level)
{
	for (int i = LOG_L_ERROR; name && i <= LOG_L_DEBUG; i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*level = i;
			return 0;
		}
	}
	return -1;
}

/* One byte stays free for the line's end. */
static bool put(struct line *l, const char *s, size_t len)
{
	if (len >= sizeof(l->text) - l->len)
		return false;
	memcpy(l->text + l->len, s, len);
	l->len += len;
	return true;
}

static bool puts_line(struct line *l, const char *s)
{
	return put(l, s, strlen(s));
}

/* Characters that end a line or turn its direction for some reader. */
static bool unsafe_char(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 ||
	       (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

static bool is_plain(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] > '~' || s[i] == '"' || s[i] == '=' || s[i] == '\\')
			return false;
	return len > 0;
}

static bool put_escaped(struct line *l, const char *s, size_t n, uint32_t c)
{
	char esc[12];

	if (n == 0) {
		snprintf(esc, sizeof(esc), "\\x%02x", (unsigned char)*s);
		return puts_line(l, esc);
	}
	switch (c) {
	case '\n':
		return puts_line(l, "\\n");
	case '\r':
		return puts_line(l, "\\r");
	case '\t':
		return puts_line(l, "\\t");
	case '"':
		return puts_line(l, "\\\"");
	case '\\':
		return puts_line(l, "\\\\");
	}
	if (!unsafe_char(c))
		return put(l, s, n);
	snprintf(esc, sizeof(esc), c < 0x80 ? "\\x%02x" : "\\u%04x", c);
	return puts_line(l, esc);
}

static bool put_value(struct line *l, const char *s)
{
	size_t full = strnlen(s, VALUE_MAX + 1), len = utf8_cut(s, full, VALUE_MAX);
	bool ok;

	if (len == full && is_plain(s, len))
		return put(l, s, len);
	ok = puts_line(l, "\"");
	for (size_t i = 0; ok && i < len;) {
		uint32_t c = 0;
		size_t n = utf8_char(s + i, len - i, &c);

		ok = put_escaped(l, s + i, n, c);
		i += n ? n : 1;
	}
	return ok && puts_line(l, len < full ? "...\"" : "\"");
}

/* A pair that does not fit is left out whole. */
static void put_pair(struct line *l, const char *key, const char *value)
{
	size_t before = l->len;

	if (!puts_line(l, " ") || !puts_line(l, key) || !puts_line(l, "=") || !put_value(l, value))
		l->len = before;
}

static void write_whole(const char *s, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, s, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		s += n;
		len -= (size_t)n;
	}
}

void log_write(enum log_level level, const char *event, const struct log_kv *kv)
{
	int saved = errno;
	char time[CLOCK_RFC3339_SIZE], num[24];
	struct line l;

	if ((int)level > atomic_load(&level_max))
		return;
	assert(event[0] && strspn(event, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(event));
	l.len = 0;
	puts_line(&l, "ts=");
	puts_line(&l, clock_rfc3339(clock_wall_ms(), time));
	put_pair(&l, "level", level_names[level]);
	put_pair(&l, "prog", prog_name);
	put_pair(&l, "event", event);
	for (; kv && kv->key; kv++) {
		snprintf(num, sizeof(num), "%lld", (long long)kv->num);
		put_pair(&l, kv->key, kv->str ? kv->str : num);
	}
	l.text[l.len++] = '\n';
	pthread_mutex_lock(&write_lock);
	write_whole(l.text, l.len);
	pthread_mutex_unlock(&write_lock);
	errno = saved;
}

void log_outage_begin(struct log_outage *o, const char *event, const char *what,
		      const struct pcg_error *err)
{
	o->count++;
	if (o->since_ms)
		return;
	o->since_ms = clock_mono_ms();
	if (o->since_ms == 0)
		o->since_ms = 1;
	log_err(event, err, LS("what", what), LS("state", "begin"));
}

void log_outage_end(struct log_outage *o, const char *event, const char *what)
{
	if (!o->since_ms)
		return;
	log_info(event, LS("what", what), LS("state", "end"),
		 LI("ms", clock_mono_ms() - o->since_ms), LI("count", o->count));
	*o = (struct log_outage){ 0 };
}
