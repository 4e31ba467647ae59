/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

/*
 * One error: what was tried, on what, what came back, and what to do about it.
 *
 * A function that can fail takes a struct pcg_error of its caller (never NULL), fills it and
 * returns a negative PCG_E... value; it returns 0 (or a documented positive value) otherwise.
 * The struct owns no memory: it may be copied, and needs no end.
 */

#include <stdbool.h>
#include <stddef.h>

/* class: name in documents, what the lifecycle does with it */
#define PCG_ERROR_CLASSES(X)                                                                      \
	X(RETRY, "retry", "passes by itself: tried again with back-off")                          \
	X(PERMANENT, "permanent", "needs a change of the request or of a setting")                \
	X(AUTH, "auth", "credentials were refused: waits for new ones")                           \
	X(QUOTA, "quota", "a limit was reached: tried again slowly")                              \
	X(NOT_FOUND, "not_found", "the named thing does not exist")                               \
	X(CONFLICT, "conflict", "somebody else changed it or holds it")                           \
	X(CANCELLED, "cancelled", "stopped on request or at its deadline")                        \
	X(BUG, "bug", "a fault of the program that reports it")

enum pcg_class {
#define X(id, name, doc) PCG_CLASS_##id,
	PCG_ERROR_CLASSES(X)
#undef X
	PCG_CLASS_COUNT
};

#define PCG_E(class) (-(1 + (int)PCG_CLASS_##class))
#define PCG_ERETRY PCG_E(RETRY)
#define PCG_EPERMANENT PCG_E(PERMANENT)
#define PCG_EAUTH PCG_E(AUTH)
#define PCG_EQUOTA PCG_E(QUOTA)
#define PCG_ENOTFOUND PCG_E(NOT_FOUND)
#define PCG_ECONFLICT PCG_E(CONFLICT)
#define PCG_ECANCELLED PCG_E(CANCELLED)
#define PCG_EBUG PCG_E(BUG)

struct pcg_error {
	enum pcg_class class;
	char text[1024];   /* what was tried, on what, what came back */
	char remedy[512];  /* what to do; may be empty */
};

/* Name of a class as it stands in documents; never NULL. */
const char *pcg_class_name(enum pcg_class class);
/* False when no class has that name. */
bool pcg_class_parse(const char *name, enum pcg_class *class);

/* Fills err and returns -(1 + class), so that a caller can write: return pcg_fail(err, ...).
 * Text that does not fit is cut at a character boundary. errno is kept. */
int pcg_fail(struct pcg_error *err, enum pcg_class class, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Puts "WHAT: " before the text that is there; returns the code of err's class. */
int pcg_fail_prefix(struct pcg_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The negative code of err. */
int pcg_error_code(const struct pcg_error *err);
/* Shortcut for an operating system call: adds strerror(errnum). */
int pcg_fail_errno(struct pcg_error *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
