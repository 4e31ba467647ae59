/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

/* The one clock. Wall time for what people and certificates see, monotonic time for waits.
 * Tests turn it: clock_turn_ms() adds an offset to both, and test builds also read an offset
 * from the file named by PCG_TEST_CLOCK_FILE. Any thread. */

#include <stddef.h>
#include <stdint.h>

int64_t clock_wall_ms(void);  /* milliseconds since 1970, UTC */
int64_t clock_mono_ms(void);
void clock_turn_ms(int64_t add_ms);
/* RFC 3339 with milliseconds and Z; out holds at least CLOCK_RFC3339_SIZE bytes. Returns out. */
#define CLOCK_RFC3339_SIZE 32
char *clock_rfc3339(int64_t wall_ms, char out[CLOCK_RFC3339_SIZE]);
int64_t clock_parse_rfc3339(const char *s); /* -1: not a time */

#endif
