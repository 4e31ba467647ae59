// SPDX-License-Identifier: Apache-2.0

// The image flannel-cni-plugin's two programs in one: "cp", by which its init container installs
// the other, and "flannel", the network plugin that turns what flanneld found out about this node
// into a configuration of the plugins bridge and host-local, and runs bridge with it.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	defaultSubnetFile = "/run/flannel/subnet.env"
	defaultDataDir    = "/var/lib/cni/flannel"
)

type configuration struct {
	CNIVersion string         `json:"cniVersion"`
	Name       string         `json:"name"`
	SubnetFile string         `json:"subnetFile"`
	DataDir    string         `json:"dataDir"`
	Delegate   map[string]any `json:"delegate"`
}

func subnetEnv(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	env := map[string]string{}
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		name, value, _ := strings.Cut(scanner.Text(), "=")
		env[name] = value
	}
	for _, name := range []string{"FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"} {
		if env[name] == "" {
			return nil, fmt.Errorf("%s has no %s", path, name)
		}
	}
	return env, nil
}

// delegate completes the configuration of the plugin that does the work.
func delegate(c *configuration) ([]byte, error) {
	env, err := subnetEnv(c.SubnetFile)
	if err != nil {
		return nil, err
	}
	mtu, err := strconv.Atoi(env["FLANNEL_MTU"])
	if err != nil {
		return nil, fmt.Errorf("FLANNEL_MTU: %w", err)
	}
	d := c.Delegate
	if d == nil {
		d = map[string]any{}
	}
	defaults := map[string]any{
		"type": "bridge", "mtu": mtu, "ipMasq": env["FLANNEL_IPMASQ"] != "true",
	}
	if kind, named := d["type"]; !named || kind == "bridge" {
		defaults["isGateway"] = true
	}
	for name, value := range defaults {
		if _, given := d[name]; !given {
			d[name] = value
		}
	}
	// The file has the address of the bridge, host-local wants that of the network.
	_, subnet, err := net.ParseCIDR(env["FLANNEL_SUBNET"])
	if err != nil {
		return nil, fmt.Errorf("FLANNEL_SUBNET: %w", err)
	}
	d["name"], d["cniVersion"] = c.Name, c.CNIVersion
	d["ipam"] = map[string]any{
		"type": "host-local", "ranges": [][]map[string]string{{{"subnet": subnet.String()}}},
		"routes": []map[string]string{{"dst": env["FLANNEL_NETWORK"]}},
	}
	return json.Marshal(d)
}

func run(name string, text []byte) error {
	for _, folder := range filepath.SplitList(os.Getenv("CNI_PATH")) {
		program := filepath.Join(folder, name)
		if _, err := os.Stat(program); err != nil {
			continue
		}
		command := exec.Command(program)
		command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(text), os.Stdout, os.Stderr
		if err := command.Run(); err != nil {
			os.Exit(1) // its error is on standard output already
		}
		return nil
	}
	return fmt.Errorf("no plugin %q in CNI_PATH", name)
}

func plugin() error {
	c := &configuration{SubnetFile: defaultSubnetFile, DataDir: defaultDataDir}
	if os.Getenv("CNI_COMMAND") == "VERSION" {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{
			"cniVersion": "1.0.0", "supportedVersions": []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0"},
		})
	}
	if err := json.NewDecoder(os.Stdin).Decode(c); err != nil {
		return err
	}
	kept := filepath.Join(c.DataDir, os.Getenv("CNI_CONTAINERID"))
	text, err := os.ReadFile(kept)
	if os.Getenv("CNI_COMMAND") == "ADD" {
		if text, err = delegate(c); err != nil {
			return err
		}
		if err = os.MkdirAll(c.DataDir, 0o700); err != nil {
			return err
		}
		if err = os.WriteFile(kept, text, 0o600); err != nil {
			return err
		}
	} else if os.Getenv("CNI_COMMAND") == "DEL" {
		if errors.Is(err, os.ErrNotExist) {
			return nil // nothing was made, or it is gone already
		}
		defer os.Remove(kept)
	}
	if err != nil {
		return err
	}
	d := struct {
		Type string `json:"type"`
	}{}
	if err = json.Unmarshal(text, &d); err != nil {
		return err
	}
	return run(d.Type, text)
}

// install copies as "cp -f FILE TARGET" does, so that nobody runs half a program.
func install(args []string) error {
	if len(args) != 3 || args[0] != "-f" {
		return errors.New("usage: cp -f FILE TARGET")
	}
	from, err := os.Open(args[1])
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(args[2]+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err = io.Copy(to, from); err == nil {
		err = to.Close()
	}
	if err != nil {
		return err
	}
	return os.Rename(args[2]+".new", args[2])
}

func main() {
	if filepath.Base(os.Args[0]) == "cp" {
		if err := install(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "cp:", err)
			os.Exit(1)
		}
		return
	}
	if err := plugin(); err != nil {
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
			"cniVersion": "1.0.0", "code": 999, "msg": "flannel: " + err.Error(),
		})
		os.Exit(1)
	}
}
