/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "plane/document.h"

#include "net/pki.h"
#include "plane/addresses.h"
#include "plane/clusters.h"
#include "plane/dns_mappings.h"
#include "plane/profiles.h"
#include "plane/rows.h"

#include <stdio.h>
#include <string.h>

static json_t *strings(const json_t *list)
{
	json_t *out = json_array(), *v;
	size_t i;

	json_array_foreach((json_t *)list, i, v)
		if (json_is_string(v) && *json_string_value(v))
			json_array_append(out, v);
	return out;
}

static int add_account(struct plane *p, const json_t *cluster, json_t *doc, json_t *problems,
		       json_t **account, struct pcg_error *err)
{
	const char *uid = json_str_or(cluster, "account", "");
	int r = rows_get(p, ROWS_ACCOUNT, uid, account, err);

	if (r < 0)
		return r;
	if (r == 0)
		document_problem(problems, "cloudAccountUid", "make the account anew, or the cluster with another one",
				 "cloud account %s does not exist (any longer)", uid);
	json_object_set_new(doc, "account",
			    json_pack("{s:s,s:s,s:I}", "uid", uid, "name",
				      json_str_or(*account, "metadata.name", ""), "generation",
				      (json_int_t)json_int_or(*account, "generation", 1)));
	return 0;
}

/* The pool that a network names, written beside the name. */
static int resolve_pool(struct plane *p, json_t *network, json_t *problems, struct pcg_error *err)
{
	const char *uid = json_str(network, "parentPoolUid");
	AUTO_JSON json_t *pool = NULL;
	int r;

	if (!uid || !*uid)
		return 0;
	r = rows_get(p, ROWS_POOL, uid, &pool, err);
	if (r < 0)
		return r;
	if (r == 0)
		document_problem(problems, "network.parentPoolUid", "name an IP pool of the gateway",
				 "IP pool %.64s does not exist", uid);
	else
		json_object_set(network, "ipPool", json_at(pool, "spec.pool"));
	return 0;
}

static int place_networks(struct plane *p, json_t *where, json_t *problems, struct pcg_error *err)
{
	json_t *network;
	size_t i;
	int r = resolve_pool(p, json_object_get(where, "network"), problems, err);

	json_array_foreach(json_object_get(where, "networks"), i, network)
		if (!r)
			r = resolve_pool(p, network, problems, err);
	return r;
}

static int pool_networks(struct plane *p, json_t *cloud, json_t *problems, struct pcg_error *err)
{
	json_t *placement;
	size_t i;
	int r = place_networks(p, cloud, problems, err);

	json_array_foreach(json_object_get(cloud, "placements"), i, placement)
		if (!r)
			r = place_networks(p, placement, problems, err);
	return r;
}

static json_t *object_or_empty(const json_t *j)
{
	return json_is_object(j) ? json_deep_copy(j) : json_object();
}

static int add_pool(struct plane *p, const json_t *given, json_t *pools, json_t *problems,
		    struct pcg_error *err)
{
	const json_t *c = json_object_get(given, "poolConfig");
	json_t *cloud = object_or_empty(json_object_get(given, "cloudConfig"));
	const json_t *taints = json_object_get(c, "taints");
	const json_t *strategy = json_object_get(c, "updateStrategy");
	json_t *pool = json_pack(
		"{s:s,s:I,s:b,s:b,s:o,s:o,s:o,s:o}", "name", json_str_or(c, "name", ""), "size",
		(json_int_t)json_int_or(c, "size", 0), "controlPlane", json_bool_or(c, "isControlPlane", false),
		"controlPlaneAsWorker", json_bool_or(c, "useControlPlaneAsWorker", false), "labels",
		object_or_empty(json_object_get(c, "additionalLabels")), "taints",
		json_is_array(taints) ? json_deep_copy(taints) : json_array(), "updateStrategy",
		json_is_object(strategy) ? json_deep_copy(strategy) :
					   json_pack("{s:s}", "type", "RollingUpdateScaleOut"),
		"cloudConfig", cloud);

