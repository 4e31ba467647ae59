/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMCLOUD_CLOUD_API_H
#define SIMCLOUD_CLOUD_API_H

#include "plugins/sim/simcloud/cloud.h"

/* The HTTP API of the infrastructure (plugins/sim/README.md). */
void cloud_api_handle(void *arg, struct http_exchange *x, const struct http_server_request *req);

#endif
