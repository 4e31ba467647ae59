# SPDX-License-Identifier: Apache-2.0
# What flow tests share: plane, gateway and simulated cloud as processes of one private folder, driven
# from outside. Source it, call flow_begin; everything that was started ends with the shell.
#
# PCG_BUILD      where the programs were built (default: build/ beside the sources)
# FLOW_KEEP      set: the folder stays, for a look at the logs
# FLOW_DIR       the private folder. A program NAME has NAME.log there, NAME.pid, and NAME.ends with the
#                status of each of its ends
#
# A program that flow_start runs is started again at once when SIGKILL ended it, with the same
# arguments; any other end is final, and a failure unless flow_stop asked for it.

FLOW_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
FLOW_NAME=$(basename "$0")
FLOW_DEADLINE=${FLOW_DEADLINE:-60}
FLOW_TOKEN=seeded-token-7d1f0c
FLOW_SECRETS=("$FLOW_TOKEN")
exec 9>&2 # a failure is told, whatever is redirected around it

flow_log() { printf '%s: %7.2f s %s\n' "$FLOW_NAME" "$(flow_elapsed)" "$*"; }
flow_now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }
flow_elapsed() { python3 -c 'import sys; print((int(sys.argv[1]) - int(sys.argv[2])) / 1000)' "$(flow_now_ms)" "$FLOW_BEGAN"; }
flow_skip() { echo "SKIP: $FLOW_NAME: $*"; exit 77; }
flow_fail() {
	echo "not ok: $FLOW_NAME: $*" >&9
	exit 1
}

flow_begin() {
	FLOW_BEGAN=$(flow_now_ms)
	PCG_BUILD=$(cd "${PCG_BUILD:-$FLOW_SOURCE/build}" 2>/dev/null && pwd) ||
		flow_fail "no build folder; set PCG_BUILD"
	local p
	for p in pcgd pcgctl pcg-plane pcg-planectl pcg-simcloud .libs/libpcg-sim.so; do
		[ -e "$PCG_BUILD/$p" ] || flow_fail "$PCG_BUILD/$p is not built"
	done
	FLOW_DIR=$(mktemp -d "${TMPDIR:-/tmp}/pcg-flow.XXXXXX")
	trap flow_end EXIT
	trap 'exit 1' INT TERM HUP
	mkdir "$FLOW_DIR/plugins"
	cp "$PCG_BUILD/.libs/libpcg-sim.so" "$FLOW_DIR/plugins/"
	(umask 077; printf '%s\n' "$FLOW_TOKEN" >"$FLOW_DIR/token")
}