	json_array_append_new(pools, pool);
	return pool_networks(p, cloud, problems, err);
}

static int add_pools(struct plane *p, const json_t *spec, json_t *doc, json_t *problems,
		     struct pcg_error *err)
{
	json_t *pools = json_array(), *given;
	size_t i;
	int r = 0;

	json_object_set_new(doc, "pools", pools);
	json_array_foreach(json_object_get(spec, "machinepoolconfig"), i, given)
		if (!r)
			r = add_pool(p, given, pools, problems, err);
	return r;
}

static int add_certificates(struct plane *p, json_t *doc, json_t *problems, struct pcg_error *err)
{
	AUTO_JSON json_t *certs = NULL;
	json_t *out = json_array(), *cert;
	size_t i, n;
	int r = rows_list(p, ROWS_CERT, p->tenant, &certs, err);

	json_object_set_new(doc, "certificates", out);
	if (r)
		return r;
	json_array_foreach(certs, i, cert) {
		const char *name = json_str_or(cert, "metadata.name", ""), *pem;
		struct pcg_error why;

		pem = json_str_or(cert, "spec.certificate", "");
		if (pki_bundle_check(pem, &n, &why))
			document_problem(problems, "certificates", "replace the certificate, or delete it",
					 "the tenant's certificate '%.64s' is not a PEM certificate: %s", name,
					 why.text);
		else
			json_array_append_new(out, json_pack("{s:s,s:s}", "name", name, "pem", pem));
	}
	return 0;
}

static int add_packs(struct plane *p, const json_t *spec, json_t *doc, json_t *problems,
		     const json_t *account, struct pcg_error *err)
{
	AUTO_JSON json_t *packs = json_array();
	const json_t *os = NULL;
	const char *folder = json_str(spec, "cloudConfig.placement.imageTemplateFolder");
	AUTO_FREE char *name = NULL;
	AUTO_JSON json_t *template = NULL;
	json_t *given;
	size_t i;
	int r = 0;

	json_array_foreach(json_object_get(spec, "profiles"), i, given)
		if (!r)
			r = profiles_packs(p, given, packs, problems, err);
	if (r)
		return r;
	document_add_packs(p->opt.packs_dir, packs, doc, problems, &os);
	if (json_str(doc, "image.name"))
		name = strdup(json_str(doc, "image.name"));
	if (folder && *folder && name)
		template = json_sprintf("%s/%s", folder, name);
	else if (folder && *folder && os)
		template = json_sprintf("%s/%s-%s", folder, json_str_or(os, "name", ""), json_str_or(os, "tag", ""));
	else if (json_str(account, "spec.imageTemplate"))
		template = json_string(json_str(account, "spec.imageTemplate"));
	else if (name)
		template = json_string(name);
	json_object_set_new(doc, "image",
			    json_string_length(template) ? json_pack("{s:O}", "template", template) : json_null());
	return 0;
}

static void need(const json_t *obj, const char *path, const char *field, json_t *problems)
{
	if (!json_str(obj, path) || !*json_str(obj, path))
		document_problem(problems, field, "give it in the request for the cluster", "%s is missing",
				 field);
}

/* The network that the first control-plane machine is in. */
static const char *control_plane_network(const json_t *spec)
{
	json_t *given;
	size_t i;

	json_array_foreach(json_at(spec, "machinepoolconfig"), i, given)
		if (json_bool_or(given, "poolConfig.isControlPlane", false))
			return json_str_or(given, "cloudConfig.placements.0.network.networkName",
					   json_str_or(given, "cloudConfig.network.networkName", ""));
	return "";
}

