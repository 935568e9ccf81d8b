package main

import (
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/config"
)

// loadConfig reads the file that argv or the defaults name. No file at all is
// no error where none was named. path is "" when there was none.
func loadConfig(argv []string) (path string, c *config.Config, err error) {
	if len(argv) > 0 {
		path = argv[0]
	} else if path = config.DefaultPath(); path == "" {
		return "", config.Default(), nil
	}
	c, err = config.Load(path)
	return path, c, err
}

// logger talks on stderr: coloured on a terminal, plain lines elsewhere, JSON
// where the config asks for it.
func (a app) logger(level slog.Level, form config.LogFormat) *slog.Logger {
	switch {
	case form == config.FormatJSON:
		return slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: level}))
	case form == config.FormatPretty, form == config.FormatAuto && terminal(a.err):
		return slog.New(tint.NewTextHandler(a.err, &tint.Options{
			Level: level, TimeFormat: time.TimeOnly, NoColor: !a.colour(a.err),
		}))
	default:
		return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
	}
}

// colour says whether w may get colours; see no-color.org.
func (a app) colour(w any) bool {
	f, ok := w.(*os.File)
	return ok && terminal(f) && a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"
}

// interfaceFlag adds --interface to a command that touches links.
func interfaceFlag(cmd *cobra.Command) *[]string {
	names := cmd.Flags().StringSliceP("interface", "i", nil, "use only this interface; may be repeated (default every usable one)")
	return names
}

// stateFolder is the folder that --state names, or the default one.
func stateFolder(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	return config.DefaultState()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// addr writes an address, "" if there is none.
func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
