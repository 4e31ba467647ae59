/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ATTR_H
#define CORE_ATTR_H

/* Attributes that free on every path: AUTO_FREE char *s = NULL; ... return TAKE(s); */

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

static inline void attr_free_ptr(void *p)
{
	free(*(void **)p);
}

static inline void attr_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void attr_json_decref(json_t **j)
{
	json_decref(*j);
}

#define AUTO_FREE __attribute__((cleanup(attr_free_ptr)))
#define AUTO_CLOSE __attribute__((cleanup(attr_close_fd)))
#define AUTO_JSON __attribute__((cleanup(attr_json_decref)))
#define TAKE(p) __extension__({ __typeof__(p) take_ = (p); (p) = NULL; take_; })
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