static void check_endpoint(const json_t *spec, const json_t *doc, json_t *problems)
{
	bool ddns = strcmp(json_str_or(spec, "cloudConfig.controlPlaneEndpoint.type", ""), "DDNS") == 0;
	json_t *pool;
	size_t i;

	if (json_str(doc, "controlPlaneEndpoint.host"))
		return;
	json_array_foreach(json_object_get(doc, "pools"), i, pool)
		if (!ddns && json_bool_or(pool, "controlPlane", false) &&
		    *addresses_pool_of(json_object_get(pool, "cloudConfig")))
			return; /* the first free address of that IP pool */
	if (ddns)
		document_problem(problems, "cloudConfig.controlPlaneEndpoint",
				 "give ddnsSearchDomain, or map the network to one (pcg-planectl dns add)",
				 "nothing says in which domain the cluster's API has its name: network %.64s of datacenter %.64s "
				 "has no DNS mapping",
				 control_plane_network(spec), json_str_or(spec, "cloudConfig.placement.datacenter", "?"));
	else
		document_problem(problems, "cloudConfig.controlPlaneEndpoint",
				 "give a free address (type VIP), or a name (type DDNS or External), or an IP pool for the "
				 "control plane's network",
				 "nothing says at which address the cluster's API shall be");
}

static void check_vsphere(const json_t *spec, const json_t *doc, json_t *problems)
{
	json_t *pool;
	size_t i;

	if (!json_object_get(doc, "image") || json_is_null(json_object_get(doc, "image")))
		document_problem(problems, "image",
				 "give placement.imageTemplateFolder and an 'os' layer, or imageTemplate in the "
				 "cloud account",
				 "nothing says which virtual machine template to use");
	need(spec, "cloudConfig.placement.datacenter", "cloudConfig.placement.datacenter", problems);
	json_array_foreach(json_object_get(doc, "pools"), i, pool) {
		const json_t *placements = json_at(pool, "cloudConfig.placements");
		const json_t *first = json_array_get(placements, 0);

		if (!first) {
			document_problem(problems, "pools.placements", "give each pool a placement",
					 "pool %s has no placement", json_str_or(pool, "name", ""));
			continue;
		}
		need(first, "cluster", "pools.placements.cluster", problems);
		need(first, "network.networkName", "pools.placements.network.networkName", problems);
		if (!json_str(first, "datastore") && !json_str(first, "storagePolicyName"))
			need(first, "datastore", "pools.placements.datastore", problems);
	}
	check_endpoint(spec, doc, problems);
}

/* The simulated cloud has its clusters' APIs on this machine's own addresses, which no other cluster's can be at. */
static void check_host(const char *cloud, const json_t *doc, json_t *problems)
{
	const char *host = json_str(doc, "controlPlaneEndpoint.host"), *special = NULL;
	bool address;
	struct ip ip;

	if (!host || strcmp(cloud, "sim") == 0)
		return;
	address = ip_parse(host, &ip);
	if (address)
		special = ip_special(&ip);
	if (special || (!address && !dns_host(host)))
		document_problem(problems, "cloudConfig.controlPlaneEndpoint",
				 "give an address alone, like 10.0.0.5, or a name of lower-case letters, digits, '-' and dots; the "
				 "port stands in port",
				 "%.253s cannot be where the cluster's API is: it is %s", host,
				 special ? special : "neither an address nor a host's name");
}

/* A cluster that was begun keeps the name that it has, whatever its network is mapped to by now. */
static int name_kept(struct plane *p, const json_t *cluster, char name[320], struct pcg_error *err)
{
	const char *uid = json_str_or(cluster, "uid", "");
	AUTO_JSON json_t *status = NULL;
	AUTO_JSON json_t *old = NULL;
	int r = rows_get(p, ROWS_STATUS, uid, &status, err);

	if (r > 0 && clusters_begun(status))
		r = rows_get(p, ROWS_DOCUMENT, uid, &old, err);
	if (strcmp(json_str_or(old, "controlPlaneEndpoint.type", ""), "DDNS") == 0)
		snprintf(name, 320, "%s", json_str_or(old, "controlPlaneEndpoint.host", ""));
	return r < 0 ? r : 0;
}

