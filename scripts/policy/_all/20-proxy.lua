-- The proxy that nodes use.
--
-- Hook proxy: input.proxy is what the gateway itself uses, {httpProxy, httpsProxy, noProxy = {...}},
-- or nil. User and password are taken out before a policy sees it, and put back when the same URL is
-- returned or left out. A field that is left out stays as it was; "" for both URLs: no proxy.
-- The cluster's own ranges, its endpoint and 169.254.169.254 are always excepted by the gateway.
-- As it is it changes nothing.

-- Exceptions by projectName: { production = { ".prod.example.com", "registry.example.com" } }
local NO_PROXY = {}
-- Clusters whose names begin so use no proxy: "lab-"
local DIRECT = ""

local function add_missing(list, more)
	local there = {}
	for _, entry in ipairs(list) do
		there[entry] = true
	end
	for _, entry in ipairs(more) do
		if not there[entry] then
			list[#list + 1] = entry
		end
	end
	return list
end

function proxy(input)
	if not input.proxy then
		return nil
	end
	if DIRECT ~= "" and input.cluster.name:sub(1, #DIRECT) == DIRECT then
		return { httpProxy = "", httpsProxy = "", noProxy = {} }
	end
	local more = NO_PROXY[input.cluster.projectName]
	if more then
		return { noProxy = add_missing(input.proxy.noProxy or {}, more) }
	end
end
