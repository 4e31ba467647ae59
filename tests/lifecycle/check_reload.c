/* SPDX-License-Identifier: Apache-2.0 */
/* What is under way when settings change. */
#include "config.h"
#include "tests/lifecycle/rig.h"

#include <netinet/in.h>

static struct proxy_set *proxy_at(unsigned port)
{
	struct proxy_set *set;
	struct pcg_error err;
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
	ck_assert_int_eq(proxy_set_new(url, url, NULL, NULL, &set, &err), 0);
	return set;
}

START_TEST(a_cluster_that_is_under_way_is_asked_through_the_proxy_of_now)
{
	struct cluster *c = load("Bootstrapping", "api", "present", false, 1);
	struct proxy_set *first = proxy_at(1), *second = proxy_at(2);

	c->lc.task_since_ms = clock_wall_ms() - 3600000; /* it is told why it does not answer */
	lifecycle_set_proxy(l, first);
	lifecycle_begin(l);
	UNTIL(waits_for(c, "127.0.0.1:1"));
	lifecycle_set_proxy(l, second);
	lifecycle_nudge_all(l);
	UNTIL(waits_for(c, "127.0.0.1:2"));
	proxy_set_unref(first);
	proxy_set_unref(second);
}
END_TEST

/* ---- a proxy that accepts, and says nothing */

static uv_tcp_t silent;
static int connections;

static void on_peer_closed(uv_handle_t *h)
{
	free(h);
}

static void on_connection(uv_stream_t *server, int status)
{
	uv_tcp_t *peer = malloc(sizeof(*peer));

	ck_assert_int_eq(status, 0);
	uv_tcp_init(&loop, peer);
	ck_assert_int_eq(uv_accept(server, (uv_stream_t *)peer), 0);
	peer->data = silent.data;
	silent.data = peer;
	connections++;
}

static void silent_proxy_begin(void)
{
	struct sockaddr_in at;
	struct proxy_set *set;
	int len = sizeof(at);

	connections = 0;
	silent.data = NULL;
	uv_ip4_addr("127.0.0.1", 0, &at);
	uv_tcp_init(&loop, &silent);
	ck_assert_int_eq(uv_tcp_bind(&silent, (struct sockaddr *)&at, 0), 0);
	ck_assert_int_eq(uv_listen((uv_stream_t *)&silent, 16, on_connection), 0);
	uv_tcp_getsockname(&silent, (struct sockaddr *)&at, &len);
	set = proxy_at(ntohs(at.sin_port));
	lifecycle_set_proxy(l, set);
	proxy_set_unref(set);
}

static void silent_proxy_end(void)
{
	uv_tcp_t *next;

	for (uv_tcp_t *p = silent.data; p; p = next) {
		next = p->data;
		uv_close((uv_handle_t *)p, on_peer_closed);
	}
	uv_close((uv_handle_t *)&silent, NULL);
}

START_TEST(other_limits_count_for_a_release_that_is_under_way)
{
	if (_i)
		load("Deleting", "release_early", "absent", false, 1);
	else
		load("PivotingBack", "release", "absent", false, 3);
	silent_proxy_begin();
	lifecycle_begin(l);
	UNTIL(connections == 1);
	lifecycle_set_limits(l, 1000, l->settings.release_ms);
	lifecycle_set_limits(l, 1000, l->settings.release_ms * 2);
	UNTIL(connections == 2);
	silent_proxy_end();
}
END_TEST

START_TEST(another_bundle_counts_for_an_install_that_is_under_way)
{
	struct cluster *c = load("Installing", "install", "present", false, 1);

	silent_proxy_begin();
	lifecycle_begin(l);
	UNTIL(connections == 1);
	lifecycle_set_bundle(l, "/no/bundle/is/here", "");
	UNTIL(waits_for(c, "/no/bundle/is/here"));
	silent_proxy_end();
}
END_TEST

static void add_tests(TCase *t)
{
	tcase_add_test(t, a_cluster_that_is_under_way_is_asked_through_the_proxy_of_now);
	tcase_add_loop_test(t, other_limits_count_for_a_release_that_is_under_way, 0, 2);
	tcase_add_test(t, another_bundle_counts_for_an_install_that_is_under_way);
}

RIG_MAIN("reload", add_tests)
