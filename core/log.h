/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

/*
 * One event, one line, on standard error:
 *   ts=2026-01-02T03:04:05.678Z level=info prog=pcgd event=machine_created cluster=c1 ms=812
 * Values from outside are escaped (quotes, controls, non UTF-8) and cut at 512 bytes.
 * Any thread may log. Event names are fixed strings: [a-z0-9_].
 */

#include "core/error.h"

#include <stdint.h>

enum log_level { LOG_L_ERROR, LOG_L_WARN, LOG_L_INFO, LOG_L_DEBUG };

struct log_kv {
	const char *key;  /* NULL ends the list */
	const char *str;  /* NULL: num is the value */
	int64_t num;
};

static inline const char *log_text(const char *s)
{
	return s ? s : "";
}

#define LS(k, v) { (k), log_text(v), 0 }
#define LI(k, v) { (k), NULL, (int64_t)(v) }

void log_init(const char *prog, enum log_level level);
void log_set_level(enum log_level level);
int log_level_parse(const char *name, enum log_level *level);
void log_write(enum log_level level, const char *event, const struct log_kv *kv);

#define log_at(level, event, ...) \
	log_write((level), (event), (const struct log_kv[]){ __VA_ARGS__ __VA_OPT__(,) { NULL, NULL, 0 } })
#define log_error(event, ...) log_at(LOG_L_ERROR, event, __VA_ARGS__)
#define log_warn(event, ...) log_at(LOG_L_WARN, event, __VA_ARGS__)
#define log_info(event, ...) log_at(LOG_L_INFO, event, __VA_ARGS__)
#define log_debug(event, ...) log_at(LOG_L_DEBUG, event, __VA_ARGS__)
/* An error with class, cause and remedy as keys class=, cause=, remedy=. */
#define log_err(event, err, ...)                                                                  \
	log_at((err)->class == PCG_CLASS_BUG ? LOG_L_ERROR : LOG_L_WARN, event,                   \
	       __VA_ARGS__ __VA_OPT__(,) LS("class", pcg_class_name((err)->class)),               \
	       LS("cause", (err)->text), LS("remedy", (err)->remedy))

/* Reports an outage once and its end once: struct log_outage o = {0}. */
struct log_outage {
	int64_t since_ms; /* 0: no outage */
	uint32_t count;
};
void log_outage_begin(struct log_outage *o, const char *event, const char *what,
		      const struct pcg_error *err);
void log_outage_end(struct log_outage *o, const char *event, const char *what);

#endif
