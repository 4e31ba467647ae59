/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_SETTINGS_H
#define HOST_SETTINGS_H

/* The settings of pcgd: one table from which the file is read, checked and documented. */

#include "core/conf.h"
#include "net/proxy.h"

extern const struct conf_setting settings_table[];
extern const size_t settings_count;

#define SETTINGS_DEFAULT_FILE PCG_SYSCONFDIR "/pcg/pcgd.conf"

/* Beyond single values: proxy URLs, NO_PROXY entries, CA files are really read. Problems, one a line, to report. */
int settings_check(const struct conf *c, struct buf *report);
/* NULL in *out: no proxy is set. */
int settings_proxy(const struct conf *c, struct proxy_set **out, struct pcg_error *err);
/* Content of a PEM file that a setting names; NULL when it is not set. Caller frees. */
int settings_pem(const struct conf *c, const char *name, char **pem, struct pcg_error *err);

#endif
