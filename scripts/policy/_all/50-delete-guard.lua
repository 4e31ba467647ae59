-- Which clusters may be deleted, and which of their volumes outlive them.
--
-- Hook delete_guard: asked when a cluster that owns itself shall be deleted. The input is
-- {cluster, reachable, loadBalancers, volumes}: cluster as for admission; reachable says whether the
-- cluster's API answered, and only then are there loadBalancers = {{namespace, name, addresses}} and
-- volumes = {{name, reclaimPolicy, driver, handle, capacity, phase, claim = {namespace, name}}}.
-- Return {allow = true}, with keepVolumes = {name, ...} for volumes that stay although their reclaim
-- policy is Delete, or {allow = false, reason = "..."}. A forced delete does not ask.

-- As it is everything may be deleted, and volumes go or stay by their own policy.

-- Projects in which nobody loses data by deleting a cluster: { production = true }
local CAREFUL = {}
-- Namespaces whose volumes stay, whatever their reclaim policy says: { databases = true }
local KEEP = {}

function delete_guard(input)
	local keep, lost = {}, 0
	for _, volume in ipairs(input.volumes or {}) do
		if volume.claim and KEEP[volume.claim.namespace] then
			keep[#keep + 1] = volume.name
		elseif volume.reclaimPolicy == "Delete" then
			lost = lost + 1
		end
	end

	if CAREFUL[input.cluster.projectName] and lost > 0 then
		return {
			allow = false,
			reason = ("%d volumes would be deleted with it: remove their claims first"):format(lost),
		}
	end
	return { allow = true, keepVolumes = keep }
end
