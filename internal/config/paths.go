package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Where lanfolk keeps things when it runs as a service.
const (
	ServiceState = "/var/lib/lanfolk"
	ServiceFile  = "/etc/lanfolk/lanfolk.toml"
)

// maxSocket is the longest path of a unix socket on Linux, in bytes: sun_path
// has 108, with a NUL.
const maxSocket = 107

// DefaultState returns the state folder where none is named: the one that
// systemd gives the service, ServiceState for root, and $XDG_STATE_HOME/lanfolk or
// ~/.local/state/lanfolk for other users.
func DefaultState() (string, error) { return defaultState(os.Geteuid(), os.Getenv) }

func defaultState(uid int, env func(string) string) (string, error) {
	// systemd.exec(5): folders are joined by colons.
	if dir, _, _ := strings.Cut(env("STATE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return filepath.Clean(dir), nil
	}
	if uid == 0 {
		return ServiceState, nil
	}
	dir, ok := xdg(env, "XDG_STATE_HOME", ".local/state")
	if !ok {
		return "", errors.New("config: no state folder: neither XDG_STATE_HOME nor HOME is set; name one with --state")
	}
	return dir, nil
}

// xdg returns lanfolk's folder in one of the XDG Base Directory Specification,
// which says that relative paths are to be ignored.
func xdg(env func(string) string, variable, inHome string) (string, bool) {
	if dir := env(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "lanfolk"), true
	}
	if home := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, inHome, "lanfolk"), true
	}
	return "", false
}

// DefaultPath returns the configuration file where none is named, "" if there
// is none: a user's own ($XDG_CONFIG_HOME/lanfolk/lanfolk.toml or
// ~/.config/lanfolk/lanfolk.toml), then ServiceFile. For root and the service
// ServiceFile goes first.
func DefaultPath() string {
	return defaultPath(os.Geteuid(), os.Getenv, func(path string) bool {
		_, err := os.Stat(path)
		return !errors.Is(err, os.ErrNotExist)
	})
}

func defaultPath(uid int, env func(string) string, exists func(string) bool) string {
	candidates := []string{ServiceFile}
	if dir, ok := xdg(env, "XDG_CONFIG_HOME", ".config"); ok {
		own := filepath.Join(dir, "lanfolk.toml")
		if uid == 0 || env("STATE_DIRECTORY") != "" {
			candidates = append(candidates, own)
		} else {
			candidates = append([]string{own}, candidates...)
		}
	}
	for _, c := range candidates {
		if exists(c) {
			return c
		}
	}
	return ""
}

// SocketPath returns the unix socket of the node whose state folder this is:
// node.sock in it. Where that path is too long for a socket it lies in the runtime
// folder of the user who owns the state folder, under a name made from the folder's path.
// Nothing but the folder decides, so that the node and every client, whoever runs it,
// come to the same path; the folder should exist.
func SocketPath(state string) string { return socketPath(state, "node.sock", folderExists) }

// HubSocketPath returns that of the hub: hub.sock. A node and a hub may share the folder.
func HubSocketPath(state string) string { return socketPath(state, "hub.sock", folderExists) }

func folderExists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func socketPath(state, name string, exists func(string) bool) string {
	if dir, err := filepath.Abs(state); err == nil {
		state = dir
	}
	if dir, err := filepath.EvalSymlinks(state); err == nil {
		state = dir
	}
	path := filepath.Join(state, name)
	if len(path) <= maxSocket {
		return path
	}
	owner := os.Geteuid()
	if info, err := os.Stat(state); err == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = int(s.Uid)
		}
	}
	sum := sha256.Sum256([]byte(state))
	name = "lanfolk-" + hex.EncodeToString(sum[:8]) + "-" + name
	switch runtime := "/run/user/" + strconv.Itoa(owner); {
	case exists(runtime):
		return filepath.Join(runtime, name)
	case owner == 0:
		return filepath.Join("/run", name)
	default: // no session manager
		return filepath.Join("/tmp", name)
	}
}
