-- Which clusters may be built, and what is put right on the way.
--
-- Hook admission: the input is the cluster document (docs/spec.md). Return {allow = true},
-- {allow = false, reason = "..."}, or {allow = true, change = {["path.to.field"] = value}}, or nothing
-- to have no opinion. Elements of lists are counted from 0 in a path, from 1 in Lua.
-- Whoever asked for the cluster reads the reason: say what to do.

local MAX_NODES = 100
local OLDEST_MINOR = 31
local NTP = { "ntp1.example.com", "ntp2.example.com" }

local function deny(text, ...)
	return { allow = false, reason = text:format(...) }
end

function admission(cluster)
	if not cluster.name:find("^[a-z][a-z0-9-]*$") then
		return deny("the name %s: allowed are a-z, 0-9 and -, beginning with a letter", cluster.name)
	end

	local minor = tonumber(cluster.kubernetesVersion:match("^v1%.(%d+)%."))
	if not minor or minor < OLDEST_MINOR then
		return deny("Kubernetes %s is older than 1.%d", cluster.kubernetesVersion, OLDEST_MINOR)
	end

	local nodes, change = 0, {}
	for i, pool in ipairs(cluster.pools) do
		nodes = nodes + pool.size
		if pool.controlPlane and pool.size % 2 == 0 then
			return deny("%d control plane nodes: etcd needs an odd number", pool.size)
		end
		if pool.controlPlane and pool.size == 1 and cluster.projectName == "production" then
			change[("pools.%d.size"):format(i - 1)] = 3
			nodes = nodes + 2
		end
	end
	if nodes > MAX_NODES then
		return deny("%d nodes are asked for, %d are allowed", nodes, MAX_NODES)
	end

	if #(cluster.ntpServers or {}) == 0 then
		change.ntpServers = NTP
	end
	return { allow = true, change = change }
end
