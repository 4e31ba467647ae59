/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ID_H
#define CORE_ID_H

/* Identifiers from the system's random source. */

#include <stddef.h>
#include <stdint.h>

void id_random(void *out, size_t len);
void id_hex24(char out[25]);   /* Palette's form of a uid: 24 hex digits */
void id_uuid4(char out[37]);
/* RFC 4122 version 5 of name in namespace ns (16 bytes). */
void id_uuid5(const uint8_t ns[16], const char *name, char out[37]);
/* n characters of Kubernetes' suffix alphabet bcdfghjklmnpqrstvwxz2456789, and a zero. */
void id_suffix(char *out, size_t n);
/* The same, but derived from seed: the same seed gives the same suffix. */
void id_suffix_from(const char *seed, char *out, size_t n);

#endif
