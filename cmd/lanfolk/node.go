package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/config"
)

// nodeFlags say which daemon a command talks to: by the folder that it keeps its state
// in, or by its address on another machine. Where a node and a hub run it is the node.
type nodeFlags struct {
	state, api, tokenFile, caFile string
	hub                           bool // the hub
	ownCA                         bool // the command has another --ca-file
}

func (n *nodeFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.state, "state", "", "the state `FOLDER` of the node or hub")
	n.remote(cmd)
}

// remote adds what is beside --state.
func (n *nodeFlags) remote(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&n.hub, "hub", false, "ask the hub where a node runs, too")
	n.elsewhere(cmd)
}

// elsewhere adds the flags for a daemon on another machine.
func (n *nodeFlags) elsewhere(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&n.api, "api", "", "the `URL` of a node or hub on another machine")
	fl.StringVar(&n.tokenFile, "token-file", "", "a `FILE` that holds the API token for --api")
	if !n.ownCA {
		fl.StringVar(&n.caFile, "ca-file", "", "a `FILE` with the certificates, in PEM, that vouch for --api: a hub's own, say")
	}
}

// hubFlags are those of a command that is about a hub.
type hubFlags struct{ nodeFlags }

func (h *hubFlags) flags(cmd *cobra.Command) {
	h.hub = true
	cmd.Flags().StringVar(&h.state, "state", "", "the state `FOLDER` of the hub")
	h.elsewhere(cmd)
}

// client returns a client for the daemon that the flags name.
func (n *nodeFlags) client() (*client.Client, error) {
	switch {
	case n.api != "" && n.state != "":
		return nil, usagef("--api and --state name two nodes; give one")
	case n.api == "" && n.tokenFile != "":
		return nil, usagef("--token-file is for --api")
	case n.api == "" && n.caFile != "":
		return nil, usagef("--ca-file is for --api")
	case n.api != "":
		return n.remoteClient()
	}
	return client.Unix(n.socket()), nil
}

func (n *nodeFlags) remoteClient() (*client.Client, error) {
	token, err := n.token()
	if err != nil {
		return nil, err
	}
	roots, err := n.roots()
	if err != nil {
		return nil, err
	}
	c, err := client.HTTP(n.api, token, roots)
	if err != nil {
		return nil, usage{err}
	}
	return c, nil
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

var errNoCertificate = errors.New("there is no certificate in it")

// roots reads --ca-file; nil are those of the system.
func (n *nodeFlags) roots() (*x509.CertPool, error) {
	if n.caFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(n.caFile)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	roots, found := x509.NewCertPool(), false
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("--ca-file %s: %w", n.caFile, err)
		}
		roots.AddCert(cert)
		found = true
	}
	if !found {
		return nil, fmt.Errorf("--ca-file %s: %w", n.caFile, errNoCertificate)
	}
	return roots, nil
}

// socket is that of the folder that --state names; else the service's if it is there,
// else the user's. A hub's counts where no node's is there.
func (n *nodeFlags) socket() string {
	folders := []string{n.state}
	if n.state == "" {
		folders = []string{config.ServiceState}
		if dir, err := config.DefaultState(); err == nil && dir != config.ServiceState {
			folders = append(folders, dir)
		}
	}
	kinds := []func(string) string{config.SocketPath, config.HubSocketPath}
	if n.hub {
		kinds = kinds[1:]
	}
	for _, path := range kinds {
		for _, folder := range folders {
			if _, err := os.Stat(path(folder)); err == nil {
				return path(folder)
			}
		}
	}
	return kinds[0](folders[len(folders)-1])
}
