-- The company's own certificate authority for the nodes of chosen clusters.
--
-- Hook ca_bundle: input.certificates are the tenant's certificates, a list of {name, pem}. What is
-- returned takes their place, so begin with what was there. Return nothing to leave them as they are.
--
-- As it is it does nothing: put your certificate (one or several, PEM) between the brackets, and say
-- which clusters get it.

local COMPANY_CA = [[
]]

local PROJECTS = {}                     -- by projectName: { production = true, staging = true }
local LABEL, VALUE = "trust", "company" -- or by a label of the control plane pool

local function wanted(cluster)
	if PROJECTS[cluster.projectName] then
		return true
	end
	for _, pool in ipairs(cluster.pools or {}) do
		if pool.controlPlane and (pool.labels or {})[LABEL] == VALUE then
			return true
		end
	end
	return false
end

function ca_bundle(input)
	if not COMPANY_CA:find("BEGIN CERTIFICATE", 1, true) or not wanted(input.cluster) then
		return nil
	end
	local list = {}
	for _, certificate in ipairs(input.certificates) do
		if certificate.name ~= "company-ca" then
			list[#list + 1] = certificate
		end
	end
	list[#list + 1] = { name = "company-ca", pem = COMPANY_CA }
	return { certificates = list }
end
