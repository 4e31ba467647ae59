/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "core/clock.h"

#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t turned_ms;

static int64_t read_ms(clockid_t id)
{
	struct timespec ts;
	int r = clock_gettime(id, &ts);

	assert(r == 0);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#ifdef PCG_FAULT_POINTS
#include <pthread.h>

#define FILE_LOOK_MS 10

static const char *file_path;
static pthread_once_t file_once = PTHREAD_ONCE_INIT;
static _Atomic int64_t file_looked_ms = -FILE_LOOK_MS;
static _Atomic int64_t file_offset_ms;

static void find_file(void)
{
	file_path = getenv("PCG_TEST_CLOCK_FILE");
}

/* The file holds one number: milliseconds to add. A file that is not there keeps the last one. */
static int64_t file_ms(void)
{
	int64_t now = read_ms(CLOCK_MONOTONIC);
	char text[32];
	ssize_t n;
	int fd;

	pthread_once(&file_once, find_file);
	if (!file_path || now - atomic_load(&file_looked_ms) < FILE_LOOK_MS)
		return atomic_load(&file_offset_ms);
	atomic_store(&file_looked_ms, now);
	fd = open(file_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return atomic_load(&file_offset_ms);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n > 0) {
		text[n] = 0;
		atomic_store(&file_offset_ms, strtoll(text, NULL, 10));
	}
	return atomic_load(&file_offset_ms);
}
#else
static int64_t file_ms(void)
{
	return 0;
}
#endif

int64_t clock_wall_ms(void)
{
	return read_ms(CLOCK_REALTIME) + atomic_load(&turned_ms) + file_ms();
}

int64_t clock_mono_ms(void)
{
	return read_ms(CLOCK_MONOTONIC) + atomic_load(&turned_ms) + file_ms();
}

void clock_turn_ms(int64_t add_ms)
{
	atomic_fetch_add(&turned_ms, add_ms);
}

char *clock_rfc3339(int64_t wall_ms, char out[CLOCK_RFC3339_SIZE])
{
	int64_t rest = ((wall_ms % 1000) + 1000) % 1000;
	time_t sec = (time_t)((wall_ms - rest) / 1000);
	struct tm tm;
	int year;

	/* Years of four digits are all that the format has. */
	if (!gmtime_r(&sec, &tm) || tm.tm_year < -1900 || tm.tm_year > 9999 - 1900) {
		memset(&tm, 0, sizeof(tm));
		tm.tm_mday = 1;
		tm.tm_year = 70;
		rest = 0;
	}
	year = tm.tm_year + 1900;
	snprintf(out, CLOCK_RFC3339_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
		 (unsigned)year % 10000, (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100,
		 (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100,
		 (unsigned)rest);
	return out;
}

/* n digits at *s within [min, max], and the character after them when it is not 0. */
static bool digits(const char **s, int n, int min, int max, char after, int *out)
{
	int v = 0;

	for (int i = 0; i < n; i++, (*s)++) {
		if (!isdigit((unsigned char)**s))
			return false;
		v = v * 10 + (**s - '0');
	}
	if (after && *(*s)++ != after)
		return false;
	*out = v;
	return v >= min && v <= max;
}

int64_t clock_parse_rfc3339(const char *s)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int y, mo, d, h, mi, sec, zh = 0, zm = 0, ms = 0, leap, sign = 0;
	struct tm tm = { 0 };

	if (!s || !digits(&s, 4, 0, 9999, '-', &y) || !digits(&s, 2, 1, 12, '-', &mo) ||
	    !digits(&s, 2, 1, 31, 0, &d) || (*s != 'T' && *s != 't'))
		return -1;
	s++;
	leap = mo == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
	if (d > days[mo - 1] + leap || !digits(&s, 2, 0, 23, ':', &h) ||
	    !digits(&s, 2, 0, 59, ':', &mi) || !digits(&s, 2, 0, 60, 0, &sec))
		return -1;
	if (*s == '.') {
		int unit = 100;

		if (!isdigit((unsigned char)*++s))
			return -1;
		for (; isdigit((unsigned char)*s); s++, unit /= 10)
			ms += (*s - '0') * unit;
	}
	if (*s == '+' || *s == '-') {
		sign = *s++ == '+' ? -1 : 1;
		if (!digits(&s, 2, 0, 23, ':', &zh) || !digits(&s, 2, 0, 59, 0, &zm))
			return -1;
	} else if (*s == 'Z' || *s == 'z') {
		s++;
	} else {
		return -1;
	}
	if (*s)
		return -1;
	tm.tm_year = y - 1900;
	tm.tm_mon = mo - 1;
	tm.tm_mday = d;
	tm.tm_hour = h;
	tm.tm_min = mi;
	tm.tm_sec = sec;
	return ((int64_t)timegm(&tm) + sign * (zh * 3600 + zm * 60)) * 1000 + ms;
}
