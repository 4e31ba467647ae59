/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_SECRET_H
#define CORE_SECRET_H

/* A secret wipes itself and cannot be printed: its bytes leave only by secret_data(). Counted
 * references, any thread. */

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

struct secret;

struct secret *secret_new(const void *data, size_t len); /* copies; never NULL */
struct secret *secret_new_str(const char *s);            /* NULL gives an empty secret */
struct secret *secret_ref(struct secret *s);
void secret_unref(struct secret *s);                     /* NULL is fine */
const char *secret_data(const struct secret *s);         /* zero-terminated after len bytes */
size_t secret_len(const struct secret *s);
bool secret_equal(const struct secret *a, const struct secret *b); /* constant time */
void secret_wipe(void *p, size_t len);
/* Turns off core dumps and ptrace of this process. */
void secret_no_core(void);

/* AES-256-GCM. key is 32 bytes. aad binds the ciphertext to its record (id and version).
 * sealed = 12 byte nonce, ciphertext, 16 byte tag; the caller frees. */
int secret_seal(const struct secret *key, const char *aad, const void *data, size_t len,
		uint8_t **sealed, size_t *sealed_len, struct pcg_error *err);
int secret_open(const struct secret *key, const char *aad, const uint8_t *sealed,
		size_t sealed_len, struct secret **out, struct pcg_error *err);
/* Reads a 32 byte key: $CREDENTIALS_DIRECTORY/NAME if there, else the file at path (made with
 * mode 0600 when absent and create is set; refused when others may read it). */
int secret_key_load(const char *credential, const char *path, bool create, struct secret **key,
		    struct pcg_error *err);

#endif
