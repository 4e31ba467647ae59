/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROVIDER_PLUGIN_LOAD_H
#define HOST_PROVIDER_PLUGIN_LOAD_H

#include "core/error.h"
#include "core/json.h"
#include "pcg/provider.h"

struct plugin {
	struct pcg_provider table; /* the host's size; members that the plugin does not have are zero */
	json_t *settings;          /* array of its settings, maybe empty */
};

#define PROVIDER_PLUGIN_PREFIX "libpcg-"
#define PROVIDER_PLUGIN_SUFFIX ".so"

/* Whether folder and file are such that a worker would load them; loads nothing. */
int plugin_file_check(const char *path, struct pcg_error *err);
/* Opens the file once, checks folder and file, loads it from the descriptor and checks its table.
 * Never unloaded. Every refusal says what was found, what was expected, what to do. */
int plugin_load(const char *path, const char *name, struct plugin *out, struct pcg_error *err);

#endif
