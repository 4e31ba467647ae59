-- Which clusters may be built, and what is put right on the way.
--
-- Hook admission: the input is the cluster document (docs/spec.md). Return {allow = true},
-- {allow = false, reason = "..."}, or {allow = true, change = {["path.to.field"] = value}}, or nothing
-- to have no opinion. Elements of lists are counted from 0 in a path, from 1 in Lua.
-- Whoever asked for the cluster reads the reason: say what to do.

-- As it is it refuses only what no cluster can be built from. The rules below are off until they are
-- filled in.

local NAMES = ""        -- what names look like, as a Lua pattern: "^[a-z][a-z0-9-]*$"
local MAX_NODES = 0     -- nodes of one cluster: 100
local OLDEST_MINOR = 0  -- the oldest Kubernetes 1.N: 31
local NTP = {}          -- of a request that names none: { "ntp1.example.com", "ntp2.example.com" }
local THREE = {}        -- projects in which one control plane node becomes three: { production = true }

local function deny(text, ...)
	return { allow = false, reason = text:format(...) }
end

function admission(cluster)
	if not cluster.name:find(NAMES) then
		return deny("the name %s: names look like %s", cluster.name, NAMES)
	end

	local minor = tonumber(cluster.kubernetesVersion:match("^v1%.(%d+)%.")) or 0
	if minor < OLDEST_MINOR then
		return deny("Kubernetes %s is older than 1.%d", cluster.kubernetesVersion, OLDEST_MINOR)
	end

	local nodes, change = 0, {}
	for i, pool in ipairs(cluster.pools) do
		nodes = nodes + pool.size
		if pool.controlPlane and pool.size % 2 == 0 then
			return deny("%d control plane nodes: etcd needs an odd number", pool.size)
		end
		if pool.controlPlane and pool.size == 1 and THREE[cluster.projectName] then
			change[("pools.%d.size"):format(i - 1)] = 3
			nodes = nodes + 2
		end
	end
	if MAX_NODES > 0 and nodes > MAX_NODES then
		return deny("%d nodes are asked for, %d are allowed", nodes, MAX_NODES)
	end

	if #NTP > 0 and #(cluster.ntpServers or {}) == 0 then
		change.ntpServers = NTP
	end
	if next(change) then
		return { allow = true, change = change }
	end
end
