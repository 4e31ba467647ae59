/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_SETTINGS_H
#define HOST_SETTINGS_H

/* The settings of pcgd: one table from which the file is read, checked and documented. */

#include "core/conf.h"
#include "net/proxy.h"

#include <sys/un.h>

extern const struct conf_setting settings_table[];
extern const size_t settings_count;

#define SETTINGS_DEFAULT_FILE PCG_SYSCONFDIR "/pcg/pcgd.conf"

/* The longest path that a Unix socket can have. */
#define SETTINGS_SOCKET_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

/* Reads and checks the file, beyond single values: proxy URLs, NO_PROXY entries, CA files are really
 * read. 0, or -1 with every problem in report, one a line. */
int settings_load(const char *file, struct conf **out, struct buf *report);
/* Where pcgctl is listened to. Caller frees. */
char *settings_socket(const struct conf *c);
/* NULL in *out: no proxy is set. */
int settings_proxy(const struct conf *c, struct proxy_set **out, struct pcg_error *err);
/* Content of a PEM file that a setting names; NULL when it is not set. Caller frees. */
int settings_pem(const struct conf *c, const char *name, char **pem, struct pcg_error *err);

#endif
