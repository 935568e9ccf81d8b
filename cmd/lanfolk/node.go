package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/config"
)

// nodeFlags say which node a command talks to: by the folder that it keeps its
// state in, or by its address on another machine.
type nodeFlags struct {
	state, api, tokenFile string
}

func (n *nodeFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.state, "state", "", "the state `FOLDER` of the node or hub")
	n.remote(cmd)
}

// remote adds the flags for a node on another machine.
func (n *nodeFlags) remote(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&n.api, "api", "", "the `URL` of a node or hub on another machine")
	fl.StringVar(&n.tokenFile, "token-file", "", "a `FILE` that holds the API token for --api")
}

// client returns a client for the node that the flags name.
func (n *nodeFlags) client() (*client.Client, error) {
	switch {
	case n.api != "" && n.state != "":
		return nil, usagef("--api and --state name two nodes; give one")
	case n.api == "" && n.tokenFile != "":
		return nil, usagef("--token-file is for --api")
	case n.api != "":
		token, err := n.token()
		if err != nil {
			return nil, err
		}
		c, err := client.HTTP(n.api, token)
		if err != nil {
			return nil, usage{err}
		}
		return c, nil
	}
	if n.state != "" {
		return client.Unix(config.SocketPath(n.state)), nil
	}
	return client.Unix(defaultSocket()), nil
}

func (n *nodeFlags) token() (string, error) {
	if n.tokenFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(n.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// defaultSocket is the service's socket if it is there, else the user's.
func defaultSocket() string {
	service := config.SocketPath(config.ServiceState)
	if _, err := os.Stat(service); err == nil {
		return service
	}
	if dir, err := config.DefaultState(); err == nil {
		return config.SocketPath(dir)
	}
	return service
}
