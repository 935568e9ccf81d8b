// Command lanfolk knows everyone on your network.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lanfolk/lanfolk/internal/agent/guard"
)

func main() {
	if guard.Asked(os.Args) {
		os.Exit(guard.Main())
	}
	os.Exit(run(os.Args[1:], app{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv}))
}

// app is what a command may touch of the world: its three streams and the
// environment.
type app struct {
	in  io.Reader
	out io.Writer // data
	err io.Writer // talk
	env func(string) string
}

// run carries out one command line and returns its exit code.
func run(args []string, a app) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := rootCommand(a)
	root.SetArgs(args)
	_, err := root.ExecuteContextC(ctx)
	return a.exit(ctx, err)
}

// rootCommand lists the commands; each has a file of its own.
func rootCommand(a app) *cobra.Command {
	root := &cobra.Command{
		Use:   "lanfolk",
		Short: "Know everyone on your network",
		Long: `lanfolk finds the devices and services on your network by the protocols that
they speak anyway, keeps one inventory with the evidence for each entry, and
answers questions about it.

A command that shows the inventory asks the node that "lanfolk up" runs. One that
asks the network does it through that node or, where none runs, alone. One that
listens works alone.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	onlyCommands(root)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage{err} })
	root.AddGroup(
		&cobra.Group{ID: "node", Title: "The node:"},
		&cobra.Group{ID: "hub", Title: "The hub and its gateways:"},
		&cobra.Group{ID: "inventory", Title: "The inventory:"},
		&cobra.Group{ID: "ask", Title: "Asking the network:"},
		&cobra.Group{ID: "tell", Title: "Telling the network:"},
		&cobra.Group{ID: "carry", Title: "Between subnets:"},
		&cobra.Group{ID: "passive", Title: "Listening:"},
	)
	for _, c := range []struct {
		group   string
		command *cobra.Command
	}{
		{"node", upCommand(a)},
		{"node", statusCommand(a)},
		{"node", pageCommand(a)},
		{"node", doctorCommand(a)},
		{"node", configCommand(a)},
		{"hub", hubCommand(a)},
		{"hub", auditCommand(a)},
		{"hub", joinCommand(a)},
		{"hub", gatewaysCommand(a)},
		{"hub", runCommand(a)},
		{"hub", commandsCommand(a)},
		{"inventory", devicesCommand(a)},
		{"inventory", servicesCommand(a)},
		{"inventory", explainCommand(a)},
		{"inventory", deviceCommand(a)},
		{"ask", findCommand(a)},
		{"ask", browseCommand(a)},
		{"ask", resolveCommand(a)},
		{"ask", lookupCommand(a)},
		{"ask", domainsCommand(a)},
		{"ask", nmosCommand(a)},
		{"ask", tgedCommand(a)},
		{"ask", syncthingCommand(a)},
		{"tell", announceCommand(a)},
		{"tell", zoneCommand(a)},
		{"tell", mqttCommand(a)},
		{"carry", reflectCommand(a)},
		{"passive", monitorCommand(a)},
		{"passive", fingerprintsCommand(a)},
		{"", versionCommand(a)},
		{"", manualCommand(a)},
	} {
		c.command.GroupID = c.group
		root.AddCommand(c.command)
	}
	return root
}

// terminal says whether w is a terminal that a person looks at.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