# Programs of a sanitized build write what they find into their log.
flow_sanitizer_reports() {
	local f
	for f in "$FLOW_DIR"/*.log; do
		[ -e "$f" ] && grep -HE -m 3 '(Address|Leak|Thread|UndefinedBehavior)Sanitizer|: runtime error: ' "$f"
	done | sed "s|^$FLOW_DIR/||"
}

flow_end() {
	local status=$? f
	trap - EXIT
	[ -n "${FLOW_DIR:-}" ] || exit "$status"
	for f in "$FLOW_DIR"/*.supervisor; do
		[ -e "$f" ] && flow_stop "$(basename "$f" .supervisor)" KILL
	done
	jobs -p | xargs -r kill 2>/dev/null
	if flow_sanitizer_reports | grep . >&2; then
		echo "not ok: $FLOW_NAME: a sanitizer has reported" >&9
		status=1
	fi
	if [ "$status" != 0 ] && [ "$status" != 77 ]; then
		for f in "$FLOW_DIR"/*.log; do
			[ -e "$f" ] && { echo "--- the end of $(basename "$f")"; tail -n 15 "$f" | cut -c1-400; } >&2
		done
	fi
	if [ -n "${FLOW_KEEP:-}" ]; then
		echo "kept: $FLOW_DIR" >&2
	else
		rm -rf "$FLOW_DIR"
	fi
	exit "$status"
}

# --- processes

# NAME COMMAND...
flow_start() {
	local name=$1
	shift
	rm -f "$FLOW_DIR/$name.stop" "$FLOW_DIR/$name.pid"
	(
		trap - EXIT INT TERM HUP
		while [ ! -e "$FLOW_DIR/$name.stop" ]; do
			"$@" >>"$FLOW_DIR/$name.log" 2>&1 </dev/null &
			echo $! >"$FLOW_DIR/$name.pid.new"
			mv "$FLOW_DIR/$name.pid.new" "$FLOW_DIR/$name.pid"
			wait $!
			status=$?
			echo "$status" >>"$FLOW_DIR/$name.ends"
			[ "$status" = 137 ] || break
		done
	) 2>/dev/null &
	echo $! >"$FLOW_DIR/$name.supervisor"
	flow_until 10 "$name is started" test -s "$FLOW_DIR/$name.pid"
}

flow_pid() { cat "$FLOW_DIR/$1.pid"; }
# NAME: killed without warning; it starts again by itself
flow_kill() { kill -9 "$(flow_pid "$1")" 2>/dev/null || true; }
# NAME [SIGNAL]: ends it, and waits for that
flow_stop() {
	local name=$1 supervisor
	supervisor=$(cat "$FLOW_DIR/$name.supervisor" 2>/dev/null) || return 0
	touch "$FLOW_DIR/$name.stop"
	kill -"${2:-TERM}" "$(flow_pid "$name")" 2>/dev/null
	( trap - EXIT; flow_until 15 "$name ends" flow_dead "$supervisor" ) || kill -9 "$(flow_pid "$name")" 2>/dev/null
	wait "$supervisor" 2>/dev/null
	rm -f "$FLOW_DIR/$name.supervisor"
}
flow_dead() { ! kill -0 "$1" 2>/dev/null; }
# NAME: how often it was killed
flow_kills() { grep -c '^137$' "$FLOW_DIR/$1.ends" 2>/dev/null || true; }
# Programs that ended by themselves, with anything but a kill, where nobody asked them to.
flow_check_ends() {
	local f name
	for f in "$FLOW_DIR"/*.supervisor; do
		name=$(basename "$f" .supervisor)
		flow_dead "$(cat "$f")" && flow_fail "$name has ended: status $(tail -n 1 "$FLOW_DIR/$name.ends")"
	done
	return 0
}

# SECONDS WHAT COMMAND...: until the command succeeds; it is given up after four times as long, for a machine that has more to do
flow_until() {
	local s=$(($1 * 4)) what=$2 end pauses=(0.02 0.05 0.05 0.1 0.1 0.1 0.2 0.2 0.3) i=0
	shift 2
	end=$(($(flow_now_ms) + s * 1000))
	until "$@" >/dev/null 2>&1; do
		[ "$(flow_now_ms)" -lt $end ] || flow_fail "$what: not within $s s"
		read -rt "${pauses[i < 8 ? i++ : 8]}" <> <(:) || true
	done
}

# --- JSON: json EXPRESSION <document; d is the document
json() { python3 -c 'import json, sys
d = json.load(sys.stdin)
r = eval(sys.argv[1])
print(r if isinstance(r, str) else json.dumps(r))' "$1"; }

# --- simulated cloud

sim_start() {
	rm -f "$FLOW_DIR/sim.ready"
	flow_start sim "$PCG_BUILD/pcg-simcloud" --state "$FLOW_DIR/simcloud" --listen "127.0.0.1:${SIM_PORT:-0}" \
		--token-file "$FLOW_DIR/token" --ready-file "$FLOW_DIR/sim.ready"
	flow_until 15 "the simulated cloud serves" test -s "$FLOW_DIR/sim.ready"
	SIM_URL=$(json 'd["url"]' <"$FLOW_DIR/sim.ready")
	if [ -z "${SIM_PORT:-}" ]; then
		# The port has to be the same when it is started again.
		SIM_PORT=${SIM_URL##*:}
		flow_stop sim
		sim_start
	fi
}
# METHOD PATH [BODY]
sim() {
	curl -sS --max-time 60 --retry 20 --retry-delay 1 --retry-connrefused --config - -X "$1" "$SIM_URL$2" \
		${3:+-d "$3"} <<<"header = \"Authorization: Bearer $(head -n 1 "$FLOW_DIR/token")\""
}
sim_settings() { sim PUT /v1/settings "$1" >/dev/null; }
# MEMBER of the stats
sim_stat() { sim GET /v1/stats | json "d.get('$1', 0)"; }
# [CLUSTER]: a line for each machine: uid name role state
sim_machines() {
	sim GET "/v1/machines${1:+?cluster=$1}" |
		python3 -c 'import json, sys
for m in json.load(sys.stdin)["items"]: print(m["uid"], m["name"], m["role"], m["state"])'
}
sim_has_machines() { [ "$(sim_machines "$1" | wc -l)" = "$2" ]; }
# CLUSTER STATE: one of its machines is in this state
sim_has_state() { sim_machines "$1" | grep -q " $2\$"; }
sim_empty() { [ "$(sim GET /v1/stats | json '[d["machines"], d["clusters"], d["kubeAPIs"]]')" = '[0, 0, 0]' ]; }

# --- plane

plane_start() {
	rm -f "$FLOW_DIR/plane.ready"
	flow_start plane "$PCG_BUILD/pcg-plane" --state "$FLOW_DIR/plane" --listen "127.0.0.1:${PLANE_PORT:-0}" \
		--force-delete-after 0 --ready-file "$FLOW_DIR/plane.ready"
	flow_until 15 "the plane serves" test -s "$FLOW_DIR/plane.ready"
	PLANE_URL=$(cat "$FLOW_DIR/plane.ready")
	PLANE_KEY=$(cat "$FLOW_DIR/plane/api-key")
	if [ -z "${PLANE_PORT:-}" ]; then
		FLOW_SECRETS+=("$PLANE_KEY")
		PLANE_PORT=${PLANE_URL##*:}
		flow_stop plane
		plane_start
	fi
}
planectl() { "$PCG_BUILD/pcg-planectl" --state "$FLOW_DIR/plane" "$@"; }
# METHOD PATH [BODY-FILE]: prints the answer; fails when there is none or it is a refusal. What changes
# nothing is asked again when the plane dies over it.
api() {
	local status i
	for ((i = 0; i < 50; i++)); do
		curl -sS --fail-with-body --max-time 60 --cacert "$FLOW_DIR/plane/ca.crt" --config - -X "$1" "$PLANE_URL$2" \
			${3:+--data-binary "@$3"} <<-CURL
			header = "ApiKey: $PLANE_KEY"
			header = "Content-Type: application/json"
		CURL
		status=$?
		case $status in 7 | 35 | 52 | 56) ;; *) return $status ;; esac
		[ "$1" = GET ] || [ "$2" = /v1/dashboard/spectroclusters/search ] || return $status
		read -rt 0.05 <> <(:)
	done 2>/dev/null
	return "$status"
}

# --- gateway

# [NAME]: gateway_conf, gateway_pair and gateway_start take the name of an installation
gateway_conf() {
	local gw=${1:-gw}
	cat >"$FLOW_DIR/$gw.conf" <<-CONF
	state_dir = "$FLOW_DIR/$gw";
	plugins_dir = "$FLOW_DIR/plugins";
	policy_dir = "$FLOW_DIR/policy.d";
	bundle_dir = "$FLOW_SOURCE/bundles/sim";
	log_level = "${GATEWAY_LOG_LEVEL:-info}";
	plane = { url = "$PLANE_URL"; ca_file = "$FLOW_DIR/plane/ca.crt"; };
	limits = { take_back_s = ${GATEWAY_TAKE_BACK_S:-120}; };
	CONF
}
gateway_code() { planectl pair --cloud sim ${2:+--overlord "$2"} --output json >"$FLOW_DIR/$1.pair"; }
# [NAME [UID of a gateway that is paired again]]
gateway_pair() {
	local gw=${1:-gw}
	flow_until 30 "a pairing code" gateway_code "$gw" "${2:-}"
	(umask 077; json 'd["pairingCode"]' <"$FLOW_DIR/$gw.pair" >"$FLOW_DIR/$gw.code")
	FLOW_SECRETS+=("$(cat "$FLOW_DIR/$gw.code")")
	[ -e "$FLOW_DIR/$gw.conf" ] || gateway_conf "$gw"
	gateway_enrol "$gw"
}
# [NAME]: with the code that gateway_pair left; an attempt that is cut short is made again
gateway_enrol() {
	local gw=${1:-gw}
	flow_until 30 "gateway $gw is paired" gateway_enrol_once "$gw"
}
gateway_enrol_once() {
	"$PCG_BUILD/pcgd" --config "$FLOW_DIR/$1.conf" --pair "$FLOW_DIR/$1.code" >>"$FLOW_DIR/$1.log" 2>&1 && return 0
	echo $? >>"$FLOW_DIR/$1.ends"
	return 1
}
gateway_start() {
	local gw=${1:-gw}
	PCG_SOCKET=$FLOW_DIR/$gw/pcgd.sock
	export PCG_SOCKET
	[ -e "$FLOW_DIR/$gw.conf" ] || gateway_conf "$gw"
	flow_start "$gw" "$PCG_BUILD/pcgd" --config "$FLOW_DIR/$gw.conf"
}
pcgctl() { "$PCG_BUILD/pcgctl" "$@"; }
# Of the first gateway
gateway_active() { api GET /v1/overlords | json 'd["items"][0]["status"]["isActive"] or sys.exit(1)'; }
gateway_uid() { api GET /v1/overlords | json 'd["items"][0]["metadata"]["uid"]'; }

# Simulated cloud, plane, a paired and active gateway, an account and a profile.
flow_up() {
	sim_start
	plane_start
	gateway_pair
	gateway_start
	flow_until 15 "the gateway is active" gateway_active
	account_add
	profile_add
}

account_body() {
	local overlord
	overlord=$(gateway_uid)
	python3 -c 'import json, sys
print(json.dumps({"metadata": {"name": "lab", "annotations": {"overlordUid": sys.argv[1]}},
                  "spec": {"endpoint": sys.argv[2], "token": open(sys.argv[3]).readline().strip()}}))' \
		"$overlord" "$SIM_URL" "${1:-$FLOW_DIR/token}"
}
# LIST-PATH POST-PATH BODY-FILE NAME: the uid of what is made, once, although answers may be lost
api_ensure() {
	local end uid
	end=$(($(flow_now_ms) + 30000))
	while :; do
		api GET "$1" 2>/dev/null | json "next((i['metadata']['uid'] for i in d['items'] if i['metadata']['name'] == '$4'), None) or sys.exit(1)" 2>/dev/null && return 0
		api POST "$2" "$3" 2>/dev/null | json 'd["uid"]' 2>/dev/null && return 0
		[ "$(flow_now_ms)" -lt $end ] || { api POST "$2" "$3" >&9; return 1; }
	done
}
account_add() {
	account_body >"$FLOW_DIR/account.json"
	ACCOUNT=$(api_ensure /v1/cloudaccounts/sim /v1/cloudaccounts/sim "$FLOW_DIR/account.json" lab) ||
		flow_fail "no account"
}
# FILE with another token
account_replace() {
	account_body "$1" >"$FLOW_DIR/account.json"
	api PUT "/v1/cloudaccounts/sim/$ACCOUNT" "$FLOW_DIR/account.json"
}
profile_add() {
	cat >"$FLOW_DIR/profile.json" <<-'PROFILE'
	{"metadata": {"name": "base"}, "spec": {"version": "1.0.0", "template": {"cloudType": "sim", "type": "cluster", "packs": [
	 {"name": "kubernetes", "tag": "1.36.3", "type": "spectro", "layer": "k8s", "values": ""},
	 {"name": "flannel", "type": "manifest", "layer": "cni", "manifests": [{"name": "cni", "content":
	  "apiVersion: apps/v1\nkind: DaemonSet\nmetadata:\n  name: cni\n  namespace: kube-system\nspec:\n  selector: {matchLabels: {app: cni}}\n  template:\n    metadata: {labels: {app: cni}}\n    spec:\n      hostNetwork: true\n      tolerations: [{operator: Exists}]\n      containers: [{name: cni, image: cni:1}]\n"}]}]}}}
	PROFILE
	[ -z "${STORAGE:-}" ] || profile_storage "$FLOW_DIR/profile.json"
	PROFILE=$(api_ensure /v1/dashboard/clusterprofiles/metadata /v1/clusterprofiles "$FLOW_DIR/profile.json" base) ||
		flow_fail "no profile"
	flow_until 30 "the profile is published" api PATCH "/v1/clusterprofiles/$PROFILE/publish"
}

# A layer with what a delete has to release first: a load balancer, a volume that goes and one that stays.
profile_storage() {
	python3 - "$1" <<-'PYTHON'
	import json, sys
	def volume(name, policy):
	    return [{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
	                 "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
	                 "persistentVolumeReclaimPolicy": policy, "claimRef": {"namespace": "default", "name": name},
	                 "csi": {"driver": "csi.example", "volumeHandle": "disk-" + name}}},
	            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"},
	             "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": name, "storageClassName": "",
	                      "resources": {"requests": {"storage": "1Gi"}}}}]
	objects = volume("scratch", "Delete") + volume("archive", "Retain") + [
	    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
	     "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": "web"}}}]
	profile = json.load(open(sys.argv[1]))
	profile["spec"]["template"]["packs"].append({"name": "storage", "type": "manifest", "layer": "addon", "manifests": [
	    {"name": "storage", "content": "\n---\n".join(json.dumps(o) for o in objects)}]})
	json.dump(profile, open(sys.argv[1], "w"))
	PYTHON
}

# --- clusters

# NAME START END: an IP pool of 10.0.0.0/16; POOL is its uid from then on, and clusters that are made have addresses of it
pool_add() {
	POOLS=/v1/overlords/sim/$(gateway_uid)/pools
	pool_body "$@" >"$FLOW_DIR/pool.$1.json"
	POOL=$(api_ensure "$POOLS" "$POOLS" "$FLOW_DIR/pool.$1.json" "$1") || flow_fail "no IP pool $1"
}
pool_body() {
	echo "{\"metadata\": {\"name\": \"$1\"}, \"spec\": {\"pool\": {\"start\": \"$2\", \"end\": \"$3\", \"prefix\": 16,
	 \"gateway\": \"10.0.0.1\", \"nameserver\": {\"addresses\": [\"10.0.0.2\"], \"search\": [\"lab.test\"]}}}}"
}
# EXPRESSION over d, the status of pool $POOL
pool_status() { api GET "$POOLS" | json "next($1 for d in [p['status'] for p in d['items'] if p['metadata']['uid'] == '$POOL'])"; }

# NAME [WORKERS]
cluster_body() {
	python3 -c 'import json, sys
name, workers, account, profile, ips = sys.argv[1:]
cloud = {"network": {"networkName": "net", "parentPoolUid": ips, "staticIp": True}} if ips else {}
pools = [{"cloudConfig": cloud, "poolConfig": {"name": "cp", "size": 1, "isControlPlane": True, "labels": ["control-plane"]}}]
if int(workers):
    pools.append({"cloudConfig": cloud, "poolConfig": {"name": "w", "size": int(workers), "labels": ["worker"]}})
print(json.dumps({"metadata": {"name": name}, "spec": {"cloudAccountUid": account, "cloudConfig": {},
                  "profiles": [{"uid": profile}], "machinepoolconfig": pools}}))' "$1" "${2:-2}" "$ACCOUNT" "$PROFILE" "${POOL:-}"
}
# NAME [WORKERS]: its uid. An answer that is lost does not lead to a second cluster.
cluster_create() {
	local body="$FLOW_DIR/cluster.$1.json" end
	cluster_body "$@" >"$body"
	end=$(($(flow_now_ms) + 30000))
	while :; do
		api POST /v1/spectroclusters/sim "$body" 2>/dev/null | json 'd["uid"]' 2>/dev/null && return 0
		cluster_uid "$1" 2>/dev/null && return 0
		[ "$(flow_now_ms)" -lt $end ] || { echo "cluster $1 cannot be created" >&2; return 1; }
	done
}
# A line for each cluster that the plane knows: name uid state phase
clusters() {
	[ -e "$FLOW_DIR/search.json" ] || echo '{}' >"$FLOW_DIR/search.json"
	api POST /v1/dashboard/spectroclusters/search "$FLOW_DIR/search.json" | python3 -c 'import json, sys
for c in json.load(sys.stdin)["items"]:
    s = c["status"]
    print(c["metadata"]["name"], c["metadata"]["uid"], s.get("state"), s.get("phase") or "-")'
}
cluster_uid() { clusters | awk -v n="$1" '$1 == n { print $2; found = 1 } END { exit !found }'; }
# UID [true]: asked for until it is answered; true: forced
cluster_delete() {
	flow_until 30 "the delete of $1 is taken" api DELETE "/v1/spectroclusters/$1${2:+?forceDelete=$2}"
}
# NAME-or-UID: phase as the gateway sees it, "gone" when it is deleted or was never here
cluster_phase() {
	local doc
	doc=$(timeout 10 "$PCG_BUILD/pcgctl" --output json cluster show "$1" 2>/dev/null) || {
		[ $? = 3 ] && echo gone
		return 0
	}
	json '"gone" if d["phase"] == "Deleted" else d["phase"]' <<<"$doc"
}
# SECONDS NAME PHASE...: until it is in one of these phases
cluster_wait() {
	local s=$1 name=$2
	shift 2
	flow_until "$s" "cluster $name is in $*" cluster_in "$name" "$@"
}
cluster_in() {
	local phase name=$1
	phase=$(cluster_phase "$name")
	shift
	[[ " $* " == *" $phase "* ]]
}
# SECONDS STATE COUNT: until so many clusters of the plane are in this state, and in no other
clusters_wait() {
	local s=$1
	flow_until "$s" "$3 clusters are $2" clusters_in "$2" "$3"
}
clusters_in() {
	flow_check_ends
	[ "$(clusters | awk -v s="$1" '$3 == s { n++ } $3 != s { other++ } END { print n + 0, other + 0 }')" = "$2 0" ]
}

# --- what has to hold at the end

# Nothing left in the infrastructure, by its own account and by the gateway's.
flow_nothing_left() {
	sim_empty || flow_fail "the infrastructure still holds: $(sim GET /v1/stats)"
	pcgctl --output json audit >"$FLOW_DIR/audit.json" || flow_fail "audit: $(cat "$FLOW_DIR/audit.json")"
}

# Seeded secrets and keys in no log, no database in clear, no argument, no environment.
flow_no_secrets() {
	printf '%s\n' "${FLOW_SECRETS[@]}" >"$FLOW_DIR/.secrets"
	grep -lFf "$FLOW_DIR/.secrets" "$FLOW_DIR"/*.log "$FLOW_DIR"/*.history 2>/dev/null &&
		flow_fail "a secret is in a log"
	grep -lE 'PRIVATE KEY|client-key-data|BEGIN RSA' "$FLOW_DIR"/*.log "$FLOW_DIR"/*.history 2>/dev/null &&
		flow_fail "a private key is in a log"
	find "$FLOW_DIR" -path "$FLOW_DIR/simcloud" -prune -o -type f \( -name '*.db' -o -name '*.db-wal' -o -name '*.sqlite*' \) -print0 |
		xargs -0r grep -laFf "$FLOW_DIR/.secrets" && flow_fail "a secret is in a database in clear"
	find "$FLOW_DIR" -path "$FLOW_DIR/simcloud" -prune -o -type f \( -name '*.db' -o -name '*.db-wal' -o -name '*.sqlite*' \) -print0 |
		xargs -0r grep -la 'PRIVATE KEY-----' && flow_fail "a private key is in a database in clear"
	local f pid
	for f in "$FLOW_DIR"/*.supervisor; do
		for pid in $(flow_pid "$(basename "$f" .supervisor)") $(pgrep -P "$(flow_pid "$(basename "$f" .supervisor)")"); do
			tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qFf "$FLOW_DIR/.secrets" && flow_fail "a secret is an argument"
			tr '\0' '\n' <"/proc/$pid/environ" | grep -qFf "$FLOW_DIR/.secrets" && flow_fail "a secret is in an environment"
		done
	done 2>/dev/null
	rm -f "$FLOW_DIR/.secrets"
	return 0
}
