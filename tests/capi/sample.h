/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CAPI_SAMPLE_H
#define TESTS_CAPI_SAMPLE_H

#include "core/json.h"

/* Values that a careless writer would break. */
#define SAMPLE_NASTY "echo \"it's\" '{{ x }}' \\ ${HOME}\n\tdone: [a, b] # \xc3\xa9"

/* Input of capi_objects_build: cluster c1, one control-plane machine of three, pool md with five
 * workers, in vSphere's shapes. ca_crt is the certificate of its CA. */
json_t *sample_input(const char *ca_crt);
/* Entry of a plan; NULL: not there. */
json_t *sample_entry(const json_t *plan, const char *kind, const char *name);
/* A bundle folder of small components under dir, for provider vsphere. */
void sample_bundle(const char *dir);
void sample_write_file(const char *dir, const char *path, const char *text);
/* The text of a file, caller frees; none ends the program. */
char *sample_read(const char *path);
/* New folder below TMPDIR; removed with everything in it by sample_remove. */
char *sample_folder(void);
void sample_remove(const char *dir);

#endif
