/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_YAML_H
#define CORE_YAML_H

/* YAML from and to jansson trees, by libyaml. Reading follows the JSON schema of YAML 1.2 with
 * 1.1's booleans (yes, no, on, off, y, n), as Kubernetes' readers do; keys are always texts; anchors, aliases and tags are refused, depth
 * 64, size limited by the caller. */

#include "core/buf.h"
#include "core/error.h"
#include "core/json.h"

/* Every document of a stream as an array (empty documents are left out). */
int yaml_load_all(const char *text, size_t len, const char *what, json_t **docs, struct pcg_error *err);
int yaml_load_one(const char *text, size_t len, const char *what, json_t **doc, struct pcg_error *err);
/* Block style, strings with line breaks as literal blocks where that is exact; strings that would
 * read as another type are quoted. Documents are separated by "---". */
int yaml_dump(const json_t *doc, struct buf *out, struct pcg_error *err);
int yaml_dump_all(const json_t *docs, struct buf *out, struct pcg_error *err);

#endif
