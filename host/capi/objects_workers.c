/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "host/capi/objects_impl.h"
#include "host/capi/spread.h"

#include <string.h>

static bool is_template_of(const json_t *item, const char *pool)
{
	return strcmp(json_str_or(item, "role", ""), "workerTemplate") == 0 &&
	       strcmp(json_str_or(item, "pool", ""), pool) == 0;
}

static size_t places_of(const struct build *b, const char *pool)
{
	size_t i, n = 0;
	json_t *item;

	json_array_foreach (json_object_get(b->s.input, "providerObjects"), i, item)
		n += is_template_of(item, pool);
	return n;
}

/* Places of a pool whose templates say the same have one; else it has the name of its MachineDeployment, which no other
 * object of its kind has. */
static const json_t *add_template(struct build *b, const json_t *item, const char *name, json_t *templates)
{
	json_t *template = objects_of_provider(b, item), *earlier;
	size_t i;

	json_array_append_new(templates, template);
	json_array_foreach (templates, i, earlier)
		if (earlier != template &&
		    json_equal(json_object_get(earlier, "spec"), json_object_get(template, "spec")))
			return earlier;
	json_put_str(template, "metadata.name", name);
	objects_add(b, GROUP_OF_CLUSTER, json_incref(template), objects_status(b, item), "Cluster", b->s.cluster, false);
	return template;
}

static void add_places(struct build *b, const json_t *pool, const char *config)
{
	const char *pool_name = json_str_or(pool, "name", "");
	size_t i, place = 0, places = places_of(b, pool_name);
	AUTO_JSON json_t *templates = json_array();
	char name[SPREAD_NAME_SIZE];
	json_t *item;

	json_array_foreach (json_object_get(b->s.input, "providerObjects"), i, item) {
		struct shape_place at = {.name = name, .config = config};

		if (!is_template_of(item, pool_name))
			continue;
		spread_name(b->s.spec, pool_name, place, places, name);
		at.replicas = spread_size(json_int_or(pool, "size", 0), place, places);
		at.failure_domain = json_str(item, "failureDomain");
		objects_add(b, GROUP_OF_CLUSTER,
			    shape_deployment(&b->s, pool, &at, add_template(b, item, name, templates)), NULL,
			    "Cluster", b->s.cluster, false);
		place++;
	}
}

static int add_worker_pool(struct build *b, const json_t *pool)
{
	const char *name = json_str_or(pool, "name", "");
	const json_t *worker_spec = json_object_get(json_object_get(b->s.input, "workerSpecs"), name);
	bool shared = !worker_spec;
	char config[SPREAD_NAME_SIZE];

	if (shared)
		worker_spec = json_object_get(b->s.input, "workerSpec");
	if (!objects_item(b, "workerTemplate", "pool", name))
		return objects_missing(b, "workerTemplate", name);
	if (!json_is_object(worker_spec))
		return pcg_fail(b->err, PCG_CLASS_BUG, "",
				"objects of cluster %s: no kubeadm configuration for pool %s", b->s.cluster, name);
	spread_name(b->s.spec, name, 0, 1, config);
	objects_add(b, GROUP_OF_CLUSTER, shape_config_template(&b->s, pool, config, worker_spec, shared), NULL, "Cluster",
		    b->s.cluster, false);
	add_places(b, pool, config);
	return 0;
}

int objects_workers(struct build *b)
{
	json_t *pool;
	size_t i;
	int r = 0;

	json_array_foreach (json_object_get(b->s.spec, "pools"), i, pool)
		if (!r && !json_bool_or(pool, "controlPlane", false))
			r = add_worker_pool(b, pool);
	return r;
}
