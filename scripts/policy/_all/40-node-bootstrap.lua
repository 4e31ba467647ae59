-- Files and commands for nodes, beside those of the profile.
--
-- Hook node_bootstrap: files are written and preKubeadmCommands run before kubeadm, postKubeadmCommands
-- after it. What several scripts return is joined in their order. They are lines of one shell script:
-- one that fails stops nothing, so let one that must not fail end in "|| exit 1", and there is no node.

-- As it is it adds nothing.

-- What people see who log in, {name} and {project} filled in:
-- "{name} ({project}): managed by the private cloud gateway; changes by hand are lost."
local NOTICE = ""
-- Where nodes of these projects send their log: "logs.example.com:6514", { production = true }
local LOG_SERVER, LOG_PROJECTS = "", {}

function node_bootstrap(input)
	local cluster = input.cluster
	local files, commands = {}, {}

	if NOTICE ~= "" then
		files[#files + 1] = {
			path = "/etc/motd",
			content = NOTICE:gsub("{(%a+)}", { name = cluster.name, project = cluster.projectName })
				.. "\n",
			owner = "root:root",
			permissions = "0644",
		}
	end
	if LOG_SERVER ~= "" and LOG_PROJECTS[cluster.projectName] then
		files[#files + 1] = {
			path = "/etc/rsyslog.d/90-company.conf",
			content = "*.* @@" .. LOG_SERVER .. "\n",
			owner = "root:root",
			permissions = "0644",
		}
		commands[#commands + 1] = "systemctl try-restart rsyslog || true"
	end
	if #files > 0 then
		return { files = files, preKubeadmCommands = commands }
	end
end