/* The name that dynamic DNS gives the API: the cluster's, in the domain of the request, or in that which its network is
 * mapped to. */
static int ddns_name(struct plane *p, const json_t *cluster, char name[320], struct pcg_error *err)
{
	const json_t *spec = json_object_get(cluster, "spec"), *e = json_at(spec, "cloudConfig.controlPlaneEndpoint");
	char domain[256], lower[256];
	int r = 0;

	name[0] = '\0';
	if (strcmp(json_str_or(e, "type", ""), "DDNS") != 0 || *json_str_or(e, "host", ""))
		return 0;
	r = name_kept(p, cluster, name, err);
	if (r || *name)
		return r;
	snprintf(domain, sizeof(domain), "%s", json_str_or(e, "ddnsSearchDomain", ""));
	if (!*domain)
		r = dns_mapping_domain(p, json_str_or(cluster, "overlord", ""),
				       json_str_or(spec, "cloudConfig.placement.datacenter", ""),
				       control_plane_network(spec), domain, err);
	if (*domain)
		snprintf(name, 320, "%.48s.%.255s", json_str_or(cluster, "name", ""), dns_domain(domain, lower));
	return r;
}

static int add_endpoint(struct plane *p, const json_t *cluster, json_t *doc, struct pcg_error *err)
{
	const json_t *e = json_at(cluster, "spec.cloudConfig.controlPlaneEndpoint");
	const char *host = json_str_or(e, "host", "");
	char name[320];
	int r = ddns_name(p, cluster, name, err);

	if (r)
		return r;
	if (*name)
		host = name;
	if (!*host) {
		json_object_set_new(doc, "controlPlaneEndpoint", json_null());
		return 0;
	}
	json_object_set_new(doc, "controlPlaneEndpoint",
			    json_pack("{s:s,s:s,s:I}", "type", json_str_or(e, "type", "VIP"), "host", host,
				      "port", (json_int_t)json_int_or(e, "port", 6443)));
	return 0;
}

int document_build(struct plane *p, const json_t *cluster, json_t **out, struct pcg_error *err)
{
	const json_t *spec = json_object_get(cluster, "spec");
	const char *cloud = json_str_or(cluster, "cloudType", "");
	AUTO_JSON json_t *account = NULL;
	AUTO_JSON json_t *doc = NULL;
	json_t *problems = json_array();
	int r;

	doc = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:{},s:[],s:o}", "uid",
			json_str_or(cluster, "uid", ""), "name", json_str_or(cluster, "name", ""), "tenant",
			p->tenant, "tenantName", "default", "project", p->project, "projectName", "Default",
			"cloudType", cloud, "podCIDR", "192.168.0.0/16", "serviceCIDR", "10.96.0.0/12",
			"serviceDomain", "cluster.local", "kubeadmConfig", "layers", "problems", problems);
	r = add_account(p, cluster, doc, problems, &account, err);
	if (!r)
		r = add_packs(p, spec, doc, problems, account, err);
	if (!r)
		r = add_pools(p, spec, doc, problems, err);
	if (!r)
		r = add_certificates(p, doc, problems, err);
	if (r)
		return r;
	json_object_set_new(doc, "cloudConfig", object_or_empty(json_object_get(spec, "cloudConfig")));
	json_object_set_new(doc, "sshKeys", strings(json_at(spec, "cloudConfig.sshKeys")));
	json_object_set_new(doc, "ntpServers", strings(json_at(spec, "cloudConfig.ntpServers")));
	json_object_set_new(doc, "request", json_deep_copy(spec));
	r = add_endpoint(p, cluster, doc, err);
	if (r)
		return r;
	if (strcmp(cloud, "vsphere") == 0)
		check_vsphere(spec, doc, problems);
	check_host(cloud, doc, problems);
	*out = TAKE(doc);
	return 0;
}
