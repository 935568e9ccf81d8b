package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lanfolk/lanfolk/internal/broker"
)

func mqttPasswdCommand(a app) *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use:   "passwd FILE USER",
		Short: "Set a user's password in a broker's password file",
		Long: `passwd sets the password of a user in a file for --passwords of "lanfolk mqtt
broker", which Mosquitto's password_file can be, too. It asks for the password on
a terminal, and reads a line of stdin elsewhere. The file is made if it isn't
there. A broker that runs reads it when it starts again.`,
		Example: `  lanfolk mqtt passwd passwords kitchen
  lanfolk mqtt passwd passwords kitchen <secret
  lanfolk mqtt passwd passwords kitchen --delete`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, argv []string) error {
			line := ""
			if !remove {
				password, err := a.password()
				if err != nil {
					return err
				}
				if line, err = broker.PasswordLine(argv[1], password); err != nil {
					return usage{err}
				}
			}
			return setPasswordLine(argv[0], argv[1], line)
		},
	}
	cmd.Flags().BoolVarP(&remove, "delete", "D", false, "remove the user")
	return cmd
}

// password asks for a password twice, or reads a line where there is no
// terminal.
func (a app) password() (string, error) {
	f, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(a.in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(a.err, prompt)
		defer fmt.Fprintln(a.err)
		p, err := term.ReadPassword(int(f.Fd()))
		return string(p), err
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	if second, err := ask("The same again: "); err != nil || second != first {
		return "", errors.Join(err, errors.New("the two passwords differ"))
	}
	return first, nil
}

// setPasswordLine replaces a user's line in a file, or removes it where line is
// empty. The new file takes the old one's place in one step.
func setPasswordLine(path, user, line string) error {
	old, err := os.ReadFile(path)
	if err != nil && (!errors.Is(err, os.ErrNotExist) || line == "") {
		return err
	}
	var out strings.Builder
	found := false
	for l := range strings.Lines(string(old)) {
		if strings.HasPrefix(l, user+":") {
			found = true
			continue
		}
		out.WriteString(strings.TrimRight(l, "\r\n") + "\n")
	}
	if line == "" && !found {
		return fmt.Errorf("user %q: %w", user, errNotFound)
	}
	if line != "" {
		out.WriteString(line + "\n")
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".passwd-*") // for its owner alone
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	if info, err := os.Stat(path); err == nil {
		_ = f.Chmod(info.Mode().Perm()) // the stricter one is kept
	}
	if _, err = f.WriteString(out.String()); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
