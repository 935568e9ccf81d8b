package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/internal/classify"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/node"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/store"
)

// learning is what `lanfolk fingerprints learn` was asked to do.
type learning struct {
	app
	place             databaseFlags
	mac, class, file  string
	into              string
	recognise, remove bool
}

func learnCommand(a app) *cobra.Command {
	l := learning{app: a}
	cmd := &cobra.Command{
		Use:   "learn [MODEL]",
		Short: "Label a device, so that others of its model are recognised",
		Long: `learn takes what a device has said, by the node's database or by a capture file,
and keeps it under MODEL. What looks like it elsewhere is shown as that model from
the node's next start on, with how sure that is; "lanfolk explain" tells why.

Learn a model from several devices or captures to tell better what belongs to it.
What names the single device (its MAC, addresses, serial numbers in names) is not
learnt. --recognise asks what a device looks like by what was learnt, and changes
nothing; --remove forgets MODEL.`,
		Example: `  lanfolk fingerprints learn "Hue bridge" --class hub --mac 02:00:5e:10:00:01
  lanfolk fingerprints learn "Hue bridge" -r setup.pcap --mac 02:00:5e:10:00:01
  lanfolk fingerprints learn --recognise -r other.pcap --mac 02:00:5e:10:00:02`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			model := ""
			if len(argv) > 0 {
				model = strings.TrimSpace(argv[0])
			}
			return l.run(cmd.Context(), model)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&l.mac, "mac", "", "the device's `MAC`")
	fl.StringVar(&l.class, "class", "", "what sort of device it is: printer, camera, light, …")
	fl.StringVarP(&l.file, "read", "r", "", "learn from a capture `FILE`, not from the database")
	fl.StringVar(&l.into, "into", "", "the `FILE` with learnt devices; else learnt.toml in the state folder")
	fl.BoolVar(&l.recognise, "recognise", false, "say what the device looks like, and learn nothing")
	fl.BoolVar(&l.remove, "remove", false, "forget MODEL")
	l.place.flags(cmd)
	return cmd
}

func (l *learning) run(ctx context.Context, model string) error {
	switch {
	case l.recognise && (model != "" || l.remove):
		return usagef("--recognise takes no MODEL, and goes without --remove")
	case !l.recognise && model == "":
		return usagef("which MODEL is it? or ask with --recognise")
	case l.file != "" && (l.place.from != ""):
		return usagef("-r and --from name two sources; give one")
	}
	if err := l.place.check(); err != nil {
		return err
	}
	into, err := l.learnt()
	if err != nil {
		return err
	}
	known, err := node.ReadLearnt(into, false)
	if err != nil {
		return err
	}
	if l.remove {
		kept := slices.DeleteFunc(slices.Clone(known), func(x classify.Example) bool { return x.Model == model })
		if len(kept) == len(known) {
			return fmt.Errorf("%s has no %q: %w", into, model, errNotFound)
		}
		return writeLearnt(into, kept)
	}
	mac, err := lanfolk.ParseMAC(l.mac)
	if err != nil {
		return usagef("--mac: %v", err)
	}
	signals, from, err := l.signals(ctx, mac)
	if err != nil {
		return err
	}
	if len(signals) == 0 {
		return fmt.Errorf("nothing was heard of %s: %w", mac, errNotFound)
	}
	if l.recognise {
		return l.tell(known, signals)
	}
	x := classify.Example{Model: model, Class: l.class, Source: from + ", " + mac.String(), Signals: signals}
	known = slices.DeleteFunc(known, func(o classify.Example) bool { return o.Model == x.Model && o.Source == x.Source })
	if err := writeLearnt(into, append(known, x)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(l.err, "learnt %d signals of %s; see %s\n", len(signals), model, into)
	return err
}

// learnt is the file with learnt devices.
func (l *learning) learnt() (string, error) {
	if l.into != "" {
		return l.into, nil
	}
	dir, err := stateFolder(l.place.state)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, config.LearntName), nil
}

// signals returns what a device said, and for people where.
func (l *learning) signals(ctx context.Context, mac lanfolk.MAC) (all []lanfolk.Signal, from string, err error) {
	if l.file != "" {
		var p source.Passive
		_, err := capture.File{Path: l.file, In: l.in}.Read(ctx, func(f *passive.Fact) error {
			p.Signals(f, func(m lanfolk.MAC, s lanfolk.Signal) {
				if m == mac {
					all = appendOnce(all, s)
				}
			})
			return nil
		})
		return classify.Learn(all, mac), filepath.Base(l.file), err
	}
	db, err := l.place.openToRead(ctx)
	if err != nil {
		return nil, "", err
	}
	defer db.Close()
	for o, err := range db.AllObservations(ctx, store.ObservationFilter{SrcMAC: mac}) {
		if err != nil {
			return nil, "", err
		}
		source.ObservationSignals(&o, func(s lanfolk.Signal) { all = appendOnce(all, s) })
	}
	return classify.Learn(all, mac), "the database on " + time.Now().UTC().Format(time.DateOnly), nil
}

// maxLearnt bounds the signals of one device.
const maxLearnt = 2048

// appendOnce appends a signal that isn't there yet, while there is room.
func appendOnce(all []lanfolk.Signal, s lanfolk.Signal) []lanfolk.Signal {
	if len(all) >= maxLearnt || slices.Contains(all, s) {
		return all
	}
	return append(all, s)
}

// tell says what the signals look like.
func (l *learning) tell(known []classify.Example, signals []lanfolk.Signal) error {
	m, ok := classify.NewRecogniser(known).Recognise(signals, nil)
	if m.Model == "" {
		return fmt.Errorf("it looks like none of the %d devices that were learnt: %w", len(known), errNotFound)
	}
	name := withConfidence(m.Model, m.Confidence)
	if !ok {
		name = "unknown; nearest is " + name
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", visible(name))
	for _, k := range m.Evidence {
		fmt.Fprintf(&b, "%+5.1f  %s  %d of %d\n", k.Weight, visible(k.Kind), len(k.Signals), k.Of)
	}
	if _, err := l.out.Write(b.Bytes()); err != nil {
		return err
	}
	if !ok {
		return outcome{"no learnt device is near enough", errNotFound}
	}
	return nil
}

// writeLearnt replaces the file as a whole, after a look at whether it can be read again.
func writeLearnt(path string, all []classify.Example) error {
	var b bytes.Buffer
	b.WriteString("# Devices that were labelled; written by lanfolk fingerprints learn.\n")
	for _, x := range all {
		b.WriteByte('\n')
		classify.AppendExample(&b, x)
	}
	if _, err := classify.ParseExamples(path, b.Bytes()); err != nil {
		return usagef("that can't be kept: %v", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".learnt-*")
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	_, err = f.Write(b.Bytes())
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("learn: %w", err)
	}
	return nil
}
