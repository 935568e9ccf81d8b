package daemon

import (
	"context"
	"errors"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// Ready tells systemd, where it started us, that the daemon serves, Stopping that
// it ends. An error says that nobody listens, which harms nothing.
func Ready() { _, _ = sd.SdNotify(false, sd.SdNotifyReady) }

// Stopping is the other end of Ready.
func Stopping() { _, _ = sd.SdNotify(false, sd.SdNotifyStopping) }

// Watchdog is the task that tells systemd that we live, twice as often as it wants to
// hear it.
func Watchdog() *Task { return &Task{Name: "watchdog", Run: runWatchdog} }

func runWatchdog(ctx context.Context) error {
	every, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		return err
	}
	if every == 0 {
		return Unavailable{errors.New("systemd asks for no sign of life"), ""}
	}
	tick := time.NewTicker(every / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			_, _ = sd.SdNotify(false, sd.SdNotifyWatchdog)
		}
	}
}
