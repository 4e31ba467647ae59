/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/plane.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *setup_default_state_dir(void)
{
	const char *env = getenv("PCG_PLANE_STATE"), *base = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	char *out = NULL;
	int n;

	if (env && *env)
		n = asprintf(&out, "%s", env);
	else if (geteuid() == 0 || ((!base || !*base) && (!home || !*home)))
		n = asprintf(&out, "%s/lib/pcg-plane", PCG_LOCALSTATEDIR);
	else if (base && *base)
		n = asprintf(&out, "%s/pcg-plane", base);
	else
		n = asprintf(&out, "%s/.local/state/pcg-plane", home);
	assert(n >= 0);
	return out;
}

void setup_sha256(const void *data, size_t len, char out[65])
{
	unsigned char sum[32];
	unsigned int n = 0;
	int ok = EVP_Digest(data, len, sum, &n, EVP_sha256(), NULL);

	assert(ok == 1 && n == sizeof(sum));
	for (size_t i = 0; i < sizeof(sum); i++)
		snprintf(out + 2 * i, 3, "%02x", sum[i]);
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		text += n;
		len -= (size_t)n;
	}
	return fsync(fd);
}

static int sync_dir(const char *dir, struct pcg_error *err)
{
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		return pcg_fail_errno(err, errno, "making changes in %s durable", dir);
	return 0;
}

int setup_write_file(const char *dir, const char *name, const char *text, size_t len, int mode,
		     struct pcg_error *err)
{
	AUTO_FREE char *tmp = NULL;
	AUTO_FREE char *path = NULL;
	AUTO_CLOSE int fd = -1;
	int n = asprintf(&tmp, "%s/.%s.new", dir, name);

	assert(n >= 0);
	n = asprintf(&path, "%s/%s", dir, name);
	assert(n >= 0);
	unlink(tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return pcg_fail_errno(err, errno, "making %s", tmp);
	if (write_all(fd, text, len))
		return pcg_fail_errno(err, errno, "writing %s", tmp);
	if (rename(tmp, path))
		return pcg_fail_errno(err, errno, "renaming %s to %s", tmp, path);
	return sync_dir(dir, err);
}
