-- Files and commands for nodes, beside those of the profile.
--
-- Hook node_bootstrap: files are written and preKubeadmCommands run before kubeadm, postKubeadmCommands
-- after it. What several scripts return is joined in their order. A command that fails stops the
-- node, so let one that may fail end in "|| true".

local LOG_SERVER = "logs.example.com:6514"

function node_bootstrap(input)
	local cluster = input.cluster
	local files = {
		{
			path = "/etc/motd",
			content = ("%s (%s): managed by the private cloud gateway; changes by hand are lost.\n")
				:format(cluster.name, cluster.projectName),
			owner = "root:root",
			permissions = "0644",
		},
	}
	local commands = {}

	if cluster.projectName == "production" then
		files[#files + 1] = {
			path = "/etc/rsyslog.d/90-company.conf",
			content = "*.* @@" .. LOG_SERVER .. "\n",
			owner = "root:root",
			permissions = "0644",
		}
		commands[#commands + 1] = "systemctl try-restart rsyslog || true"
	end
	return { files = files, preKubeadmCommands = commands }
end
