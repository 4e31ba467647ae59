/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CAPI_RELAY_H
#define TESTS_CAPI_RELAY_H

/* Passes bytes between a port of its own and another one on 127.0.0.1, and can end all connections
 * at once. */

#include <stdint.h>
#include <uv.h>

struct relay;

struct relay *relay_new(uv_loop_t *loop, uint16_t to_port);
uint16_t relay_port(const struct relay *r);
/* And as many of the connections that come next: a client that sends again at once by itself is cut
 * off too. */
void relay_cut(struct relay *r);
void relay_heal(struct relay *r);
void relay_close(struct relay *r); /* freed by the loop */

#endif
