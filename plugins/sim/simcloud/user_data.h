/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_USER_DATA_H
#define SIMCLOUD_USER_DATA_H

/* User data read the way cloud-init reads it. */

#include "core/error.h"
#include "core/json.h"

/* metadata: {"instance-id","local-hostname",...} as the data source gives it. *out = {"files":{path: content}, "runcmd":[text]}; errors are
 * what the console would show. */
int user_data_read(const char *text, const json_t *metadata, json_t **out, struct pcg_error *err);

#endif
