-- The company's own certificate authority for the nodes of chosen clusters.
--
-- Hook ca_bundle: input.certificates are the tenant's certificates, a list of {name, pem}. What is
-- returned takes their place, so begin with what was there. Return nothing to leave them as they are.
--
-- The certificate below is an example whose key was thrown away: put your own in its place, and say
-- which clusters get it.

local COMPANY_CA = [[
-----BEGIN CERTIFICATE-----
MIIB6TCCAY+gAwIBAgIUajngYAC2ymjqXOQp7VBVwyi0UjUwCgYIKoZIzj0EAwIw
STEYMBYGA1UECgwPRXhhbXBsZSBDb21wYW55MS0wKwYDVQQDDCRFeGFtcGxlIENv
bXBhbnkgUm9vdCBDQSAocmVwbGFjZSBtZSkwIBcNMjYxMTIyMjEyODMyWhgPMjEy
NjEwMjkyMTI4MzJaMEkxGDAWBgNVBAoMD0V4YW1wbGUgQ29tcGFueTEtMCsGA1UE
AwwkRXhhbXBsZSBDb21wYW55IFJvb3QgQ0EgKHJlcGxhY2UgbWUpMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEgT5UiIkmh2G1ezzzRt8N7kOafZM99IFxuR76x8Rp
3q55wY6jNzhr0nZoJVk/1Z8ew7Pt6G7lzAVS13lg152LtaNTMFEwHQYDVR0OBBYE
FCoyONPeeY2KRRKAmvqft/H8U6RzMB8GA1UdIwQYMBaAFCoyONPeeY2KRRKAmvqf
t/H8U6RzMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhALrnSlH3
n0XsykWGj/5T1oWtz7Ka+YR5DIbp1IrQ1jkhAiAa1+Uau8Lib4RY6cJ9BqhJlQkD
Pr8wIeg/ywz/+6Zszw==
-----END CERTIFICATE-----
]]

local PROJECTS = { production = true, staging = true } -- by projectName
local LABEL, VALUE = "trust", "company"                -- or by a label of the control plane pool

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
	if not wanted(input.cluster) then
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
