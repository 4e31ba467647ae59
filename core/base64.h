/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BASE64_H
#define CORE_BASE64_H

#include <stddef.h>
#include <stdint.h>

char *base64_encode(const void *data, size_t len);                /* caller frees */
/* Standard alphabet, padding needed, white space refused. NULL: not base64. Caller frees. */
uint8_t *base64_decode(const char *text, size_t len, size_t *out_len);

#endif
